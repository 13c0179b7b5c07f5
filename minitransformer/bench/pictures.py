"""The plots of `bench --out`: the ratio for each size, and the cost as a function of size. Requires matplotlib."""

import math

from minitransformer.bench.scaling import SERIES
from minitransformer.system.pictures import (
    BLUE,
    GREEN,
    INK,
    PURPLE,
    VERMILION,
    headline,
    label,
    new_figure,
    save,
    with_grid,
)

STYLES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "D"), (PURPLE, "^"))
COLUMNS = 4  # panels in a row
DECADE = 10**0.55  # smallest half range of a logarithmic axis, so that a constant cost looks constant


def draw_ratios(results: dict, folder, subtitle: str) -> None:
    sizes = results["sizes"]
    first, *rivals = results["engines"]
    figure = new_figure(max(1.6 * len(sizes), 7), 4.2)
    axes = figure.add_subplot()
    for index, rival in enumerate(rivals):
        steps = [size["ratios"][rival]["step"] for size in sizes.values()]
        offset = (index - (len(rivals) - 1) / 2) * 0.6 / len(rivals)
        places, ratios = [column + offset for column in range(len(sizes))], [step["ratio"] for step in steps]
        below = [step["ratio"] - (step["low"] or step["ratio"]) for step in steps]
        above = [(step["high"] or step["ratio"]) - step["ratio"] for step in steps]
        colour, marker = STYLES[index % len(STYLES)]
        how = {"linestyle": "none", "capsize": 4, "color": colour, "marker": marker}
        axes.errorbar(places, ratios, [below, above], label=rival, **how)
        for x, y in zip(places, ratios, strict=True):
            beside = {"xytext": (7, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(f"{y:.2f}", (x, y), color=INK, fontsize=8, **beside)
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set_xlim(-0.5, len(sizes) - 0.5)
    axes.margins(y=0.1)
    label(axes, f"Above 1, {first} is faster", y=f"time of a training step / {first}'s", size=11)
    figure.supxlabel(subtitle, color=INK, fontsize=7)
    with_grid(axes)
    axes.legend(frameon=False, labelcolor=INK)
    save(figure, folder / "ratios.png")


def draw_scaling(results: dict, folder, subtitle: str) -> None:
    series = results["series"]
    rows, columns = -(-len(series) // COLUMNS), min(COLUMNS, len(series))
    figure = new_figure(3.4 * columns, 2.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, growth) in zip(panels, series.items(), strict=False):
        draw_growth(axes, SERIES[name], growth)
    for axes in panels[len(series) :]:
        axes.set_axis_off()
    headline(figure, "Growth of cost with size: all points, and the line fitted to the upper half", 12)
    figure.supxlabel(subtitle, color=INK, fontsize=7)
    save(figure, folder / "scaling.png")


def draw_growth(axes, series, growth: dict) -> None:
    fit = growth["fit"]
    scale, unit = (2**20, "MiB") if series.unit == "bytes" else (1e-3, "ms")
    sizes, costs = zip(*growth["points"], strict=True)
    upper = sizes[-fit["points"] :]
    axes.loglog(sizes, [cost / scale for cost in costs], "o", color=BLUE, markersize=4)
    axes.loglog(upper, [fit["constant"] * n ** fit["exponent"] / scale for n in upper], color=VERMILION, linewidth=1.6)
    label(axes, series.title, series.variable, unit, size=9)
    words = f"exponent {fit['exponent']:.2f} ± {fit['margin']:.2f}\nexpected {series.expected}"
    axes.text(0.04, 0.95, words, transform=axes.transAxes, va="top", fontsize=8, color=VERMILION)
    shown = sizes[-1 :: -max(len(sizes) // 3, 1)]
    axes.set_xticks(shown, [f"{n:,}" for n in shown])
    middle = math.sqrt(math.prod(axes.get_ylim()))
    axes.set_ylim(min(axes.get_ylim()[0], middle / DECADE), max(axes.get_ylim()[1], middle * DECADE))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter("")
    axes.yaxis.set_minor_formatter("")
    with_grid(axes)
