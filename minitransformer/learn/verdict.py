"""The result of grading an exercise: its status, and a verdict on each line."""

import re
import textwrap
from dataclasses import asdict, dataclass
from html import escape

from minitransformer.learn.exercises import MAP

SOLVED = "solved"
WRONG = "not right yet"
BEGUN = "begun"
UNTOUCHED = "not begun"
REFUSED = "refused"
FAILED = "failed"
MISSING = "not there"
RIGHT, WRONG_LINE, BLANK = "right", "WRONG", "blank"  # verdicts on a line
FOLLOWS = "follows"  # verdict on a line whose only error comes from another line
MOST_RIGHT = 6  # rows of right lines; if there are more, they share one row
PLAN = textwrap.dedent(MAP).strip("\n")  # the map of the model, with the name of an exercise as <name>


def drawn_map(verdicts) -> str:
    """Return a map of the model, in which ■ means solved, ◧ begun, □ not begun and · missing."""
    marks = {SOLVED: "■", UNTOUCHED: "□"}
    known = {verdict.name: marks.get(verdict.status, "◧") for verdict in verdicts}
    return re.sub(r"<(\w+)>", lambda match: f"{known.get(match[1], '·')} {match[1]}", PLAN) + "\n"


@dataclass(frozen=True)
class Row:
    """The verdict on one line of a backward pass."""

    equation: str  # number of the equation, or ""
    name: str  # name that the line assigns
    verdict: str  # "right", "WRONG", "blank" or FOLLOWS
    sentence: str = ""  # reason for the verdict
    kind: str = ""  # kind of the mistake (gradcheck.mistakes.KINDS), or "" if the sentence names none
    origins: tuple = ()  # names of the lines from which the error follows


@dataclass(frozen=True)
class Verdict:
    """The result of grading an exercise. `print` and notebooks show it as a table."""

    name: str
    status: str  # one of the constants above
    level: int | None = None  # level of the exercise, or None if it is unknown
    sentence: str = ""  # main reason why the exercise is not solved
    rows: tuple = ()  # a Row for each line
    remarks: tuple = ()  # further observations that are not errors
    printed: str = ""  # beginning of the code's output
    question: str = ""  # a hint on the sentence, or ""
    about: tuple = ()  # the name that the line in question assigns, or "", and the other names in the question
    student: str = ""  # student who got this variant, or ""
    earned: tuple = ()  # names of the numbered values that earn their points

    @property
    def is_solved(self) -> bool:
        return self.status == SOLVED

    @property
    def first_wrong(self):
        return next((row for row in self.rows if row.verdict == WRONG_LINE), None)

    @property
    def mistake(self) -> str:
        row, found = self.first_wrong, self.sentence
        if not found and row is not None:
            found = f"{row.equation} {row.name}: {row.sentence}".strip(" :")
        return found

    @property
    def sentences(self) -> list[str]:
        printed = (f"it prints: {line}" for line in self.printed.splitlines())
        return [sentence for sentence in (self.sentence, *self.remarks, *printed) if sentence]

    def lines(self) -> list[str]:
        found = [f"{self.name}: {self.status}"]
        if self.status == SOLVED and self.level is not None:
            found = [f"{self.name}: right (level {self.level})"]
        if self.status == UNTOUCHED:
            found.append(f"   write what `...` stands for in {self.name}.py: lines are judged even if others are blank")
        wide = max((len(row.name) for row in self.rows), default=0)
        numbers = max((len(row.equation) for row in self.rows), default=0)
        right = [row for row in self.rows if row.verdict == RIGHT]
        is_folded = len(right) > MOST_RIGHT
        for row in self.rows if not is_folded else (row for row in self.rows if row not in right):
            said = f"{row.verdict}{':' * (row.verdict != FOLLOWS)} {row.sentence}" if row.sentence else row.verdict
            found.append(f"   {row.equation:>{numbers}} {row.name:<{wide}}  {said}")
        found += [f"   {RIGHT}: {', '.join(row.name for row in right)}"] * is_folded
        return [*found, *(f"   {sentence}" for sentence in self.sentences)]

    def __str__(self):
        return "\n".join(self.lines())

    def _repr_html_(self):
        return f"<pre>{escape(str(self))}</pre>"

    def to_json(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_json(found: dict) -> "Verdict":
        rows = tuple(Row(**{**row, "origins": tuple(row["origins"])}) for row in found["rows"])
        listed = {name: tuple(found[name]) for name in ("remarks", "about", "earned")}
        return Verdict(**{**found, "rows": rows, **listed})
