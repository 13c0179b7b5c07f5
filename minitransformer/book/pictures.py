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


class Panel:
    """A part of a drawing. `xs` and `ys` are the ranges of the coordinates, and `parts` collects the markup."""

    def __init__(self, left, top, width, height, xs, ys):
        self.left, self.top, self.width, self.height, self.xs, self.ys = left, top, width, height, xs, ys
        self.parts: list = []

    def place(self, x, y):
        across, up = (x - self.xs[0]) / (self.xs[1] - self.xs[0]), (y - self.ys[0]) / (self.ys[1] - self.ys[0])
        return self.left + across * self.width, self.top + (1 - up) * self.height

    def text(self, x, y, words, kind="axes", anchor="middle", dx=0, dy=0):
        left, top = self.place(x, y)
        self.parts.append(
            f'<text class="{kind}" x="{left + dx:.1f}" y="{top + dy:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def curve(self, xs, ys, kind, width=2.0):
        points = " ".join("{:.1f},{:.1f}".format(*self.place(x, y)) for x, y in zip(xs, ys, strict=True))
        self.parts.append(f'<polyline class="curve {kind}" style="stroke-width:{width:.3g}" points="{points}"/>')

    def arrow(self, x0, y0, x1, y1, kind):
        (left, top), (right, bottom) = self.place(x0, y0), self.place(x1, y1)
        turn = np.degrees(np.arctan2(bottom - top, right - left))
        self.parts.append(
            f'<g class="curve {kind}"><path d="M{left:.1f} {top:.1f}L{right:.1f} {bottom:.1f}"/>'
            f'<path d="M-7 -3.5L0 0L-7 3.5" transform="translate({right:.1f} {bottom:.1f}) rotate({turn:.0f})"/></g>'
        )

    def dot(self, x, y, kind, radius=4):
        left, top = self.place(x, y)
        self.parts.append(f'<circle class="{kind}" cx="{left:.1f}" cy="{top:.1f}" r="{radius}"/>')

    def axes(self, across="", up=""):
        """Draw the lines x = 0 and y = 0, or those at the edges, with titles."""
        x, y = (min(max(0, low), high) for low, high in (self.xs, self.ys))
        for ends in (
            (*self.place(self.xs[0], y), *self.place(self.xs[1], y)),
            (*self.place(x, self.ys[0]), *self.place(x, self.ys[1])),
        ):
            self.parts.append('<path class="axis" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>'.format(*ends))
        self.text(self.xs[1], self.ys[0], across, anchor="end", dy=28)
        self.text(self.xs[0], self.ys[1], up, anchor="start", dx=-4, dy=-8)

    def bars(self, values, kind="blue", numbers=".2f"):
        """Draw a bar for each value, with its number below. Negative bars are grey."""
        step, wide = (self.xs[1] - self.xs[0]) / len(values), 0.7 * self.width / len(values)
        base, drawn = self.place(0, 0)[1], {kind: "", "grey": ""}
        for k, value in enumerate(values):
            at = self.xs[0] + (k + 0.5) * step
            x, y = self.place(at, value)
            drawn[kind if value >= 0 else "grey"] += f"M{round(x, 1):g} {round(base, 1):g}V{round(y, 1):g}"
            if numbers:
                self.text(at, self.ys[0], written(value, numbers), "middle", dy=16)
        paths = ((colour, path) for colour, path in drawn.items() if path)
        self.parts += [f'<path class="{colour}" stroke-width="{wide:.3g}" d="{path}"/>' for colour, path in paths]
        self.parts.append(f'<path class="axis" d="M{self.left} {base:.1f}h{self.width}"/>')

    def title(self, words):
        self.parts.append(f'<text class="title" x="{self.left}" y="{self.top - 12}">{escape(words)}</text>')

    def __str__(self):
        return "".join(self.parts)


def tiles(panel, values, kind, left, right):
    values = np.where(np.isfinite(values), values, 0)
    height, width = np.array([1, right - left]) / values.shape
    largest = np.abs(values).max() or 1
    for (i, j), entry in np.ndenumerate(values):
        (x0, y0), (x1, y1) = (
            panel.place(left + j * width, 1 - i * height),
            panel.place(left + (j + 1) * width, 1 - (i + 1) * height),
        )
        panel.parts.append(
            f'<rect class="{kind if entry >= 0 else "grey"}" stroke="none" fill-opacity="{abs(entry) / largest:.2f}" '
            f'x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0 - 1:.1f}" height="{y1 - y0 - 1:.1f}"/>'
        )


def line_chart(title: str, xs, series: dict, across: str, decades: bool = False) -> str:
    """Return a figure with two named lines. `xs` are labels at equal distances, on an axis with the title `across`.

    The vertical axis begins at 0. With `decades`, it is logarithmic.
    """
    lines = {name: np.log10(line) if decades else np.asarray(line) for name, line in series.items()}
    high = max(line.max() for line in lines.values())
    low = np.floor(min(line.min() for line in lines.values())) if decades else 0
    high = low + 3 * np.ceil((high - low) / 3) if decades else high
    panel, last = Panel(54, 26, 380, 180, (-0.2, len(xs) - 0.8), (low, high)), len(xs) - 1
    panel.axes(up=title)
    for at in np.linspace(low, high, 4):
        text = f"1e{at:.0f}".replace("-", "−") if decades else written(at, ".2g")
        panel.text(-0.2, at, text, anchor="end", dx=-6, dy=4)
    for k, label in enumerate(xs):
        panel.text(k, low, str(label), dy=16)
    panel.text(last / 2, low, across, dy=34)
    for (name, line), kind in zip(lines.items(), ("orange dashed", "blue"), strict=True):
        panel.curve(range(len(xs)), line, kind)
        panel.text(last, line[-1], name, kind.split()[0], "start", dx=12, dy=4)
    return f'<figure class="chart">{svg(600, 248, str(panel), title)}</figure>'
