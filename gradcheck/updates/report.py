"""What was found about an update: a row for each step, and what is wrong with the first that is wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradcheck.explanation import told_apart

COLUMNS: tuple[tuple[str, str, Callable[["StepReport"], str]], ...] = (
    ("step", "right", lambda step: str(step.step)),
    ("entries", "right", lambda step: str(step.entries)),
    ("relative", "right", lambda step: f"{step.relative:.1e}"),
)


@dataclass(frozen=True)
class StepReport:
    """How far the parameters are, after one step, from where the formula puts them.

    `disagree` of the `entries` are not there. `relative` is the largest error, as a part of how far the formula moves
    the entry, and `worst` that entry: (parameter, index, by how much the update moved it, by how much the formula).
    """

    step: int
    entries: int
    disagree: int
    relative: float
    worst: tuple[Any, ...]

    @property
    def verdict(self) -> str:
        """`right` or `WRONG`."""
        return "WRONG" if self.disagree else "right"


@dataclass(frozen=True)
class UpdateReport:
    """What was found about the code called `name`, by the formula called `formula`. `str(report)` is a table.

    `steps` are StepReports. `problems` are faults that come before any comparison, such as a parameter that becomes
    another shape. `diagnosis` is what is known about the mistake, as a sentence, or empty. `notes` are not faults: what
    a reader should know of how the update was tried.
    """

    name: str
    formula: str
    steps: tuple[StepReport, ...] = ()
    problems: tuple[str, ...] = ()
    diagnosis: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether every entry was where the formula puts it, after every step."""
        return not self.problems and not any(step.disagree for step in self.steps)

    def failures(self) -> list[str]:
        """Return one line for each thing that is wrong; of the steps, for the first."""
        wrong = [step for step in self.steps if step.disagree][:1]
        return [*self.problems, *map(self._explain, wrong)]

    def _explain(self, wrong):
        parameter, index, given, expected = wrong.worst
        given, expected = told_apart(given, expected)
        found = (
            f"step {wrong.step}: {wrong.disagree} of {wrong.entries} entries are not where they should be; worst at "
            f"{list(index)} of parameter {parameter}, which it moves by {given}, and {self.formula} by {expected}"
        )
        return f"{found}. {self.diagnosis}" if self.diagnosis else found

    def _repr_html_(self) -> str:
        """Show the report as a table where a notebook would."""
        from gradcheck.html import table_html

        verdict = "right" if self.is_right else "WRONG"
        return table_html(self.name, verdict, COLUMNS, self.steps, self._lines())

    def __str__(self) -> str:
        rows = [[*(show(step) for *_, show in COLUMNS), step.verdict] for step in self.steps]
        header = [*(name for name, *_ in COLUMNS), "verdict"]
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        table = (
            ["  ".join([" ", *map(str.rjust, row[:-1], widths), row[-1]]) for row in (header, *rows)] if rows else []
        )
        return "\n".join([self.name, *table, *self._lines()])

    def _lines(self):
        return [*(f"note: {note}" for note in self.notes), *self.failures()]
