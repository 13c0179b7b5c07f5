"""Create and save pictures in a common style. The functions need matplotlib (extra `app`)."""

import warnings
from functools import partial

from minitransformer.system.extras import MissingExtra, require
from minitransformer.system.files import write_atomically

INK, GRID = "#333333", "#dddddd"
# From the palette of Okabe and Ito, which is safe for colour-blind readers.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"


def can_draw() -> bool:
    """Return True if matplotlib is installed. Otherwise warn that no picture is drawn, and return False."""
    try:
        require("matplotlib")
    except MissingExtra as error:
        warnings.warn(f"no picture is drawn: {error}", stacklevel=2)
        return False
    return True


def new_figure(width: float, height: float, dpi: int = 150):
    """Return an empty figure, sized in inches. Raises MissingExtra without matplotlib."""
    require("matplotlib")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def save(figure, path) -> None:
    """Write a figure as a PNG to `path` atomically, without warnings about missing glyphs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        write_atomically(path, partial(figure.savefig, format="png", dpi="figure"))


def headline(figure, text: str, size: int = 11) -> None:
    figure.suptitle(text, x=0.01, ha="left", color=INK, fontsize=size, parse_math=False)


def label(axes, title: str = "", x: str = "", y: str = "", size: int = 10) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=size, parse_math=False)
    axes.set_xlabel(x, color=INK, fontsize=size - 1)
    axes.set_ylabel(y, color=INK, fontsize=size - 1)


def with_grid(axes) -> None:
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", colors=INK, labelsize=8)


def legend(axes, size: int = 8, **place) -> None:
    """Add a legend with the names of the lines. Keyword arguments, such as loc, are passed to `axes.legend`."""
    axes.legend(frameon=False, labelcolor=INK, fontsize=size, **place)


def draw_band(axes, xs, means, low, high, colour, name: str = "") -> None:
    axes.fill_between(xs, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(xs, means, "o-", color=colour, label=name, linewidth=1.6, markersize=3.5)


def without_frame(axes) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK, length=0)


def colour_bar(figure, image, panels, text: str = "", **how) -> None:
    """Add a colour bar next to the panels. Keyword arguments are passed to `figure.colorbar`."""
    bar = figure.colorbar(image, ax=panels, **how)
    bar.set_label(text, color=INK, fontsize=9)
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.outline.set_visible(False)
