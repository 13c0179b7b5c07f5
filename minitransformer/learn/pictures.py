"""Plot the learner's and the true derivative, and the results of a class."""

import io

from minitransformer.system.pictures import BLUE, GRID, INK, ORANGE, VERMILION, headline, label, new_figure, with_grid

ENTRY_BY_ENTRY = ("relu", "silu", "gelu")  # exercises whose backward is dy · f′(x)


class Shown:
    def __init__(self, figure):
        self.figure = figure

    def _repr_png_(self):
        png = io.BytesIO()
        self.figure.savefig(png, format="png")
        return png.getvalue()


def draw_slopes(name, x, yours, true):
    figure = new_figure(6, 3.6)
    axes = figure.subplots()
    axes.plot(x, true, color=BLUE, linewidth=4, alpha=0.4, label="true, by central differences of the forward pass")
    axes.plot(x, yours, color=VERMILION, linewidth=1.4, label="yours")
    with_grid(axes)
    label(axes, f"{name}: the slope f′(x)", x="x")
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    return figure


def draw_class(rows):
    figure = new_figure(9, 1 + 0.42 * len(rows))
    axes = figure.subplots()
    for k, (_, solved, of, mistake, times) in enumerate(rows):
        axes.barh(k, of, color=GRID)
        axes.barh(k, solved, color=BLUE)
        axes.barh(k, times, left=solved, color=ORANGE)
        words = f"{times}: {mistake}" if times else ""
        words = words if len(words) < 90 else words[:89] + "…"
        axes.text(of * 1.02, k, words, va="center", fontsize=7, color=INK, parse_math=False)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 2.6 * max(of for _, _, of, *_ in rows))
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8)
    axes.set_xticks([])
    headline(figure, "solved (blue), and the commonest mistake (orange)")
    return figure
