"""The form of an experiment: its text, its measurement and its picture.

An experiment is a Python file with the measurement, and a page of the same name with the text, for example
weight_decay.py and weight_decay.md. The page's title is the belief. The ranges of the deciding number, the first in the
list of numbers, are fixed before the measurement. An experiment has an outcome if the whole interval of the mean lies
in one range. If the interval reaches into two ranges, the seeds do not decide.

**The interval** is Student's. For n seeds with mean x̄ and standard deviation s,

    x̄ ± t · s / √n,   t the 97.5 % quantile of n − 1 degrees of freedom

It assumes that seeds are normally distributed, which three or five seeds cannot show. It does not include the variation
of anything that all seeds share: the text, the model's size, the recipe.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import numpy as np

LEVEL = 0.95


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
    """A possible outcome: the deciding number is above `above`, and at most the `above` of the next outcome."""

    above: float
    expected: str  # completes the question
    means: str


class Experiment:
    """An experiment on a belief.

    measure         measure(seed) returns a JSON-serializable dictionary of numbers, and of lists for the picture. It
                    runs in a separate process with one thread
    draw            draw(figure, measured) draws the results of all seeds, a list, into an empty figure of matplotlib
    seeds           number of seeds
    seconds         approximate time for all seeds on two cores
    size            size of the picture, in inches
    read            for experiments that also apply to a finished run: read(folder) returns a list of results in the
                    form of measure; numbers other than the deciding one may be missing
    reads           the command that made this folder: "scale" or "train"
    page            the text (default: the page of measure's module)

    The attributes belief, method (paragraphs), question, outcomes, numbers {name: description}, does_not_show and
    sources are read from the page.
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
        page: str | None = None,
    ):
        self.measure, self.draw, self.seeds, self.seconds, self.size = measure, draw, seeds, seconds, size
        self.read, self.reads = read, reads
        self.module = measure.__module__
        stem = self.module.rpartition(".")[2]
        self.name = stem.replace("_", "-")
        if page is None:
            page = resources.files(__package__).joinpath(f"{stem}.md").read_text("utf-8")
        opening, *sections = re.split(r"^## (.+)\n", page, flags=re.M)
        text = dict(zip(sections[::2], sections[1::2], strict=True))
        belief, *method = opening.strip().split("\n\n")
        self.belief, self.method = belief.removeprefix("# "), list(map(joined, method))
        question, *outcomes = entries(text["Predict"])
        self.question = question.removesuffix(" …")
        self.outcomes = tuple(map(outcome_of, outcomes))
        self.numbers = dict(re.fullmatch("`(.+?)`: (.+)", entry).groups() for entry in entries(text["Numbers"])[1:])
        self.does_not_show = joined(text["Not shown"])
        self.sources = tuple(entries(text["Sources"])[1:])

    @property
    def decides(self) -> str:
        """The name of the deciding number."""
        return next(iter(self.numbers))

    def intervals(self, measured: list[dict]) -> dict[str, Interval]:
        """Return {name: Interval} of the numbers that were measured, from the results of all seeds."""
        return {name: interval([one[name] for one in measured]) for name in self.numbers if name in measured[0]}

    def outcome(self, measured: list[dict]) -> Outcome | None:
        """Return the outcome of the results of all seeds.

        Returns None if the interval of the deciding number lies in more than one range.
        """
        return self.outcome_at(self.intervals(measured)[self.decides])

    def outcome_at(self, found: Interval) -> Outcome | None:
        """Return the outcome for an interval of the deciding number, or None if it lies in more than one range."""
        low, high = (sum(end > outcome.above for outcome in self.outcomes) for end in (found.low, found.high))
        return self.outcomes[low - 1] if low == high else None


def entries(section: str) -> list[str]:
    """Split a section at its list. Return the text before the list, and each entry, on one line each."""
    return list(map(joined, re.split(r"^- ", section, flags=re.M)))


def outcome_of(entry: str) -> Outcome:
    above, expected, means = re.fullmatch(r"above (\S+), \*(.+?)\*: (.+)", entry).groups()
    return Outcome(float(above), expected, means)


def joined(text: str) -> str:
    return " ".join(text.split())
