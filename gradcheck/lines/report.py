"""The result of an examination of each line: a StepsReport, whose text is a table."""

import re
from dataclasses import dataclass

from gradcheck.mistakes.row import Edit

UNNAMED = "given the true gradients, "
EQUATION = re.compile(r"#\s*(\(\d+[a-z′']?\))")
RIGHT, WRONG, FOLLOWS, NOT_FOLLOWED = "right", "WRONG", "follows", "not followed"


@dataclass(frozen=True)
class StepRow:
    """One row of the table: a gradient that backward computes.

    name      name to which the gradient is bound
    equation  equation number in the comment at its line, such as "(6)", or an empty string
    line      line number in the file
    verdict   "right", "WRONG" (this line is wrong), "follows" (the error comes from a line above) or "not followed"
    sentence  the reason for the verdict, or an empty string
    repair    the corrected statement, or an empty string if no correction is known
    edit      the `Edit` of the table of mistakes (gradcheck/mistakes) that corrects the line, or None
    is_whole  True if the edit replaces the whole value
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
    """The table of one backward pass.

    function  name of the function
    rows      the rows, in the order of the source
    remarks   sentences that do not belong to a row
    right     number of right gradients among those that backward returns
    total     number of gradients that backward returns
    """

    function: str
    rows: tuple[StepRow, ...]
    remarks: tuple[str, ...] = ()
    right: int = 0
    total: int = 0

    @property
    def first_wrong(self) -> StepRow | None:
        """Return the first row with the verdict "WRONG", or None."""
        return next((row for row in self.rows if row.verdict == WRONG), None)

    @property
    def passed(self) -> bool:
        """Return True if every returned gradient is right and no row is wrong."""
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
    """Join words with commas, and with `last_word` before the last: `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} {last_word} {last}" if first else last


def equation_in(text):
    """Return the equation number in a comment, such as "(6)", or an empty string."""
    found = EQUATION.search(text)
    return found[1] if found else ""
