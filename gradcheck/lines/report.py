"""The result of an examination of each line: a StepsReport, whose text is a table."""

import re
from dataclasses import dataclass

from gradcheck.mistakes.row import Edit

UNNAMED = "given the true gradients, "
EQUATION = re.compile(r"#\s*(\(\d+[a-z′']?\))")
RIGHT, WRONG, FOLLOWS, NOT_FOLLOWED = "right", "WRONG", "follows", "not followed"


@dataclass(frozen=True)
class StepRow:
    """One gradient that backward computes.

    `name` is the name that it is bound to. `equation` is the number in the comment at its line, such as "(6)", or
    empty. `line` is its line number in the file. `verdict` is "right", "WRONG" (the line is wrong), "follows" (the
    error comes from a line above), or "not followed". `sentence` gives the reason, or is empty. If the mistake can be
    corrected, `repair` is the corrected statement, and `edit` is the edit of the table (gradcheck/mistakes), which also
    has a sentence for students. `is_whole` is True if the edit replaces the whole value.
    """

    name: str
    equation: str
    line: int
    verdict: str
    sentence: str = ""
    repair: str = ""
    edit: Edit | None = None
    is_whole: bool = False

    @property
    def is_named(self) -> bool:
        """Return True if the sentence names the mistake."""
        return self.verdict == WRONG and not self.sentence.startswith(UNNAMED)


@dataclass(frozen=True)
class StepsReport:
    """The rows of one backward pass, in the order of its source.

    `remarks` are sentences that do not belong to a row. `right` of the `total` gradients that backward returns are
    right.
    """

    function: str
    rows: tuple[StepRow, ...]
    remarks: tuple[str, ...] = ()
    right: int = 0
    total: int = 0

    @property
    def first_wrong(self) -> StepRow | None:
        """Return the first row that is wrong, or None."""
        return next((row for row in self.rows if row.verdict == WRONG), None)

    @property
    def passed(self) -> bool:
        """Return True if every gradient that backward returns is right."""
        return self.right == self.total and self.first_wrong is None

    def __str__(self) -> str:
        equations = max((len(row.equation) for row in self.rows), default=0)
        names = max((len(row.name) for row in self.rows), default=0)
        lines = [f"{self.function}.backward: {self.right} of {self.total} gradients right"]
        for row in self.rows:
            what = {WRONG: f"{WRONG}: {row.sentence}", FOLLOWS: f"{FOLLOWS} {row.sentence}"}.get(
                row.verdict, f"{row.verdict}: {row.sentence}" if row.sentence else row.verdict
            )
            where = f"{row.equation:<{equations}} " if equations else ""
            lines.append(f"   {where}{row.name:<{names}}  {what}".rstrip())
        return "\n".join([*lines, *(f"   {remark}" for remark in self.remarks)])


def joined(words, last_word="and"):
    """Join words with commas, and with `last_word` before the last one, as in `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} {last_word} {last}" if first else last


def equation_in(text):
    """Return the equation number in a comment, such as "(6)", or ""."""
    found = EQUATION.search(text)
    return found[1] if found else ""
