"""Draw arrays as HTML tables, and series as line charts."""

from html import escape

import numpy as np

LARGEST = 60  # largest size of an array whose entries are shown


def matrix(label: str, value, way: str = "forward", name: str = "", show=None, kind: str = "") -> str:
    """Return an array in brackets, with a cell for each entry.

    `way` is the class of its colours, "forward" or "grad", or "" for none. The darkness of a cell, `--s`, is the size
    of the entry relative to the largest one. `show` formats the entries (default: a fixed number of decimals), and
    `name` is the array's name in the code.
    """
    value = np.asarray(value)
    rows = value.reshape(int(np.prod(value.shape[:-1])), value.shape[-1]) if value.ndim else value.reshape(1, 1)
    finite = np.abs(value[np.isfinite(value)]) if value.dtype.kind in "fiub" else np.zeros(1)
    largest, at = finite.max(initial=0) or 1, iter(range(value.size))
    digits = digits_of(value, largest)
    show = show or (lambda entry: written(entry, f".{digits}f"))
    block = value.shape[-2] if value.ndim > 2 else len(rows) + 1
    cells = ""
    for k, row in enumerate(rows):
        cells += '<tr class="next">' if k and k % block == 0 else "<tr>"
        for entry in row:
            style = f' style="--s:{min(1, abs(entry) / largest):.2f}"' if way and np.isfinite(entry) else ""
            negative = ' class="neg"' if way and entry < 0 else ""
            index = f' data-i="{next(at)}"' if name else ""
            cells += f"<td{index}{negative}{style}>{show(entry)}</td>"
        cells += "</tr>"
    tied = f' data-array="{escape(name)}" data-digits="{digits}"' if name else ""
    focus = ' tabindex="0"' if rows.shape[1] > 5 else ""
    classes = " ".join(filter(None, ("matrix", way, kind)))
    return f'<span class="given"{focus}>{label}<table class="{classes}"{tied}><tbody>{cells}</tbody></table></span>'


def digits_of(value, largest) -> int:
    """Return the number of decimals that shows the entries: none for integers, two, or more if all are small."""
    is_whole = value.dtype.kind in "iub"
    return 0 if is_whole else 2 + max(0, min(4, int(-np.floor(np.log10(largest))) - 1))


def sized(value) -> str:
    return f"{' × '.join(map(str, np.shape(value)))} numbers"


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
    text = text.lstrip("-") if not float(text) else text
    return text.replace("-", "−") if float(text) or form.endswith("f") else "0"


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
