"""What a check found: a Report, and the error that carries one when a gradient is wrong."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ArgumentReport:
    """What was found about the gradient of one argument or parameter.

    `entries` of its `size` entries were compared one by one. When that is not all of them, `direction` holds the pair
    (backward's, the oracle's) of derivatives along one random direction through the whole argument, or None where none
    was tried. Entries `at_kink`
    are excused and count neither as right nor as wrong; of those that the oracle `cannot_tell`, neither is claimed, but
    the gradient is not called right. The worst entry is the one that takes up the most of its tolerance.

    `oracle` says where `numeric` comes from, `worst_uncertainty` how far it may be from the truth, `uncertainty` how
    far any of the oracle's values may be. `doubt` says why the gradient as a whole cannot be called right although no
    entry disagrees, or is empty. `zero_to` is what a gradient is known to be zero to that central differences cannot
    tell from a small one, and whose argument the output ignores. `together` are (backward's, the oracle's) derivatives
    as entries at a kink move together, if they disagree only then. `diagnosis` is what is known about the mistake, as a
    sentence, or empty.
    """

    name: str
    label: str
    shape: tuple[int, ...]
    entries: int
    disagree: int = 0
    at_kink: int = 0
    worst_index: tuple[int, ...] | None = None
    analytic: float = math.nan
    numeric: float = math.nan
    worst_absolute: float = 0.0
    worst_relative: float = 0.0
    direction: tuple[float, float] | None = None
    direction_disagrees: bool = False
    missing: bool = False
    cannot_tell: int = 0
    uncertainty: float = 0.0
    worst_uncertainty: float = 0.0
    oracle: str = "central differences"
    direction_oracle: str = "central differences"
    doubt: str = ""
    zero_to: float | None = None
    together: tuple[float, float] | None = None
    diagnosis: str = ""

    @property
    def size(self) -> int:
        """How many entries the argument has."""
        return math.prod(self.shape)

    @property
    def is_right(self) -> bool:
        """Whether everything that was compared agrees, or is at a kink."""
        return not (self.disagree or self.cannot_tell or self.direction_disagrees or self.doubt)

    @property
    def verdict(self) -> str:
        """`right`, `right, N at a kink`, `right (zero to ±u)`, `WRONG`, or `CANNOT TELL`."""
        if not self.is_right:
            return "WRONG" if self.disagree or self.direction_disagrees else "CANNOT TELL"
        if self.zero_to is not None:
            return f"right (zero to ±{self.zero_to:.1g})"
        return f"right, {self.at_kink} at a kink" if self.at_kink else "right"

    @property
    def extent(self) -> str:
        """How many entries were checked: `24`, or `2000 of 65536 + direction`."""
        if not self.entries and self.size:
            return "direction"
        return str(self.entries) if self.entries == self.size else f"{self.entries} of {self.size} + direction"

    @property
    def numbers(self) -> tuple[str, ...]:
        """The worst absolute and relative error and the oracle's uncertainty, as text: `-` if no entry was compared."""
        compared = self.entries or not self.size
        values = (self.worst_absolute, self.worst_relative, self.uncertainty)
        return tuple(f"{value:.1e}" if compared else "-" for value in values)

    def explain(self) -> str:
        """Say in one line what is wrong."""
        from gradcheck.explanation import in_words

        return in_words(self)


@dataclass(frozen=True)
class Report:
    """What was found about one function or module. `str(report)` is a table.

    `problems` are the faults that come before any comparison: a gradient of the wrong shape, an input changed in place.
    `notes` are not faults: what a reader should know of how the gradients were checked.
    """

    name: str
    arguments: tuple[ArgumentReport, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether every gradient is right."""
        return not self.problems and all(argument.is_right for argument in self.arguments)

    @property
    def entries(self) -> int:
        """How many entries were compared one by one, over all arguments."""
        return sum(argument.entries for argument in self.arguments)

    def failures(self) -> list[str]:
        """Return one line for each thing that is wrong."""
        return [*self.problems, *(argument.explain() for argument in self.arguments if not argument.is_right)]

    def __getitem__(self, name: str) -> ArgumentReport:
        """Return the report on the argument or parameter of that name."""
        for argument in self.arguments:
            if argument.name == name:
                return argument
        raise KeyError(f"{self.name} has no argument {name!r}; it has {', '.join(a.name for a in self.arguments)}")

    def _repr_html_(self) -> str:
        """Show the report as a table where a notebook would."""
        from gradcheck.html import report_html

        return report_html(self)

    def __str__(self) -> str:
        from gradcheck.table import report_table

        return report_table(self)


class GradientError(AssertionError):
    """A gradient is wrong. The message says which and how; `report` holds everything that was found.

    `report` is a Report, but from check_update an UpdateReport.
    `lines` is the second part of the explanation, on the lines of backward, as lines of text. Printing runs nothing.
    """

    def __init__(self, report: Any, lines: Iterable[str] = ()):
        super().__init__(report, lines)
        self.report: Report = report
        self.lines: tuple[str, ...] = tuple(lines)

    def __str__(self) -> str:
        failures = self.report.failures()
        first = f"{self.report.name}: {failures[0]}" if len(failures) == 1 else f"{self.report.name}:"
        others = failures if len(failures) > 1 else []
        return "\n  ".join([first, *others, *self.lines])

    def _render_traceback_(self) -> list[str]:
        """Show the report as a table where a notebook would show the traceback, and return the lines below it."""
        from gradcheck.notebook import lines_below_the_table

        return lines_below_the_table(self)
