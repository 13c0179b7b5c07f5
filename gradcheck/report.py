"""The report of a check, and the exception that contains it."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

NEXT_LINE = "\n    "  # between the numbers of a wrong gradient and its diagnosis


@dataclass(frozen=True)
class ArgumentReport:
    """The result for the gradient of one argument or parameter."""

    name: str  # of the argument or parameter
    label: str  # of the gradient
    shape: tuple[int, ...]
    entries: int  # compared one by one
    disagree: int = 0  # entries that are wrong
    at_kink: int = 0  # entries at a kink, which count neither as right nor as wrong
    worst_index: tuple[int, ...] | None = None  # of the entry with the largest ratio of error to tolerance
    analytic: float = math.nan  # backward's value at the worst entry
    numeric: float = math.nan  # the oracle's value at the worst entry
    worst_absolute: float = 0.0  # the largest absolute error
    worst_relative: float = 0.0  # the largest relative error
    direction: tuple[float, float] | None = None  # the derivatives by backward and the oracle along one direction
    direction_disagrees: bool = False  # True if these two values differ
    missing: bool = False  # True if backward has set no gradient of this parameter, which counts as zeros
    cannot_tell: int = 0  # entries for which the oracle is not precise enough
    uncertainty: float = 0.0  # the largest uncertainty of the oracle
    worst_uncertainty: float = 0.0  # of `numeric`
    oracle: str = "central differences"  # of `numeric`
    direction_oracle: str = "central differences"  # of the second value of `direction`
    doubt: str = ""  # the reason why a gradient without a wrong entry cannot be called right as a whole
    zero_to: float | None = None  # the bound to which the gradient is confirmed to be zero
    together: tuple[float, float] | None = None  # like `direction`, if entries at a kink are wrong only together
    diagnosis: str = ""  # a sentence that names the mistake
    kind: str = ""  # the kind of this mistake (gradcheck/mistakes/kinds.py)
    equals: str = ""  # the label of the true gradient that it is instead, or ""

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def is_right(self) -> bool:
        """True if all comparisons agree, except at kinks."""
        return not (self.disagree or self.cannot_tell or self.direction_disagrees or self.doubt)

    @property
    def verdict(self) -> str:
        """`right`, `right, N at a kink`, `right (zero to ±u)`, `WRONG` or `CANNOT TELL`."""
        if not self.is_right:
            return "WRONG" if self.disagree or self.direction_disagrees else "CANNOT TELL"
        if self.zero_to is not None:
            return f"right (zero to ±{self.zero_to:.1g})"
        return f"right, {self.at_kink} at a kink" if self.at_kink else "right"

    @property
    def extent(self) -> str:
        """The number of compared entries, such as `200 of 65536 + direction`."""
        if not self.entries and self.size:
            return "direction"
        return str(self.entries) if self.entries == self.size else f"{self.entries} of {self.size} + direction"

    @property
    def numbers(self) -> tuple[str, ...]:
        compared = self.entries or not self.size
        values = (self.worst_absolute, self.worst_relative, self.uncertainty)
        return tuple(f"{value:.1e}" if compared else "-" for value in values)

    def explain(self, joint: str = ". ") -> str:
        """Describe the errors, with the values at the worst entry.

        `joint` separates the description from the diagnosis.
        """
        return f"{self.label}: {self._error()}{joint + self.diagnosis if self.diagnosis else ''}"

    def _error(self):
        note = " (backward left no gradient, which counts as zeros)" if self.missing else ""
        entries = f"of {self.entries} {'' if self.entries == self.size else 'sampled '}entries"
        if self.together:
            both = _both(*self.together, "central differences")
            alone = "each alone may be right at a kink, but as they move together"
            return f"{self.disagree} {entries} disagree: {alone} {both}"
        where = f"at {list(self.worst_index or ())}: {_both(self.analytic, self.numeric, self.oracle)}"
        if self.disagree:
            return f"{self.disagree} {entries} disagree{note}; worst {where}"
        if self.direction_disagrees and self.direction is not None:
            agreeing = f"all {self.entries} sampled entries agree, but " if self.entries else ""
            direction = f"a random direction through all {self.size} does not{'' if self.entries else ' agree'}"
            return f"{agreeing}{direction}{note}: {_both(*self.direction, self.direction_oracle)}"
        if not self.cannot_tell:
            return f"cannot tell: {self.doubt}"
        obstacle = self.doubt or (
            f"may be off by {self.worst_uncertainty:.1g}: the output jumps here, or its rounding errors hide the change"
        )
        if math.isinf(self.worst_uncertainty):
            obstacle = "each finer step gives another value: the output varies on a scale shorter than the steps"
        is_shown = not math.isfinite(self.numeric)  # the printed values show that the output is not finite
        return f"cannot tell at {self.cannot_tell} {entries}; for one {where}{'' if is_shown else f', but {obstacle}'}"


class Problem(str):
    """A sentence about a violation of the contract, with the kind of mistake."""

    kind = ""
    data: dict[str, str] = {}  # noqa: RUF012  (the values for the question of the kind)

    @classmethod
    def of(cls, sentence: str, kind: str = "", **data: str) -> "Problem":
        problem = cls(sentence)
        problem.kind, problem.data = kind, data
        return problem


@dataclass(frozen=True)
class Report:
    """The result for one function or module. `str(report)` is a table.

    `problems` are faults such as a gradient of the wrong shape or an input modified in place. `notes` describe how the
    gradients were checked, and are not faults.
    """

    name: str
    arguments: tuple[ArgumentReport, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """True if every gradient is right and there are no problems."""
        return not self.problems and all(argument.is_right for argument in self.arguments)

    @property
    def entries(self) -> int:
        """The number of entries compared one by one, over all arguments."""
        return sum(argument.entries for argument in self.arguments)

    def failures(self, joint: str = ". ") -> list[str]:
        """Return a text for each problem and each gradient that is not right.

        `joint` separates a description from its diagnosis.
        """
        wrong = [argument for argument in self.arguments if not argument.is_right]
        wrong.sort(key=lambda argument: (argument.verdict != "WRONG", -argument.worst_relative))
        return [*self.problems, *(argument.explain(joint) for argument in wrong)]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serializable dictionary. NaN and infinite numbers become None."""

        def plain(value):
            if isinstance(value, (tuple, list)):
                return [plain(entry) for entry in value]
            if isinstance(value, dict):
                return {key: plain(entry) for key, entry in value.items()}
            return None if isinstance(value, float) and not math.isfinite(value) else value

        arguments = [{**asdict(argument), "verdict": argument.verdict} for argument in self.arguments]
        return plain({**asdict(self), "is_right": self.is_right, "arguments": arguments})

    def __getitem__(self, name: str) -> ArgumentReport:
        """Return the report on the argument or parameter of that name."""
        for argument in self.arguments:
            if argument.name == name:
                return argument
        raise KeyError(f"{self.name} has no argument {name!r}; it has {', '.join(a.name for a in self.arguments)}")

    def _repr_html_(self) -> str:
        return report_html(self)

    def __str__(self) -> str:
        from gradcheck.front.tables import table

        header = ("  argument", "entries", "absolute", "relative", "oracle ±", "verdict")
        rows = [header, *((f"  {a.name}", a.extent, *a.numbers, a.verdict) for a in self.arguments)]
        lines = table(rows, "<>>>><", indent=0) if self.arguments else []
        return "\n".join([self.name, *lines, *(f"note: {note}" for note in self.notes), *self.failures(NEXT_LINE)])


class GradientError(AssertionError):
    """A gradient is wrong. The message names the gradient and its error.

    `report` is the Report, or the UpdateReport of check_update. `lines` is the table of the lines of backward as text,
    one string per line. Printing the error does not run the function again.
    """

    def __init__(self, report: Any, lines: Iterable[str] = ()):
        super().__init__(report, lines)
        self.report: Report = report
        self.lines: tuple[str, ...] = tuple(lines)

    def __str__(self) -> str:
        failures = self.report.failures(NEXT_LINE)
        first = failures.pop() if len(failures) == 1 else _mismatched(getattr(self.report, "arguments", ()))
        return "\n  ".join([f"{self.report.name}: {first}".rstrip(), *failures, *self.lines])

    def _render_traceback_(self) -> list[str]:
        from gradcheck.html import notebook_traceback

        return notebook_traceback(self, report_html(self.report, self.lines))


def report_html(report: Report, look: Iterable[str] = ()) -> str:
    """Format a Report as an HTML fragment with inline styles.

    `look` is the table of the lines of backward as text, which is shown unchanged at the end.
    """
    from gradcheck.html import table_html

    doubts = [argument.verdict for argument in report.arguments if not argument.is_right]
    verdict = "WRONG" if report.problems or "WRONG" in doubts else "right" if report.is_right else doubts[0]
    rows: list = [("argument", "shape", "entries", "absolute", "relative", "oracle ±", "verdict")]
    rows += [(a.name, str(a.shape), a.extent, *a.numbers, a.verdict) for a in report.arguments]
    lines = [*report.failures(), *(f"note: {note}" for note in report.notes)]
    return table_html(report.name, verdict, rows, lines, "\n".join(look))


def _mismatched(arguments):
    """Return the number of wrong entries as numpy.testing does, or "" if there are none."""
    wrong, compared = (sum(getattr(a, name) for a in arguments) for name in ("disagree", "entries"))
    return f"Mismatched elements: {wrong} / {compared} ({100 * wrong / compared:.3g}%)" if wrong else ""


def fault(name, problem):
    return GradientError(Report(name, problems=(Problem.of(problem) if type(problem) is str else problem,)))


def _both(analytic, numeric, oracle):
    given, true = distinct_texts(analytic, numeric)
    note = ": the forward pass is not finite near this entry" if not math.isfinite(numeric) else ""
    gives = "give" if oracle.endswith("s") else "gives"
    return f"backward gives {given}, {oracle} {gives} {true}{note}"


def distinct_texts(a, b):
    """Format two numbers with enough digits to distinguish them."""
    texts = f"{a:.4g}", f"{b:.4g}"
    for digits in range(5, 18):
        if texts[0] != texts[1]:
            break
        texts = f"{a:#.{digits}g}", f"{b:#.{digits}g}"  # with trailing zeros, so that both have the same length
    return texts
