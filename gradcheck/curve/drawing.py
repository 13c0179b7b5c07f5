"""Draw the step curve as text. A column is a fifth of a decade of h, and a row is a decade of the error."""

import math
import textwrap

from gradcheck.curve.measurement import CENTRAL, COMPLEX, FORWARD, STEPS

SYMBOLS = {FORWARD: "+", CENTRAL: "o", COMPLEX: "*"}
FLOOR = 1e-17  # an error of exactly zero is drawn here
COLUMNS = 76
TOP, BOTTOM = 1, -17  # decades of the error
ROWS = TOP - BOTTOM + 1


def draw(curve):
    """Return the curve as text with several lines."""
    grid = [[" "] * COLUMNS for _ in range(ROWS)]
    for method in (m for m in (FORWARD, CENTRAL, COMPLEX) if m in curve.derivatives):
        for h, error in zip(STEPS, curve.error(method), strict=True):
            if math.isfinite(error):
                row = round(TOP - math.log10(min(max(error, FLOOR), 10.0**TOP)))
                column = round((math.log10(h) + 16) / 15 * (COLUMNS - 1))
                grid[row][column] = SYMBOLS[method]
    lines = [f"{curve.name}: error of the derivative along a random direction through {curve.argument}", ""]
    for row, cells in enumerate(grid):
        label = f"1e{TOP - row:+03d}" if row % 2 else ""
        lines.append(f"{label:>7} │{''.join(cells)}".rstrip())
    lines.append(" " * 8 + "└" + "─" * COLUMNS)
    ticks = [" "] * (COLUMNS + 4)
    for decade in range(-16, 0, 3):
        column = round((decade + 16) / 15 * (COLUMNS - 1))
        ticks[column : column + 5] = f"1e{decade:+03d}"
    lines.append(" " * 7 + "".join(ticks).rstrip() + "  step h")
    lines.append("")
    lines += [f"  {SYMBOLS[method]} {method:<20} {describe(curve, method)}" for method in curve.derivatives]
    for note in curve.notes:
        lines += ["", *textwrap.wrap(note, COLUMNS + 12, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join(lines)


def describe(curve, method):
    """Describe the errors of one method: their order for large and for small steps, and the lowest error."""
    slope = curve.slope(method)
    truncation = f"truncation ∝ h^{slope:.2f}" if slope is not None else "no straight line of truncation"
    rounding = "no rounding" if method == COMPLEX else "rounding ∝ 1/h"
    if curve.verdict != "right":
        return f"{truncation}, {rounding}"
    lowest, step = curve.best(method)
    return f"{truncation}, {rounding}; lowest {lowest:.0e} at h = {step:.0e}"
