"""Pictures: one look for all of them, and one way to make and to save one. They need matplotlib, of the extra `app`.

A run that also draws asks can_draw first, and without matplotlib goes to its end without pictures. A function that
does nothing but draw raises MissingExtra.
"""

import warnings
from functools import partial

from minitransformer.files import write_atomically
from minitransformer.system.extras import MissingExtra, require

INK, GRID = "#333333", "#dddddd"
# Of the set of Okabe and Ito, which people with any colour vision can tell apart.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"


def can_draw() -> bool:
    """Return True if matplotlib is installed; otherwise warn that no picture is drawn."""
    try:
        require("matplotlib")
    except MissingExtra as error:
        warnings.warn(f"no picture is drawn: {error}", stacklevel=2)
        return False
    return True


def new_figure(width: float, height: float, dpi: int = 150):
    """Return an empty figure of so many inches. Raises MissingExtra without matplotlib."""
    require("matplotlib")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def save(figure, path) -> None:
    """Write a figure as a PNG to `path`, whole or not at all, and say nothing of letters that the font does not have.

    Raises OSError, naming the file, where it cannot be written.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        write_atomically(path, partial(figure.savefig, format="png", dpi="figure"))


def headline(figure, text: str, size: int = 11) -> None:
    """Put a title above a figure or a part of one, on the left."""
    figure.suptitle(text, x=0.01, ha="left", color=INK, fontsize=size, parse_math=False)


def label(axes, title: str = "", x: str = "", y: str = "", size: int = 10) -> None:
    """Write a panel's title, in letters of this size, and the names of its axes, in somewhat smaller ones."""
    axes.set_title(title, loc="left", color=INK, fontsize=size, parse_math=False)
    axes.set_xlabel(x, color=INK, fontsize=size - 1)
    axes.set_ylabel(y, color=INK, fontsize=size - 1)


def with_grid(axes) -> None:
    """Give a panel the look of a curve's: a faint grid behind it, and no frame above and on the right."""
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", colors=INK, labelsize=8)


def without_frame(axes) -> None:
    """Give a panel the look of a map's: no frame, and labels in the colour of the text."""
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK)


def colour_bar(figure, image, panels, text: str = "", **how) -> None:
    """Put the meaning of an image's colours beside the panels; `how` goes to figure.colorbar."""
    bar = figure.colorbar(image, ax=panels, **how)
    bar.set_label(text, color=INK, fontsize=9)
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.outline.set_visible(False)
