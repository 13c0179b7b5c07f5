"""The report on the steps of an optimiser."""

from dataclasses import dataclass
from typing import Any

from gradcheck.front.tables import table
from gradcheck.report import NEXT_LINE, distinct_texts


@dataclass(frozen=True)
class StepReport:
    """The result for one step."""

    step: int  # the number of the step, from 1
    entries: int  # the number of entries of all parameters
    disagree: int  # the number of wrong entries
    relative: float  # the largest error, relative to the distance that the formula moves the entry
    worst: tuple[Any, ...]  # (parameter, index, change by the update, change by the formula)

    @property
    def verdict(self) -> str:
        return "WRONG" if self.disagree else "right"


@dataclass(frozen=True)
class UpdateReport:
    """The result of check_update. `str(report)` is a table with a row for each step."""

    name: str
    formula: str
    steps: tuple[StepReport, ...] = ()
    problems: tuple[str, ...] = ()  # faults that make a comparison impossible, such as a change of a parameter's shape
    diagnosis: str = ""  # a sentence on the mistake, or empty if it is not known
    hints: tuple[tuple[str, str], ...] = ()  # pairs (name that the formula assigns, sentence without code)
    kinds: tuple[str, ...] = ()  # the kind of mistake of each hint (gradcheck/mistakes/kinds.py)
    notes: tuple[str, ...] = ()  # the conditions of the check, which are not faults

    @property
    def is_right(self) -> bool:
        """True if there is no problem and every step agrees with the formula."""
        return not self.problems and not any(step.disagree for step in self.steps)

    def failures(self, joint: str = ". ") -> list[str]:
        """Return a text for each problem, and one for the first wrong step.

        `joint` separates its description from the diagnosis.
        """
        wrong = next((step for step in self.steps if step.disagree), None)
        if wrong is None:
            return [*self.problems]
        parameter, index, *moves = wrong.worst
        given, expected = distinct_texts(*moves)
        found = (
            f"step {wrong.step}: {wrong.disagree} of {wrong.entries} entries disagree; worst at {list(index)} of "
            f"parameter {parameter}, which moves by {given}, and by {expected} with {self.formula}"
        )
        return [*self.problems, found + joint + self.diagnosis if self.diagnosis else found]

    def _repr_html_(self) -> str:
        from gradcheck.html import table_html

        verdict = "right" if self.is_right else "WRONG"
        return table_html(self.name, verdict, self._rows(), self._lines())

    def __str__(self) -> str:
        rows = [(" ", *row) for row in self._rows()] if self.steps else []
        return "\n".join([self.name, *(table(rows, "<>>><", indent=0) if rows else []), *self._lines()])

    def _rows(self):
        rows = [(str(step.step), str(step.entries), f"{step.relative:.1e}", step.verdict) for step in self.steps]
        return [("step", "entries", "relative", "verdict"), *rows]

    def _lines(self):
        return [*(f"note: {note}" for note in self.notes), *self.failures(NEXT_LINE)]
