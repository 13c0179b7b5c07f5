"""Draw the step curve as text or as an image."""

import math
import os
import textwrap

import numpy as np

from gradcheck.curve.measurement import CENTRAL, COMPLEX, FORWARD, STEPS

SYMBOLS = {FORWARD: "+", CENTRAL: "o", COMPLEX: "*"}
COLOURS = {FORWARD: "#c2571a", CENTRAL: "#1f5fa8", COMPLEX: "#2e7d32"}
FLOOR = 1e-17  # an error of exactly zero is drawn here
COLUMNS = 76  # each is a fifth of a decade of h
TOP, BOTTOM = 1, -17  # decades of the error, one per row


def draw(curve):
    """Return a text plot of the curve."""
    grid = [[" "] * COLUMNS for _ in range(TOP - BOTTOM + 1)]
    for method in (m for m in SYMBOLS if m in curve.derivatives):
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
    lines += [f"  {SYMBOLS[method]} {method:<20} {_description(curve, method)}" for method in curve.derivatives]
    for note in curve.notes:
        lines += ["", *textwrap.wrap(note, COLUMNS + 12, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join(lines)


def _column(decade):
    return round((decade + 16) / 15 * (COLUMNS - 1))


def _description(curve, method):
    slope = curve.slope(method)
    truncation = f"truncation ∝ h^{slope:.2f}" if slope is not None else "no straight line of truncation"
    rounding = "no rounding" if method == COMPLEX else "rounding ∝ 1/h"
    if curve.verdict != "right":
        return f"{truncation}, {rounding}"
    lowest, step = curve.best(method)
    return f"{truncation}, {rounding}; lowest {lowest:.0e} at h = {step:.0e}"


def save(curves, path):
    """Draw curves side by side into an image file. Needs matplotlib.

    The extension of the path selects the format (PNG if there is no extension). Raises ValueError for an extension that
    matplotlib does not support.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "a picture needs matplotlib, which is not installed: install it with pip install matplotlib, "
            "or omit --out to show the curve in the terminal"
        ) from error
    figure = Figure(figsize=(6.4 * len(curves) + 0.6, 5.6), layout="constrained")
    axes = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axis, curve in zip(axes, curves, strict=True):
        _plot(axis, curve)
    axes[0].set_ylabel("relative error |numeric − backward|")
    figure.savefig(path, dpi=150, format=os.path.splitext(path)[1][1:] or "png")


def _plot(axis, curve):
    for method in curve.derivatives:
        error = np.maximum(curve.error(method), FLOOR)
        broad = method == COMPLEX  # so that it shows behind central differences where truncation dominates
        style = {"ms": 5, "lw": 3, "alpha": 0.55, "zorder": 1} if broad else {"ms": 3, "lw": 1.2}
        slope = curve.slope(method)
        label = method if slope is None else f"{method}, truncation ∝ h^{slope:.2f}"
        axis.loglog(STEPS, error, "o-", color=COLOURS[method], label=label, **style)
    if curve.verdict == "wrong" and math.isfinite(curve.height):
        axis.axhline(curve.height, color="#b00020", lw=7, alpha=0.15)
        text = f"a flat line: the error is {curve.height:.0e} for every step"
        axis.text(1e-7, curve.height / 20, text, ha="center", color="#b00020", fontsize=11)
    axis.set(xlim=(6e-17, 0.2), ylim=(FLOOR / 5, 1e5), xlabel="step h", title=curve.name)
    axis.grid(color="#e4e4e4", lw=0.5)
    axis.set_axisbelow(True)
    axis.legend(loc="upper center", fontsize=9, handlelength=1.2)
    text = "\n".join(line for note in curve.notes for line in textwrap.wrap(note, 88))
    axis.text(0.5, -0.13, text, transform=axis.transAxes, ha="center", va="top", fontsize=9)
