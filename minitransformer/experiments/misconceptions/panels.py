"""Panels that several experiments draw: curves and bars, each with its interval over the seeds."""

import numpy as np

from minitransformer.experiments.misconceptions.form import interval
from minitransformer.system.pictures import INK, with_grid


def panels_of(figure, count: int, **options):
    """Return `count` panels side by side in an empty figure; `options` are passed to figure.subplots."""
    panels = figure.subplots(1, count, squeeze=False, **options)[0]
    for axes in panels:
        with_grid(axes)
    return panels


def draw_curve(axes, xs, rows, colour, name: str = "", **options) -> None:
    """Draw the mean of rows (seeds, x) and its interval at each x; `options` are passed to axes.plot."""
    found = [interval(column) for column in np.transpose(rows)]
    low, high = ([getattr(one, end) for one in found] for end in ("low", "high"))
    axes.fill_between(xs, low, high, color=colour, alpha=0.2, linewidth=0)
    options = {"linewidth": 1.6, "marker": "o", "markersize": 3.5} | options
    axes.plot(xs, [one.mean for one in found], color=colour, label=name, **options)


def draw_curves(axes, xs, measured, lines: dict, **options) -> None:
    """Draw a curve for each entry of `lines`, {key of the results: (name, colour)}, and a legend.

    `options` are passed to the legend.
    """
    for key, (name, colour) in lines.items():
        draw_curve(axes, xs, [one[key] for one in measured], colour, name)
    legend(axes, **options)


def legend(axes, **options) -> None:
    axes.legend(**{"frameon": False, "labelcolor": INK, "fontsize": 8} | options)


def draw_bars(axes, names, rows, colours) -> None:
    """Draw a bar and its interval for each column of rows (seeds, names), and a point for each seed."""
    rows = np.asarray(rows)
    found = [interval(column) for column in rows.T]
    xs = np.arange(len(names))
    means = np.array([one.mean for one in found])
    reach = [means - [one.low for one in found], [one.high for one in found] - means]
    axes.bar(xs, means, 0.6, yerr=reach, color=colours, alpha=0.75, capsize=3, ecolor=INK)
    axes.plot(xs, rows.T, ".", color=INK, markersize=3)
    axes.set_xticks(xs, names)


def draw_named_bars(axes, measured, bars: dict, scale: float = 1) -> None:
    """Draw a bar for each entry of `bars`, {key of the results: (name, colour)}.

    The results are multiplied by `scale`.
    """
    names, colours = zip(*bars.values(), strict=True)
    draw_bars(axes, names, [[scale * one[key] for key in bars] for one in measured], colours)


def size_axis(axes, sizes) -> None:
    """Label the horizontal axis with model sizes, in thousands of parameters."""
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size / 1000:,.1f}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("thousand parameters", color=INK, fontsize=9)
