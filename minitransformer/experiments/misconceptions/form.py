"""The form that every experiment here has: what is believed and predicted, and what each outcome would mean, comes
before what is measured.

An experiment measures some numbers, once for each seed. One of them decides. Before anything is run, its possible
values are cut into ranges, and each range is an Outcome: what a reader may expect, and what it would mean. What came
out is the range in which the interval of the mean lies as a whole; where it reaches into two, the seeds do not decide,
and that is said.

**The interval** is Student's: with n seeds, of mean x̄ and standard deviation s,

    x̄ ± t · s / √n,   t the 97.5 % quantile of n − 1 degrees of freedom

It supposes that seeds spread as a normal distribution does, which three or five of them cannot show, and knows nothing
of what all seeds share: the text, the size, the recipe.
"""

import inspect
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over seeds, and the ends of its interval at LEVEL."""

    mean: float
    low: float
    high: float

    def __str__(self):
        largest = max(abs(self.low), abs(self.high))
        decimals = min(max(2 - math.floor(math.log10(largest or 1)), 0), 3)
        return f"{self.mean:.{decimals}f} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]"


def interval(values) -> Interval:
    """Return the mean of at least two numbers, one for each seed, and its interval."""
    from scipy.stats import t

    values = np.asarray(values, np.float64)
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    mean = float(values.mean())
    return Interval(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Outcome:
    """What may come out: the number that decides lies above `above`, and at most where the next outcome begins."""

    above: float
    expected: str  # by a reader who predicts it, as the end of the question
    means: str


@dataclass(frozen=True)
class Experiment:
    """An experiment on a belief. The docstring of its file is its text: first the belief, then what is measured.

    question        what the reader predicts, before it is run
    outcomes        what may come out, from the least to the greatest; the first begins at −inf
    numbers         {name in what `measure` returns: what it is, with its unit}; the first decides
    does_not_show   what nobody should take from it, whatever comes out
    sources         of the claim: author, year, title, where
    measure         measure(seed) returns {name: a number, or lists for the picture} that JSON can hold; it is called in
                    a process of its own, with one thread
    draw            draw(figure, measured) draws a list of these, one for each seed, into an empty figure of matplotlib
    seeds           how many are measured
    seconds         about how long all of them take on two cores
    read            for what a finished run can answer as well: read(folder) returns a list of what measure returns, of
                    which numbers may be missing, but not the one that decides
    reads           what made that folder: "scale" or "train"
    """

    question: str
    outcomes: tuple[Outcome, ...]
    numbers: dict[str, str]
    does_not_show: str
    sources: tuple[str, ...]
    measure: Callable[[int], dict]
    draw: Callable
    seeds: int = 5
    seconds: int = 60
    size: tuple[float, float] = (8, 3.2)  # of the picture, in inches
    read: Callable | None = None
    reads: str = ""
    module: str = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "module", self.measure.__module__)

    @property
    def name(self) -> str:
        """What the experiment is called: the name of its file."""
        return self.module.rpartition(".")[2].replace("_", "-")

    @cached_property
    def text(self) -> list[str]:
        """The paragraphs of its file's docstring."""
        return [" ".join(p.split()) for p in inspect.cleandoc(sys.modules[self.module].__doc__).split("\n\n")]

    @property
    def belief(self) -> str:
        """What is believed."""
        return self.text[0]

    @property
    def method(self) -> list[str]:
        """What is measured, in paragraphs."""
        return self.text[1:]

    @property
    def decides(self) -> str:
        """The name of the number that decides."""
        return next(iter(self.numbers))

    def intervals(self, measured) -> dict[str, Interval]:
        """Return the interval of each number, of what was measured with each seed; a finished run may not have all."""
        return {name: interval([one[name] for one in measured]) for name in self.numbers if name in measured[0]}

    def outcome(self, measured) -> Outcome | None:
        """Return what came out; None where the interval reaches into two ranges."""
        return self.outcome_at(self.intervals(measured)[self.decides])

    def outcome_at(self, found: Interval) -> Outcome | None:
        """Return the outcome in whose range an interval lies; None where it reaches into two."""
        ends = [*(outcome.above for outcome in self.outcomes[1:]), math.inf]
        for outcome, end in zip(self.outcomes, ends, strict=True):
            if outcome.above < found.low and found.high <= end:
                return outcome
        return None
