"""Pictures of what was measured: ratios by size, and costs against sizes in logarithms. They need matplotlib."""

import math

from minitransformer.archive import write_atomically
from minitransformer.bench.growth import Exponent
from minitransformer.bench.scaling import SERIES
from minitransformer.extras import require

INK, GRID = "#333333", "#dddddd"
# Okabe and Ito's colours, which stay apart for every kind of colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
MARKERS = ("o", "s", "D", "^")
COLUMNS = 4  # panels in a row
DECADE = 10**0.55  # a panel spans at least a factor of ten and a little, so that what hardly grows looks so


def new_figure(width: float, height: float):
    """Return a figure and the canvas that draws it. Raises MissingExtra without matplotlib."""
    require("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    return figure, FigureCanvasAgg(figure)


def draw_ratios(results: dict, path, subtitle: str = "") -> None:
    """Draw how many times faster than each other engine the first is, by size, with intervals, as a PNG at `path`."""
    sizes = results["sizes"]
    first, *rivals = results["engines"]
    figure, canvas = new_figure(max(1.6 * len(sizes), 7), 4.2)
    axes = figure.add_subplot()
    for index, rival in enumerate(rivals):
        offset = (index - (len(rivals) - 1) / 2) * 0.16
        places, ratios, below, above = [], [], [], []
        for place, size in enumerate(sizes.values()):
            found = size["ratios"][rival]["step"]
            places.append(place + offset)
            ratios.append(found["ratio"])
            below.append(found["ratio"] - (found["low"] or found["ratio"]))
            above.append((found["high"] or found["ratio"]) - found["ratio"])
        style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
        axes.errorbar(places, ratios, (below, above), linestyle="none", capsize=4, label=rival, **style)
        for x, y in zip(places, ratios, strict=True):
            axes.annotate(
                f"{y:.2f}", (x, y), xytext=(7, 0), textcoords="offset points", va="center", color=INK, fontsize=8
            )
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set_xlim(-0.5, len(sizes) - 0.5)
    axes.margins(y=0.1)
    axes.set_ylabel(f"time of a training step / {first}'s", color=INK)
    axes.set_title(f"Above 1, {first} is faster", loc="left", color=INK, fontsize=11)
    figure.supxlabel(subtitle, color=INK, fontsize=7)
    finish(axes)
    axes.legend(frameon=False, labelcolor=INK)
    write_atomically(path, canvas.print_png)


def draw_scaling(results: dict, path, subtitle: str = "") -> None:
    """Draw each cost against its size, with the fitted line over the points that it was fitted to, as a PNG."""
    series = results["series"]
    rows = -(-len(series) // COLUMNS)
    columns = min(COLUMNS, len(series))
    figure, canvas = new_figure(3.4 * columns, 2.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, (name, found) in zip(panels.flat, series.items(), strict=False):
        draw_growth(axes, SERIES[name], found)
    for axes in panels.flat[len(series) :]:
        axes.set_axis_off()
    figure.suptitle("How cost grows: every point, and the line fitted to the last ones", x=0.01, ha="left", color=INK)
    figure.supxlabel(subtitle, color=INK, fontsize=7)
    write_atomically(path, canvas.print_png)


def draw_growth(axes, series, found: dict) -> None:
    """Draw one cost."""
    fit = Exponent(**found["fit"])
    scale, unit = (2**20, "MiB") if series.unit == "bytes" else (1e-3, "ms")
    sizes = [n for n, _ in found["points"]]
    axes.loglog(sizes, [cost / scale for _, cost in found["points"]], "o", color=COLOURS[0], markersize=4)
    upper = sizes[-fit.points :]
    axes.loglog(upper, [fit.at(n) / scale for n in upper], color=COLOURS[1], linewidth=1.6)
    axes.set_title(series.title, loc="left", color=INK, fontsize=9)
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
    axes.set_xlabel(series.variable, color=INK, fontsize=8)
    axes.set_ylabel(unit, color=INK, fontsize=8)
    finish(axes)


def finish(axes) -> None:
    """Give axes the look of all pictures here."""
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", colors=INK, labelsize=8)
