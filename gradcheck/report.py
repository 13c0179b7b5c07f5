"""What a check found: a Report, and the error that carries one when a gradient is wrong."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ArgumentReport:
    """What was found about the gradient of one argument or parameter.

    `entries` of its `size` entries were compared one by one. When that is not all of them, `direction` holds the pair
    (backward's, central differences') of derivatives along one random direction through the whole argument. Entries
    `at_kink` are excused and count neither as right nor as wrong; the worst entry is the one that takes up the most of
    its tolerance among the others.
    """

    name: str
    label: str
    shape: tuple
    entries: int
    disagree: int = 0
    at_kink: int = 0
    worst_index: tuple | None = None
    analytic: float = math.nan
    numeric: float = math.nan
    worst_absolute: float = 0.0
    worst_relative: float = 0.0
    direction: tuple | None = None
    direction_disagrees: bool = False
    missing: bool = False

    @property
    def size(self):
        """How many entries the argument has."""
        return math.prod(self.shape)

    @property
    def is_right(self):
        """Whether everything that was compared agrees, or is at a kink."""
        return not self.disagree and not self.direction_disagrees

    @property
    def verdict(self):
        """`right`, `right, N at a kink`, or `WRONG`."""
        if not self.is_right:
            return "WRONG"
        return f"right, {self.at_kink} at a kink" if self.at_kink else "right"

    @property
    def extent(self):
        """How many entries were checked: `24`, or `2000 of 65536 + direction`."""
        return str(self.entries) if self.entries == self.size else f"{self.entries} of {self.size} + direction"

    def explain(self):
        """Say in one line what is wrong."""
        sampled = "" if self.entries == self.size else "sampled "
        note = " (backward left no gradient, which counts as zeros)" if self.missing else ""
        if self.disagree:
            return (
                f"{self.label}: {self.disagree} of {self.entries} {sampled}entries disagree{note}; "
                f"worst at {list(self.worst_index)}: {_both(self.analytic, self.numeric)}"
            )
        return (
            f"{self.label}: all {self.entries} sampled entries agree, but a random direction through all {self.size} "
            f"does not{note}: {_both(*self.direction)}"
        )


@dataclass(frozen=True)
class Report:
    """What was found about one function or module. `str(report)` is a table.

    `problems` are the faults that come before any comparison: a gradient of the wrong shape, an input changed in place.
    """

    name: str
    arguments: tuple = ()
    problems: tuple = ()

    @property
    def is_right(self):
        """Whether every gradient is right."""
        return not self.problems and all(argument.is_right for argument in self.arguments)

    @property
    def entries(self):
        """How many entries were compared one by one, over all arguments."""
        return sum(argument.entries for argument in self.arguments)

    def failures(self):
        """Return one line for each thing that is wrong."""
        return [*self.problems, *(argument.explain() for argument in self.arguments if not argument.is_right)]

    def __getitem__(self, name):
        """Return the report on the argument or parameter of that name."""
        for argument in self.arguments:
            if argument.name == name:
                return argument
        raise KeyError(f"{self.name} has no argument {name!r}; it has {', '.join(a.name for a in self.arguments)}")

    def __str__(self):
        header = ("argument", "entries", "absolute", "relative", "verdict")
        rows = [
            (a.name, a.extent, f"{a.worst_absolute:.1e}", f"{a.worst_relative:.1e}", a.verdict) for a in self.arguments
        ]
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        table = [_align(row, widths) for row in (header, *rows)] if rows else []
        return "\n".join([self.name, *table, *self.failures()])


class GradientError(AssertionError):
    """A gradient is wrong. The message says which and how; `report` holds everything that was found."""

    def __init__(self, report):
        super().__init__(report)
        self.report = report

    def __str__(self):
        lines = self.report.failures()
        return f"{self.report.name}: {lines[0]}" if len(lines) == 1 else "\n  ".join([f"{self.report.name}:", *lines])


def _align(row, widths):
    name, *numbers, verdict = row
    cells = [f"{cell:>{width}}" for cell, width in zip(numbers, widths[1:-1], strict=True)]
    return "  ".join([f"  {name:<{widths[0]}}", *cells, verdict])


def _both(analytic, numeric):
    """Show both values with as many digits as it takes to tell them apart."""
    for digits in range(4, 18):
        texts = f"{analytic:.{digits}g}", f"{numeric:.{digits}g}"
        if texts[0] != texts[1]:
            break
    note = ": the forward pass is not finite near this entry" if not math.isfinite(numeric) else ""
    return f"backward gives {texts[0]}, central differences give {texts[1]}{note}"
