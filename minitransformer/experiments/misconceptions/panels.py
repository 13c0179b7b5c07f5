"""Panels that several experiments draw: curves and bars, each with the interval over the seeds."""

import numpy as np

from minitransformer.experiments.misconceptions.form import interval
from minitransformer.pictures import INK, with_grid


def panels_of(figure, count: int, **options):
    """Return so many panels side by side in an empty figure; `options` go to figure.subplots."""
    panels = figure.subplots(1, count, squeeze=False, **options)[0]
    for axes in panels:
        with_grid(axes)
    return panels


def draw_curve(axes, xs, rows, colour, name: str = "", **how) -> None:
    """Draw the mean of rows (seeds, x) against xs, and the interval of each; `how` goes to axes.plot."""
    found = [interval(column) for column in np.transpose(rows)]
    low, high = ([getattr(one, end) for one in found] for end in ("low", "high"))
    axes.fill_between(xs, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(
        xs,
        [one.mean for one in found],
        color=colour,
        label=name,
        **{"linewidth": 1.6, "marker": "o", "markersize": 3.5} | how,
    )


def draw_bars(axes, names, rows, colours) -> None:
    """Draw a bar for each column of rows (seeds, names), its interval, and a point for each seed."""
    rows = np.asarray(rows)
    found = [interval(column) for column in rows.T]
    xs = np.arange(len(names))
    means = np.array([one.mean for one in found])
    reach = [means - [one.low for one in found], [one.high for one in found] - means]
    axes.bar(xs, means, 0.6, yerr=reach, color=colours, alpha=0.75, capsize=3, ecolor=INK)
    for row in rows:
        axes.plot(xs, row, ".", color=INK, markersize=3)
    axes.set_xticks(xs, names)


def size_axis(axes, sizes) -> None:
    """Give a panel the sizes of models, numbers of parameters, as its horizontal axis."""
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size / 1000:,.1f}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("thousand parameters", color=INK, fontsize=9)
