"""Draw arrays as HTML tables, Jacobians as heat maps, and series as line charts."""

from html import escape

import numpy as np

RED, BLUE = "#b3261e", "#1f5fa8"


def matrix(label: str, array, show, kind: str = "matrix") -> str:
    array = np.asarray(array)
    rows = array.reshape(int(np.prod(array.shape[:-1])), array.shape[-1]) if array.ndim else array.reshape(1, 1)
    cells = "".join(f"<tr>{''.join(f'<td>{show(entry)}</td>' for entry in row)}</tr>" for row in rows)
    return f'<span class="given">{label}<table class="{kind}">{cells}</table></span>'


def table(headings: str, rows, kind="") -> str:
    """Return a table that scrolls. `headings` are separated by bars, and `rows` contain HTML."""
    heading = "".join(f"<th>{text}</th>" for text in headings.split(" | "))
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    kind = f' class="{kind}"' if kind else ""
    return f'<div class="scroll" tabindex="0"><table{kind}><tr>{heading}</tr>{body}</table></div>'


def board(matrices) -> str:
    return f'<div class="board">{"".join(matrices)}</div>'


def written(entry, form: str = ".3g") -> str:
    if isinstance(entry, (bool, np.bool_)):
        return "yes" if entry else "no"
    if not np.isfinite(entry):
        return "NaN" if np.isnan(entry) else ("−∞" if entry < 0 else "∞")
    text = format(float(entry), form)
    return text.replace("-", "−") if float(text) else "0"


def heat_map(matrix, of: str, by: str) -> str:
    size, left, top = 34, 32, 24
    scale = np.abs(matrix).max(initial=0) or 1
    parts = [label(left + size * (j + 0.5), 15, by, j) for j in range(matrix.shape[1])]
    for i, row in enumerate(matrix):
        parts.append(label(left / 2, top + size * i + 21, of, i))
        parts += [entry(left + size * j, top + size * i, size, value, scale) for j, value in enumerate(row)]
    wide, tall = left + size * matrix.shape[1] + 2, top + size * matrix.shape[0] + 2
    return svg(wide, tall, "".join(parts), f"the Jacobian of {of} with respect to {by}")


def entry(x, y, size, value, scale):
    strength, number = abs(value) / scale, written(value, ".2f")
    kind = "entry strong" if strength > 0.5 else "entry"
    return (
        f'<rect x="{x}" y="{y}" width="{size}" height="{size}" fill="{RED if value > 0 else BLUE}" '
        f'fill-opacity="{strength:.2f}"/><text class="{kind}" x="{x + size / 2}" y="{y + 21}">{number}</text>'
    )


def label(x, y, name, index):
    below = f'<tspan class="index" dy="3">{index}</tspan>'
    return f'<text class="axes middle" x="{x}" y="{y}">{escape(name)}{below}</text>'


def svg(wide, tall, body, title):
    return f'<svg viewBox="0 0 {wide} {tall}" width="{wide}" role="img"><title>{escape(title)}</title>{body}</svg>'


def line_chart(title: str, xs, series: dict, decades: bool = False) -> str:
    """Return a figure with two named lines. `xs` are labels at equal distances.

    The vertical axis begins at 0. With `decades`, it is logarithmic.
    """
    wide, tall, left, top = 420, 200, 54, 14
    lines = {name: np.log10(line) if decades else np.asarray(line) for name, line in series.items()}
    high = max(line.max() for line in lines.values())
    low = np.floor(min(line.min() for line in lines.values())) if decades else 0
    high = low + 3 * np.ceil((high - low) / 3) if decades else high
    at_x = np.linspace(left + 10, wide - 20, len(xs))
    parts = [f'<path class="axis" d="M{left} {top}V{tall}H{wide}"/>']
    for part in range(4):
        y = tall - part / 3 * (tall - top) + 4
        at = low + part / 3 * (high - low)
        text = f"1e{at:.0f}".replace("-", "−") if decades else written(at, ".2g")
        parts.append(f'<text class="axes" x="{left - 6}" y="{y:.0f}" text-anchor="end">{text}</text>')
    parts += [
        f'<text class="axes middle" x="{x:.0f}" y="{tall + 16}">{at}</text>' for x, at in zip(at_x, xs, strict=True)
    ]
    for (name, line), kind in zip(lines.items(), ("back", "forward"), strict=True):
        ys = tall - (line - low) / (high - low) * (tall - top)
        points = " ".join(f"{x:.0f},{y:.0f}" for x, y in zip(at_x, ys, strict=True))
        parts.append(f'<polyline class="{kind}" points="{points}"/>')
        parts.append(f'<text class="{kind}" x="{wide + 4}" y="{ys[-1] + 4:.0f}">{escape(name)}</text>')
    drawn = svg(wide + 130, tall + 24, "".join(parts), title)
    return f'<figure class="chart">{drawn}<figcaption>{title}</figcaption></figure>'
