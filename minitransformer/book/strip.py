"""The strip of the film: all lines of the training step in one drawing.

The first lane contains a box for each forward line. In the second lane, each gradient spans the forward lines that it
mirrors. The gradients of weights are in a third lane. Arcs join a line to the lines whose results it reads.
"""

from html import escape
from itertools import groupby

LETTER, GAP, HEIGHT, LANES = 7.6, 4, 24, (76, 126, 180)  # in units of the drawing


def strip(film: dict) -> str:
    lines, count = film["lines"], film["forward"]
    spans = [(0, i, i, False) for i in range(count)] + lanes(lines[count:])
    boxes = placed([(lane, first, last) for lane, first, last, _ in spans], [" ".join(line["made"]) for line in lines])
    arcs = [arc(boxes, spans, j, i) for i, line in enumerate(lines) for j in line["from"]]
    drawn = [box(i, lines[i], boxes[i], LANES[spans[i][0]], spans[i][3], i >= count) for i in range(len(lines))]
    width = max(x + w for x, w in boxes) + GAP
    return (
        f'<svg viewBox="0 0 {width:.0f} 215" role="img" aria-label="The lines forward, and below them the gradients, '
        f'each under the lines that it mirrors">{"".join(arcs)}{"".join(drawn)}</svg>'
    )


def lanes(back: list) -> list:
    """Return the lane, the first and last column, and `is_more` for each line of the backward pass.

    A gradient spans the longest free run of the forward lines that it mirrors. `is_more` is True if it also mirrors
    others. A gradient that no line reads, or for which no column is free, is placed in the third lane.
    """
    taken, found = {1: set(), 2: set()}, []
    is_read = {name for line in back for name in line["reads"]}
    for line in back:
        columns = [number - 1 for number in line["mirrors"]]
        free = [column for column in columns if column not in taken[1]]
        if free and is_read & set(line["made"]):
            runs = groupby(enumerate(sorted(free)), key=lambda pair: pair[1] - pair[0])
            lane, span = 1, max(([column for _, column in run] for _, run in runs), key=len)
        else:
            lane, column = 2, min(columns)
            while column in taken[2]:
                column -= 1
            span = [column]
        taken[lane] |= set(span)
        found.append((lane, span[0], span[-1], len(columns) > len(span)))
    return found


def placed(spans: list, labels: list) -> list:
    widths = [0.0] * (1 + max(last for _, _, last in spans))
    for (_, first, last), label in zip(spans, labels, strict=True):
        missing = LETTER * len(label) + 12 - sum(widths[first : last + 1]) - GAP * (last - first)
        for column in range(first, last + 1):
            widths[column] += max(missing, 0) / (last - first + 1)
    starts = [GAP + sum(widths[:i]) + GAP * i for i in range(len(widths))]
    return [(starts[first], starts[last] + widths[last] - starts[first]) for _, first, last in spans]


def arc(boxes: list, spans: list, source: int, target: int) -> str:
    (lane, *_), (end_lane, *_) = spans[source], spans[target]
    x0, x1 = (boxes[i][0] + boxes[i][1] / 2 for i in (source, target))
    bend = min(10 + abs(x1 - x0) / 6, 68)
    y0, y1 = LANES[lane], LANES[end_lane]
    if lane == end_lane == 0:
        path = f"M{x0:.0f} {y0}C{x0:.0f} {y0 - bend:.0f} {x1:.0f} {y0 - bend:.0f} {x1:.0f} {y0}"
    elif lane == 0:
        path = f"M{x0:.0f} {y0 + HEIGHT}C{x0:.0f} {y1 - 8} {x1:.0f} {y0 + HEIGHT + 8} {x1:.0f} {y1}"
    else:
        y0, y1 = y0 + HEIGHT, y1 + HEIGHT * (end_lane == lane)
        bend = min(bend, 26)
        path = f"M{x0:.0f} {y0}C{x0:.0f} {y0 + bend:.0f} {x1:.0f} {y1 + bend * (end_lane == lane):.0f} {x1:.0f} {y1}"
    kind = "across" if lane == 0 < end_lane else "of-back" if lane else "of-forward"
    return f'<path class="{kind}" data-from="{source}" data-to="{target}" d="{path}"/>'


def box(i: int, line: dict, place: tuple, y: float, is_more: bool, is_back: bool) -> str:
    x, width = place
    label = escape(" ".join(line["made"]))
    more = f'<text class="more" x="{x + width - 6:.0f}" y="{y + 9}">+</text>' if is_more else ""
    return (
        f'<g class="box {"back" if is_back else "forward"}" data-line="{i}"><title>{escape(line["code"])}</title>'
        f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{HEIGHT}" rx="3"/>'
        f'<text x="{x + width / 2:.0f}" y="{y + 16}">{label}</text>{more}</g>'
    )
