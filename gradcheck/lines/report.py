"""The report of `steps`."""

import re
from dataclasses import dataclass

from gradcheck.mistakes.row import Edit

UNNAMED = "given the true gradients, "
EQUATION = re.compile(r"#\s*(\(\d+[a-z′']?\))")
RIGHT, WRONG, FOLLOWS, NOT_FOLLOWED = "right", "WRONG", "follows", "not followed"


@dataclass(frozen=True)
class StepRow:
    """A row of the table: one gradient that the backward pass computes."""

    name: str  # the variable that contains the gradient
    equation: str  # the number in the comment of the line, such as "(6)", or ""
    line: int  # line number in the file
    verdict: str  # "right", "WRONG" (this line), "follows" (the error comes from a line above) or "not followed"
    sentence: str = ""  # the reason for the verdict
    kind: str = ""  # the kind of mistake (gradcheck/mistakes/kinds.py), or "" if the sentence names no mistake
    origins: tuple[str, ...] = ()  # the names of the wrong gradients from which the error follows
    is_compared: bool = True  # False if there is no true value with which the gradient could be compared
    repair: str = ""  # the corrected statement, if a correction is known
    edit: Edit | None = None  # the Edit that corrects the line, from the table of mistakes (gradcheck/mistakes)
    also: str = ""  # the end of the sentence, on other lines that may be wrong instead

    @property
    def is_named(self) -> bool:
        """True if the sentence names the mistake."""
        return self.verdict == WRONG and self.kind != ""


@dataclass(frozen=True)
class StepsReport:
    """The result of `steps`. `str(report)` is a table with a row for each gradient."""

    function: str
    rows: tuple[StepRow, ...]  # in the order of the source
    remarks: tuple[str, ...] = ()  # sentences that do not belong to a row
    right: int = 0  # number of right gradients among those that backward returns
    total: int = 0
    has_second_mistake: bool = False  # True if another mistake is behind the first one

    @property
    def first_wrong(self) -> StepRow | None:
        """The first row with the verdict "WRONG", or None."""
        return next((row for row in self.rows if row.verdict == WRONG), None)

    @property
    def passed(self) -> bool:
        """True if every returned gradient is right and no row is wrong."""
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
        remarks = [f"   {remark}" for remark in self.remarks]
        if self.has_second_mistake:
            remarks[-1] += ": there is a second mistake"
        return "\n".join([*lines, *remarks])


def equation_in(text):
    found = EQUATION.search(text)
    return found[1] if found else ""
