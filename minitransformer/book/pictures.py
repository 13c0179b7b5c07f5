"""Pictures of a run as SVG: its arrays as rectangles to scale, and a small Jacobian as a map of colours."""

from html import escape

import numpy as np

CELL = 14  # pixels for an entry of an array
GAP = 30


def picture_of_shapes(arrays: list, letters: dict) -> str:
    """Return an SVG of arrays, (name, shape), in their order; an axis of n entries is n cells long.

    The last axis runs to the right and the one before it down; what comes before these lies behind. `letters` names
    axes by their length.
    """
    parts, x, height = [], 2, 0
    for name, shape in arrays:
        rows, columns = (1, 1, *shape)[-2:]
        behind = min(int(np.prod(shape[:-2], dtype=int)) - 1, 3) if len(shape) > 2 else 0
        wide, tall, shift = CELL * columns, CELL * rows, 5 * behind
        for k in range(behind, -1, -1):
            parts.append(rectangle(x + 5 * k, 22 + shift - 5 * k, wide, tall, shape, front=k == 0))
        label = f'<text class="name" x="{x}" y="14">{escape(name)}</text>'
        axes = " × ".join(letters.get(n, str(n)) for n in shape) or "a number"
        parts.append(label + f'<text class="axes" x="{x}" y="{22 + shift + tall + 14}">{escape(axes)}</text>')
        x += max(wide + shift, 8 * len(name) + 6, 7 * len(axes)) + GAP
        height = max(height, 22 + shift + tall + 20)
    return svg(x, height, "".join(parts), "the arrays of the forward pass, to scale")


def rectangle(x, y, wide, tall, shape, front):
    """An array, with lines between its entries where it is in front."""
    lines = ""
    if front:
        lines = "".join(f"M{x + CELL * k} {y}v{tall}" for k in range(1, wide // CELL))
        lines += "".join(f"M{x} {y + CELL * k}h{wide}" for k in range(1, tall // CELL))
        lines = f'<path class="grid" d="{lines}"/>' if lines else ""
    return f'<rect class="array" x="{x}" y="{y}" width="{wide}" height="{tall}"/>{lines}'


def heat_map(matrix, of: str, by: str) -> str:
    """Return an SVG of a Jacobian (rows: entries of y, columns: entries of x): blue below zero, red above."""
    size, left, top = 34, 30, 24
    scale = np.abs(matrix).max(initial=0) or 1
    parts = []
    for i, row in enumerate(matrix):
        parts.append(f'<text class="axes" x="2" y="{top + size * i + 21}">{escape(of)}{i}</text>')
        for j, value in enumerate(row):
            colour = "#b3261e" if value > 0 else "#1f5fa8"
            strength = abs(value) / scale
            x, y = left + size * j, top + size * i
            number = f"{value:.2f}".replace("-", "−") if abs(value) > 5e-3 else "0"
            kind = "entry strong" if strength > 0.5 else "entry"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{size}" height="{size}" fill="{colour}" fill-opacity="{strength:.2f}"/>'
                f'<text class="{kind}" x="{x + size / 2}" y="{y + 21}">{number}</text>'
            )
    for j in range(matrix.shape[1]):
        parts.append(f'<text class="axes" x="{left + size * j + 9}" y="16">{escape(by)}{j}</text>')
    wide, tall = left + size * matrix.shape[1] + 2, top + size * matrix.shape[0] + 2
    return svg(wide, tall, "".join(parts), f"the Jacobian of {of} by {by}")


def svg(wide, tall, body, title):
    """An SVG element that fits its column."""
    return f'<svg viewBox="0 0 {wide} {tall}" width="{wide}" role="img"><title>{escape(title)}</title>{body}</svg>'
