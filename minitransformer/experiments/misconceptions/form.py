"""The parts of an experiment: text, measurement and picture.

An experiment is a Python file with the measurement, and a page of the same name with the text, for example
weight_decay.py and weight_decay.md. The first number in the page's list decides the outcome. The ranges of this number,
one per outcome, are fixed before the measurement. An experiment has an outcome if the whole interval of the mean lies
in one range.

**The interval** is Student's. For n seeds with mean x̄ and standard deviation s,

    x̄ ± t · s / √n,   t the 97.5 % quantile of n − 1 degrees of freedom

It does not include the variation of factors that all seeds share: the text, the size of the model and the recipe.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import NamedTuple

import numpy as np

from minitransformer.system import pictures as p

LEVEL = 0.95
COLOURS = (p.BLUE, p.VERMILION, p.ORANGE, p.GREEN, p.PURPLE, p.INK)


class Interval(NamedTuple):
    mean: float
    low: float
    high: float

    def __str__(self):
        largest = max(abs(self.low), abs(self.high))
        decimals = min(max(2 - math.floor(math.log10(largest or 1)), 0), 3)
        return f"{self.mean:.{decimals}f} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]"


def interval(values) -> Interval:
    """Return the Interval of the mean of at least two numbers, one per seed."""
    from scipy.special import stdtrit  # scipy.stats, whose t.ppf is this function, takes a second to import

    values = np.asarray(values, np.float64)
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / math.sqrt(len(values)))
    mean = float(values.mean())
    return Interval(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Outcome:
    above: float
    expected: str
    means: str


@dataclass(frozen=True)
class Panel:
    """A panel of a picture, with a bar for each number or a curve for each list. Intervals are over the seeds.

    `keys` selects the results to draw; missing keys are ignored. A dictionary {key: label} also gives the labels.
    """

    title: str
    keys: Sequence[str] | dict[str, str]
    x: str = ""
    y: str = ""
    within: str = ""  # key of a dictionary in the results that contains `keys`
    xs: Sequence | str | None = None  # of curves; or, for a logarithmic axis, the key of a list in the results
    scale: float = 1
    level: float | None = None
    ylim: tuple = ()
    width: float = 1  # relative to the other panels

    def draw(self, axes, measured: list[dict]) -> None:
        p.with_grid(axes)
        p.label(axes, self.title, self.x, self.y)
        measured = [one[self.within] if self.within else one for one in measured]
        keys = [key for key in self.keys if key in measured[0]]
        rows = {key: self.scale * np.array([one[key] for one in measured]) for key in keys}
        if self.xs is None:
            self.draw_bars(axes, rows)
        else:
            self.draw_curves(axes, measured[0][self.xs] if isinstance(self.xs, str) else self.xs, rows)
        if self.level is not None:
            axes.axhline(self.level, color=p.INK, linewidth=0.8, linestyle="--")
        if self.ylim:
            axes.set_ylim(*self.ylim)

    def name_of(self, key: str) -> str:
        return self.keys[key] if isinstance(self.keys, dict) else key.replace("_", " ")

    def draw_bars(self, axes, rows: dict) -> None:
        names = [self.name_of(key).replace(" ", "\n") for key in rows]
        for x, (values, colour) in enumerate(zip(rows.values(), COLOURS + COLOURS, strict=False)):
            found = interval(values)
            reach = [[found.mean - found.low], [found.high - found.mean]]
            axes.bar(x, found.mean, 0.6, yerr=reach, color=colour, alpha=0.75, capsize=3, ecolor=p.INK)
            axes.plot(np.full(len(values), x), values, ".", color=p.INK, markersize=3)
        axes.set_xticks(range(len(names)), names, fontsize=7)

    def draw_curves(self, axes, xs, rows: dict) -> None:
        for (key, values), colour in zip(rows.items(), COLOURS, strict=False):
            means, low, high = zip(*map(interval, values.T), strict=True)
            p.draw_band(axes, xs, means, low, high, colour, self.name_of(key))
        p.legend(axes)
        if isinstance(self.xs, str):
            axes.set_xscale("log")
            axes.set_xticks(xs, [f"{x:,}" for x in xs])
            axes.minorticks_off()


class Experiment:
    """An experiment on a belief.

    measure   measure(seed) returns a JSON-serializable dictionary of numbers, and of lists for the picture
    seconds   approximate time for all seeds on two cores
    seeds     number of seeds
    page      the text, in Markdown (default: the page with the name of measure's module)
    """

    size = (8, 3.4)  # of the picture, in inches

    def __init__(
        self,
        measure: Callable[[int], dict],
        panels: Sequence[Panel],
        *,
        seconds: int,
        seeds: int = 5,
        page: str | None = None,
    ):
        self.measure, self.panels, self.seconds, self.seeds = measure, panels, seconds, seeds
        self.module = measure.__module__
        stem = self.module.rpartition(".")[2]
        self.name = stem.replace("_", "-")
        if page is None:
            page = resources.files(__package__).joinpath(f"{stem}.md").read_text("utf-8")
        opening, *sections = re.split(r"^## (.+)\n", page, flags=re.M)
        text = dict(zip(sections[::2], map(entries, sections[1::2]), strict=True))
        belief, *method = opening.strip().split("\n\n")
        self.belief, self.method = belief.removeprefix("# "), [" ".join(part.split()) for part in method]
        question, *outcomes = text["Predict"]
        self.question = question.removesuffix(" …")
        found = [re.fullmatch(r"above (\S+), \*(.+?)\*: (.+)", entry).groups() for entry in outcomes]
        self.outcomes = tuple(Outcome(float(above), expected, means) for above, expected, means in found)
        self.numbers = dict(re.fullmatch("`(.+?)`: (.+)", entry).groups() for entry in text["Numbers"][1:])
        (self.does_not_show,) = text["Not shown"]
        self.sources = tuple(text["Sources"][1:])

    @property
    def decides(self) -> str:
        return next(iter(self.numbers))

    def intervals(self, measured: list[dict]) -> dict[str, Interval]:
        return {name: interval([one[name] for one in measured]) for name in self.numbers}

    def outcome(self, found: Interval) -> Outcome | None:
        """Return the outcome whose range contains the interval, or None if none does."""
        low, high = (sum(end > outcome.above for outcome in self.outcomes) for end in (found.low, found.high))
        return self.outcomes[low - 1] if low == high else None

    def draw(self, figure, measured: list[dict]) -> None:
        """Draw the results of all seeds into an empty figure."""
        widths = [panel.width for panel in self.panels]
        row = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
        for axes, panel in zip(row, self.panels, strict=True):
            panel.draw(axes, measured)


def entries(section: str) -> list[str]:
    return [" ".join(entry.split()) for entry in re.split(r"^- ", section, flags=re.M)]
