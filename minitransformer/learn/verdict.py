"""A verdict on an exercise: whether it is solved, and what is wrong, line by line."""

from dataclasses import asdict, dataclass
from html import escape

SOLVED = "solved"
WRONG = "not right yet"
BEGUN = "begun"
UNTOUCHED = "not begun"
REFUSED = "refused"
FAILED = "failed"
MISSING = "not there"
FOLLOWS = "follows"  # of a line: from a wrong one
USES_PACKAGE = "uses the package's answer"


@dataclass(frozen=True)
class Row:
    """What is said of one line: the number of its equation, its name, the verdict in a word, and why."""

    equation: str
    name: str
    verdict: str
    sentence: str = ""


@dataclass(frozen=True)
class Verdict:
    """What was found about an exercise. `str(verdict)` is a table, and so is what a notebook shows.

    `status` is one of those above; `sentence` the first thing to know where it is not solved; `rows` are about lines;
    `remarks` are true as well, and no faults; `printed` is the beginning of what the code prints. `uses_package`
    names the line that calls the package's own function, or is empty: with it the answer is not the learner's.
    """

    name: str
    status: str
    level: int | None = None
    sentence: str = ""
    rows: tuple = ()
    remarks: tuple = ()
    printed: str = ""
    uses_package: str = ""

    @property
    def is_solved(self) -> bool:
        """Whether every gradient is right."""
        return self.status == SOLVED

    @property
    def first_wrong(self):
        """The first Row that is wrong, or None."""
        return next((row for row in self.rows if row.verdict == "WRONG"), None)

    @property
    def mistake(self) -> str:
        """The mistake in a sentence, and whether the answer is the package's; empty if there is nothing to say."""
        row, found = self.first_wrong, self.sentence
        if not found and row is not None:
            found = f"{row.equation} {row.name}: {row.sentence}".strip(" :")
        return "; ".join(filter(None, [found, USES_PACKAGE if self.uses_package else ""]))

    @property
    def sentences(self) -> list[str]:
        """The sentences about the file as a whole."""
        uses = f"{USES_PACKAGE}: {self.uses_package}" if self.uses_package else ""
        return [sentence for sentence in (self.sentence, uses, *self.remarks) if sentence]

    def lines(self) -> list[str]:
        """Return what there is to say, line by line."""
        head = f"{self.name}: {self.status}"
        if self.status == SOLVED and self.level is not None:
            head = f"{self.name}: right (level {self.level})"
        found = [head]
        wide = max((len(row.name) for row in self.rows), default=0)
        numbers = max((len(row.equation) for row in self.rows), default=0)
        for row in self.rows:
            said = (
                f"{row.verdict}{'' if row.verdict == FOLLOWS else ':'} {row.sentence}" if row.sentence else row.verdict
            )
            found.append(f"   {row.equation:>{numbers}} {row.name:<{wide}}  {said}")
        found += [f"   {sentence}" for sentence in self.sentences]
        return found + [f"   it prints: {line}" for line in self.printed.splitlines()]

    def __str__(self):
        return "\n".join(self.lines())

    def _repr_html_(self):
        """Show the table where a notebook would."""
        cells = "".join(
            "<tr>" + "".join(f'<td style="text-align:left">{escape(text)}</td>' for text in values) + "</tr>"
            for values in ((row.equation, row.name, row.verdict, row.sentence) for row in self.rows)
        )
        sentences = [*self.sentences, *(f"it prints: {line}" for line in self.printed.splitlines())]
        said = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
        return f"<p><b>{escape(self.lines()[0])}</b></p><table>{cells}</table>{said}"

    def to_json(self) -> dict:
        """Return it as what JSON can hold."""
        return asdict(self)

    @staticmethod
    def from_json(found: dict) -> "Verdict":
        """Return the Verdict that to_json was asked for."""
        rows = tuple(Row(**row) for row in found["rows"])
        return Verdict(**{**found, "rows": rows, "remarks": tuple(found["remarks"])})
