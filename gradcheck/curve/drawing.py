"""Draw the step curve as text or as an image."""

import math
import os
import textwrap

import numpy as np

from gradcheck.curve.measurement import CENTRAL, COMPLEX, FORWARD, STEPS

SYMBOLS = {FORWARD: "+", CENTRAL: "o", COMPLEX: "*"}
FLOOR = 1e-17  # an error of exactly zero is drawn here
COLUMNS = 76  # each is a fifth of a decade of h
TOP, BOTTOM = 1, -17  # decades of the error, one per row


def draw(curve):
    """Return a text plot of the curve."""
    grid = [[" "] * COLUMNS for _ in range(TOP - BOTTOM + 1)]
    for method in curve.derivatives:
        for h, error in zip(STEPS, curve.error(method), strict=True):
            if math.isfinite(error):
                row = round(TOP - math.log10(min(max(error, FLOOR), 10.0**TOP)))
                grid[row][_column(math.log10(h))] = SYMBOLS[method]
    lines = [f"{curve.name}: error of the derivative along a random direction through {curve.argument}", ""]
    for row, cells in enumerate(grid):
        label = f"1e{TOP - row:+03d}" if row % 2 else ""
        lines.append(f"{label:>7} │{''.join(cells)}".rstrip())
    ticks = [" "] * (COLUMNS + 4)
    for decade in range(-16, 0, 3):
        ticks[_column(decade) : _column(decade) + 5] = f"1e{decade:+03d}"
    lines += [f"{'':8}└{'─' * COLUMNS}", f"{'':7}{''.join(ticks).rstrip()}  step h", ""]
    lines += [f"  {SYMBOLS[method]} {_label(curve, method)}" for method in curve.derivatives]
    for note in curve.notes:
        lines += ["", *textwrap.wrap(note, COLUMNS + 12, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join(lines)


def _column(decade):
    return round((decade + 16) / 15 * (COLUMNS - 1))


def _label(curve, method):
    slope = curve.slope(method)
    return f"{method}, {'no straight line of truncation' if slope is None else f'truncation ∝ h^{slope:.2f}'}"


def save(curves, path):
    """Draw curves side by side into an image file. Needs matplotlib.

    The extension of the path selects the format (PNG if there is no extension). Raises ValueError for an extension that
    matplotlib does not support.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("a picture needs matplotlib: install it with pip install matplotlib") from error
    figure = Figure(figsize=(6.4 * len(curves) + 0.6, 5.6), layout="constrained")
    axes = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axis, curve in zip(axes, curves, strict=True):
        for method in curve.derivatives:
            errors = np.maximum(curve.error(method), FLOOR)
            axis.loglog(STEPS, errors, f"-{SYMBOLS[method]}", ms=4, lw=1, label=_label(curve, method))
        axis.set(ylim=(FLOOR / 5, 1e5), title=curve.name, ylabel="relative error |numeric − backward|")
        axis.set_xlabel("\n".join(["step h", "", *textwrap.wrap(" ".join(curve.notes), 80)]))
        axis.grid(alpha=0.4)
        axis.legend(loc="upper center")
    figure.savefig(path, dpi=150, format=os.path.splitext(path)[1][1:] or "png")
