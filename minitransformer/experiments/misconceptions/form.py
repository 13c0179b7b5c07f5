"""The form of an experiment: its text, its measurement and its picture.

The docstring of an experiment's file is its text: the belief, paragraphs on the measurement, and four sections.

    Predict: The question, which each expected outcome completes
        -inf: the outcome whose range begins at −∞
            The meaning of this outcome.
        0.2: the outcome whose range begins at 0.2
            The meaning of this outcome.

    Numbers:
        name: description and unit of a measured number; the first number decides

    Not shown: the conclusions that nobody should draw, whatever the outcome is.

    Sources:
        Author (year), title, place of publication

The ranges of the deciding number are fixed before the measurement. An experiment has an outcome if the whole interval
of the mean lies in one range. If the interval reaches into two ranges, the seeds do not decide.

**The interval** is Student's. For n seeds with mean x̄ and standard deviation s,

    x̄ ± t · s / √n,   t the 97.5 % quantile of n − 1 degrees of freedom

It assumes that seeds are normally distributed, which three or five seeds cannot show. It does not include the variation
of anything that all seeds share: the text, the model's size, the recipe.
"""

import inspect
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
SECTIONS = ("Predict", "Numbers", "Not shown", "Sources")


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the ends of its interval at LEVEL."""

    mean: float
    low: float
    high: float

    def __str__(self):
        largest = max(abs(self.low), abs(self.high))
        decimals = min(max(2 - math.floor(math.log10(largest or 1)), 0), 3)
        return f"{self.mean:.{decimals}f} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]"


def interval(values) -> Interval:
    """Return the mean of at least two numbers, one per seed, and its interval."""
    from scipy.stats import t

    values = np.asarray(values, np.float64)
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    mean = float(values.mean())
    return Interval(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Outcome:
    """A possible outcome: the deciding number lies above `above`, and at most where the next outcome begins."""

    above: float
    expected: str  # completes the question
    means: str


class Experiment:
    """An experiment on a belief.

    measure         measure(seed) returns {name: a number, or lists for the picture} that JSON can hold; it runs in a
                    separate process with one thread
    draw            draw(figure, measured) draws a list of these, one for each seed, into an empty figure of matplotlib
    seeds           number of seeds
    seconds         approximate time for all seeds on two cores
    size            of the picture, in inches
    read            for experiments that also apply to a finished run: read(folder) returns a list of results in the
                    form of measure; numbers other than the deciding one may be missing
    reads           the command that made this folder: "scale" or "train"
    text            the text; by default the docstring of measure's module

    From the text come the attributes belief, method (paragraphs), question, outcomes, numbers {name: description},
    does_not_show and sources.
    """

    def __init__(
        self,
        measure: Callable[[int], dict],
        draw: Callable,
        *,
        seeds: int = 5,
        seconds: int = 60,
        size: tuple[float, float] = (8, 3.2),
        read: Callable | None = None,
        reads: str = "",
        text: str | None = None,
    ):
        self.measure, self.draw, self.seeds, self.seconds, self.size = measure, draw, seeds, seconds, size
        self.read, self.reads = read, reads
        self.module = measure.__module__
        self.name = self.module.rpartition(".")[2].replace("_", "-")
        sections = sections_of(self.module, sys.modules[self.module].__doc__ if text is None else text)
        self.belief, *self.method = map(joined, sections[""])
        question, *outcomes = sections["Predict"]
        self.question, self.outcomes = joined(question), tuple(map(outcome_of, outcomes))
        self.numbers = dict(joined(entry).split(": ", 1) for entry in sections["Numbers"][1:])
        self.does_not_show = joined(*sections["Not shown"])
        self.sources = tuple(map(joined, sections["Sources"][1:]))

    @property
    def decides(self) -> str:
        """The name of the deciding number."""
        return next(iter(self.numbers))

    def intervals(self, measured: list[dict]) -> dict[str, Interval]:
        """Return the interval of each number that was measured, from the results of all seeds."""
        return {name: interval([one[name] for one in measured]) for name in self.numbers if name in measured[0]}

    def outcome(self, measured: list[dict]) -> Outcome | None:
        """Return the outcome of the results of all seeds; None if its interval reaches into two ranges."""
        return self.outcome_at(self.intervals(measured)[self.decides])

    def outcome_at(self, found: Interval) -> Outcome | None:
        """Return the outcome whose range contains the interval; None if the interval reaches into two ranges."""
        ends = [*(outcome.above for outcome in self.outcomes[1:]), math.inf]
        for outcome, end in zip(self.outcomes, ends, strict=True):
            if outcome.above < found.low and found.high <= end:
                return outcome
        return None


def sections_of(module: str, text: str | None) -> dict[str, list[str]]:
    """Return {section: [text after its name, entry, …]}; the paragraphs before all sections are under ""."""
    found: dict[str, list[str]] = {"": []}
    for paragraph in inspect.cleandoc(text or "").split("\n\n"):
        name, _, content = paragraph.partition(":")
        if name in SECTIONS:
            found[name] = re.split(r"\n {4}(?! )", content)
        else:
            found[""].append(paragraph)
    missing = [name for name in SECTIONS if name not in found]
    if missing:
        raise ValueError(f"{module}: the text has no section {missing[0]}; it needs {', '.join(SECTIONS)}")
    return found


def outcome_of(entry: str) -> Outcome:
    first, _, means = entry.partition("\n")
    above, _, expected = first.partition(": ")
    return Outcome(float(above), expected, joined(means))


def joined(text: str) -> str:
    """Return the text in one line."""
    return " ".join(text.split())
