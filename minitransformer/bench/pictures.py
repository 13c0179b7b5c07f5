"""Pictures of what was measured: ratios by size, and costs against sizes in logarithms. They need matplotlib."""

import math

from minitransformer.bench.growth import Exponent
from minitransformer.bench.scaling import SERIES
from minitransformer.pictures import BLUE, GREEN, INK, PURPLE, VERMILION, headline, label, new_figure, save, with_grid

COLOURS = (BLUE, VERMILION, GREEN, PURPLE)
MARKERS = ("o", "s", "D", "^")
RATIOS_FILE, SCALING_FILE = "ratios.png", "scaling.png"
COLUMNS = 4  # panels in a row
DECADE = 10**0.55  # a panel spans at least a factor of ten and a little, so that what hardly grows looks so


def draw_ratios(results: dict, folder, subtitle: str) -> None:
    """Draw how many times faster than each other engine the first is, by size, with intervals, in the folder."""
    sizes = results["sizes"]
    first, *rivals = results["engines"]
    figure = new_figure(max(1.6 * len(sizes), 7), 4.2)
    axes = figure.add_subplot()
    for index, rival in enumerate(rivals):
        offset = (index - (len(rivals) - 1) / 2) * 0.6 / len(rivals)
        xs, ratios, below, above = [], [], [], []
        for column, size in enumerate(sizes.values()):
            ratio = size["ratios"][rival]["step"]
            xs.append(column + offset)
            ratios.append(ratio["ratio"])
            below.append(ratio["ratio"] - (ratio["low"] or ratio["ratio"]))
            above.append((ratio["high"] or ratio["ratio"]) - ratio["ratio"])
        style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
        axes.errorbar(xs, ratios, (below, above), linestyle="none", capsize=4, label=rival, **style)
        for x, y in zip(xs, ratios, strict=True):
            axes.annotate(
                f"{y:.2f}", (x, y), xytext=(7, 0), textcoords="offset points", va="center", color=INK, fontsize=8
            )
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set_xlim(-0.5, len(sizes) - 0.5)
    axes.margins(y=0.1)
    label(axes, f"Above 1, {first} is faster", y=f"time of a training step / {first}'s", size=11)
    figure.supxlabel(subtitle, color=INK, fontsize=7)
    with_grid(axes)
    axes.legend(frameon=False, labelcolor=INK)
    save(figure, folder / RATIOS_FILE)


def draw_scaling(results: dict, folder, subtitle: str) -> None:
    """Draw each cost against its size, with the fitted line over the points that it was fitted to, in the folder."""
    series = results["series"]
    rows = -(-len(series) // COLUMNS)
    columns = min(COLUMNS, len(series))
    figure = new_figure(3.4 * columns, 2.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, (name, growth) in zip(panels.flat, series.items(), strict=False):
        draw_growth(axes, SERIES[name], growth)
    for axes in panels.flat[len(series) :]:
        axes.set_axis_off()
    headline(figure, "How cost grows: every point, and the line fitted to the last ones", 12)
    figure.supxlabel(subtitle, color=INK, fontsize=7)
    save(figure, folder / SCALING_FILE)


def draw_growth(axes, series, growth: dict) -> None:
    """Draw one cost."""
    fit = Exponent(**growth["fit"])
    scale, unit = (2**20, "MiB") if series.unit == "bytes" else (1e-3, "ms")
    sizes = [n for n, _ in growth["points"]]
    axes.loglog(sizes, [cost / scale for _, cost in growth["points"]], "o", color=COLOURS[0], markersize=4)
    upper = sizes[-fit.points :]
    axes.loglog(upper, [fit.at(n) / scale for n in upper], color=COLOURS[1], linewidth=1.6)
    label(axes, series.title, series.variable, unit, size=9)
    axes.text(
        0.04,
        0.95,
        f"exponent {fit.exponent:.2f} ± {fit.margin:.2f}\nexpected {series.expected}",
        transform=axes.transAxes,
        va="top",
        fontsize=8,
        color=COLOURS[1],
    )
    shown = sizes[-1 :: -max(len(sizes) // 3, 1)]
    axes.set_xticks(shown, [f"{n:,}" for n in shown])
    middle = math.sqrt(math.prod(axes.get_ylim()))
    axes.set_ylim(min(axes.get_ylim()[0], middle / DECADE), max(axes.get_ylim()[1], middle * DECADE))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter("")
    axes.yaxis.set_minor_formatter("")
    with_grid(axes)
