"""Plot the learner's and the true derivative."""

import io

from minitransformer.system.pictures import BLUE, INK, VERMILION, label, new_figure, with_grid

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
