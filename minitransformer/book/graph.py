"""Draw a derivation from its equations, as paths of the values and the gradients.

A box shows a value with its shape and, if the value has a gradient, the gradient with the number of its equation. A
dependency is drawn twice: downwards from a value to the values whose equations read it, and upwards for the gradients.
The layout is automatic: layers are determined by the longest paths, and the order within a layer follows the mean
position of the neighbours.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from html import escape
from itertools import pairwise

import numpy as np
from scipy.optimize import isotonic_regression

from gradcheck.names import names_in as names_in_code
from minitransformer.book import notation as n
from minitransformer.book.observation import functions
from minitransformer.book.run import BACKWARD, arrays_in
from minitransformer.book.symbols import symbol_of

ROW, HEIGHT, GAP, LETTER = 74, 38, 26, 8.0  # in pixels
SWEEPS = 12


@dataclass
class Value:
    label: str  # text in the box
    number: int | None = None  # number of the equation, or None for an input
    sources: list = field(default_factory=list)  # names of the values that the equation reads
    gradient: int | None = None  # number of the gradient's equation, 0 if it has none, None without a gradient
    is_saved: bool = False  # True if backward reads the value
    is_derived: bool = False  # True if the gradient occurs in an equation
    shape: str = ""  # shape as text

    @property
    def halves(self) -> tuple[float, float]:
        of_value = max(LETTER * len(self.label) + 16, 6.2 * len(self.shape) + 12, 38)
        return of_value, 0.0 if self.gradient is None else max(LETTER * (len(self.label) + 1) + 14, 38)


def values_of(function: str, derivations) -> dict[str, Value]:
    """Return the values of a function by name, in the order of the equations. There are none if it has no gradients."""
    runs = [run for run in derivations.runs if function in (run.specimen.function, *run.specimen.also)]
    local = dict(item for run in reversed(runs) for item in run.values.items())
    arrays = {name: value for name, value in local.items() if isinstance(value, np.ndarray)}
    forward, backward = (equations_of(name, derivations, arrays) for name in (function, function + BACKWARD))
    gradients = {name[1:]: number for name, number, *_ in backward if name.startswith("d")}
    if not forward or not gradients:
        return {}
    known = {name for name, *_ in forward} | gradients.keys() | {name for name, array in arrays.items() if array.ndim}
    values = values_assigned(forward, known)
    code = dict(functions(derivations.source))[function]
    add_sources_from_code(values, code, arrays)
    read = {name for *_, reads in backward for name in reads}
    saved = [array for run in runs for array in arrays_in(run.closure())]
    read |= {name for name, value in arrays.items() if any(np.may_share_memory(value, array) for array in saved)}
    letters = {length: letter for run in reversed(runs) for length, letter in run.specimen.letters.items()}
    for name, value in values.items():
        value.is_saved, value.is_derived = name in read, name in gradients or f"d{name}" in read
        if name in arrays:
            value.shape = " × ".join(letters.get(length, str(length)) for length in arrays[name].shape)
    inputs = {symbol_of(argument.arg) for argument in code.args.args} & arrays.keys()
    for name in on_paths(values, {name for name in inputs if arrays[name].dtype.kind == "f"}):
        values[name].gradient = gradients.get(name, 0)
    return values


def equations_of(function, derivations, arrays) -> list[tuple]:
    """Return a tuple for each value that a numbered equation assigns.

    It contains the name, the number of the equation, whether the equation defines the square, and the names that it
    reads.
    """
    return [
        (name, s.number, isinstance(s.equation.sides[0], n.Power), reads)
        for s in derivations.statements
        if s.number is not None and s.function == function
        for name, reads in assigned(s.equation, arrays)
    ]


def values_assigned(equations, known) -> dict[str, Value]:
    """Return the values that equations assign, and those in `known` that they read, by name."""
    found: dict[str, Value] = {}
    for name, number, is_squared, reads in equations:
        value = found.setdefault(name, Value(name + "²" * is_squared, number))
        value.sources += [read for read in reads if read in known and read not in (*value.sources, name)]
    for name in [source for value in found.values() for source in value.sources]:
        found.setdefault(name, Value(name))
    return found


def add_sources_from_code(values, code, arrays):
    """Add the sources of values without an equation, such as the keys of attention, from the code.

    No path leads through a boolean value, such as a choice, because its derivative is zero.
    """
    for statement in (node for node in ast.walk(code) if isinstance(node, ast.Assign)):
        value = values.get(symbol_of(next(iter(names_in_code(statement.targets[0])), "")))
        is_boolean = value is not None and value.label in arrays and arrays[value.label].dtype == bool
        if value is not None and value.number is None and not is_boolean:
            read = map(symbol_of, names_in_code(statement.value))
            value.sources += [name for name in read if values.get(name) not in (None, value)]


def on_paths(values, inputs) -> set:
    """Return the names on all paths from an input to a value whose gradient occurs in an equation."""
    order, derived = ordered(values), {name for name, value in values.items() if value.is_derived}
    after, before = derived | inputs, set(derived)
    for name in order:
        after |= {name} if after & {*values[name].sources} else set()
    for name in reversed(order):
        before |= {*values[name].sources} if name in before else set()
    return after & before


def assigned(equation, arrays) -> Iterator[tuple]:
    left, right = equation.sides[0], equation.sides[1:]
    if isinstance(left, n.Several):
        for i, node in enumerate(left.of):
            parts = [side.of[i] if isinstance(side, n.Several) else side for side in right]
            yield next(names_in([node], arrays)), unique(names_in(parts, arrays))
    elif not isinstance(left, (n.Derivative, n.Sum, n.Call)):
        for name in unique(names_in([left], arrays))[:1]:
            yield name, unique(names_in(right, arrays))


def unique(names) -> list:
    return list(dict.fromkeys(names))


def names_in(nodes, arrays) -> Iterator[str]:
    """Yield the names that expressions read, except functions, derivatives and indices."""
    for node in nodes:
        if isinstance(node, n.Symbol):
            yield node.base if node.subscript and node.text not in arrays else node.text
        elif isinstance(node, n.Call):
            yield from names_in(node.arguments, arrays)
        elif not isinstance(node, n.Derivative):
            yield from names_in(n.children(node), arrays)


def ordered(values: dict) -> list:
    return list(TopologicalSorter({name: value.sources for name, value in values.items()}).static_order())


def predicted(values: dict, name: str) -> set:
    """Return the values whose gradients contribute to the gradient of `name`.

    These are the values that read `name`. A value whose gradient occurs in no equation is replaced with its readers.
    """
    found = set()
    for reader, value in values.items():
        if name in value.sources:
            found |= {reader} if value.is_derived else predicted(values, reader)
    return found


def layers_of(values: dict) -> dict:
    layer: dict = {}
    for name in ordered(values):
        layer[name] = 1 + max((layer[source] for source in values[name].sources), default=-1)
    for name, value in values.items():
        readers = [layer[reader] for reader, other in values.items() if name in other.sources]
        if not value.sources and readers:
            layer[name] = min(readers) - 1
    return layer


def drawn(values: dict) -> str:
    layer = layers_of(values)
    chains = {}  # {(source, reader): [source, one place in each layer between them, reader]}
    for reader, value in values.items():
        for source in value.sources:
            between = [(source, reader, k) for k in range(layer[source] + 1, layer[reader])]
            chains[source, reader] = [source, *between, reader]
    rows: list = [[] for _ in range(1 + max(layer.values()))]
    for name in values:
        rows[layer[name]].append(name)
    for chain in chains.values():
        for place in chain[1:-1]:
            rows[place[2]].append(place)
    centres = arranged(rows, list(chains.values()), values)
    left = min(centres[name] - width_of(values, name) / 2 for row in rows for name in row) - 8
    right = max(centres[name] + width_of(values, name) / 2 for row in rows for name in row) + 8
    depth = {place: k for k, row in enumerate(rows) for place in row}
    edges = "".join(edge(chain, centres, depth, values) for chain in chains.values())
    boxes = "".join(box(name, values, centres[name], depth[name] * ROW + 4) for name in values)
    height = (len(rows) - 1) * ROW + HEIGHT + 8
    return (
        f'<svg class="graph" viewBox="{left:.0f} 0 {right - left:.0f} {height}" width="{right - left:.0f}" role="img" '
        f'aria-label="{escape(in_words(values))}">{edges}{boxes}</svg>'
    )


def arranged(rows: list, chains: list, values: dict) -> dict:
    """Return the x coordinate of the centre of each place, which is a value, or a point where a chain crosses a layer.

    Each row is first ordered by the mean position of the neighbours. Each place is then moved towards that mean.
    """
    neighbours: dict = {place: ([], []) for row in rows for place in row}
    for chain in chains:
        for above, below in pairwise(chain):
            neighbours[below][0].append(above)
            neighbours[above][1].append(below)
    x = {place: float(i) for row in rows for i, place in enumerate(row)}
    for sweep in range(SWEEPS):
        side = sweep % 2
        for row in rows if side == 0 else reversed(rows):
            means = {p: np.mean([x[q] for q in neighbours[p][side]] or [x[p]]) for p in row}
            row.sort(key=lambda p: (means[p], x[p]))
            x |= {place: float(i) for i, place in enumerate(row)}
    for sweep in range(4 * SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = [np.mean([x[q] for q in (*neighbours[p][0], *neighbours[p][1])] or [x[p]]) for p in row]
            x |= dict(zip(row, apart(wanted, [width_of(values, p) for p in row]), strict=True))
    return x


def apart(wanted: list, widths: list) -> list:
    """Return the centres closest to `wanted` for which the boxes of a row do not overlap."""
    offsets = np.cumsum([0.0, *((a + b) / 2 + GAP for a, b in pairwise(widths))])
    return list(isotonic_regression(np.subtract(wanted, offsets)).x + offsets)


def width_of(values: dict, place) -> float:
    return sum(values[place].halves) if isinstance(place, str) else 10.0


def edge(chain: list, centres: dict, depth: dict, values: dict) -> str:
    source, reader = chain[0], chain[-1]
    has_gradient = None not in (values[source].gradient, values[reader].gradient)
    curves = []
    for part, kind in enumerate(["forward", "back"] if has_gradient else ["forward"]):
        points = []
        for place in chain:
            x, y, ends = centres[place] + (4 if part else -4), depth[place] * ROW + 4, (6, HEIGHT - 6)
            if place in (source, reader):
                first, second = values[place].halves
                other, ends = (chain[1], (HEIGHT,)) if place == source else (chain[-2], (0,))
                towards = max(-9.0, min(9.0, (centres[other] - centres[place]) / 8))
                x = centres[place] + (first / 2 if part else -second / 2) + towards
            points += [(x, y + end) for end in ends]
        head = "m-3 5l3 -5l3 5" if part else "m-3 -5l3 5l3 -5"  # an arrowhead: every curve ends vertically
        curves.append(f'<path class="{kind}" d="{curve(points[::-1] if part else points)}{head}"/>')
    return "".join(curves)


def curve(points: list) -> str:
    path = "M{:.0f} {:.0f}".format(*points[0])
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        path += f"L{x1:.0f} {y1:.0f}" if x0 == x1 else f"C{x0:.0f} {middle:.0f} {x1:.0f} {middle:.0f} {x1:.0f} {y1:.0f}"
    return path


def box(name: str, values: dict, centre: float, y: float) -> str:
    value, (first, second) = values[name], values[name].halves
    x = centre - (first + second) / 2
    parts = [part("forward" + " saved" * value.is_saved, value.label, value.shape, value.number, x, y, first)]
    if second:
        kind = "back" + " implied" * (not value.is_derived)
        number = f"({value.gradient})" if value.gradient else ""
        parts.append(part(kind, f"d{value.label}", number, value.gradient, x + first, y, second))
        paths = sum(name in other.sources and other.gradient is not None for other in values.values())
        if paths > 1:
            at = f'cx="{x + first + second / 2:.0f}" cy="{y + HEIGHT + 8:.0f}"'
            parts.append(f'<circle class="back" {at} r="6"/><text class="plus" x="{x + first + second / 2:.0f}" '
                         f'y="{y + HEIGHT + 12:.0f}">+</text>')  # fmt: skip
    return "".join(parts)


def part(kind, label, below, number, x, y, width) -> str:
    tie = f" e{number}" if number else ""
    base, _, subscript = label.partition("_")
    name = escape(base) + (f'<tspan class="sub" dy="3">{escape(subscript)}</tspan>' if subscript else "")
    top = y + (16 if below else 24)
    small = f'<text class="small" x="{x + width / 2:.0f}" y="{y + 31}">{escape(below)}</text>' if below else ""
    return (
        f'<g class="{kind}{tie}"><rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{HEIGHT}"/>'
        f'<text x="{x + width / 2:.0f}" y="{top}">{name}</text>{small}</g>'
    )


def in_words(values: dict) -> str:
    forward = [f"{v.label} from {', '.join(v.sources)}" for v in values.values() if v.sources]
    back = []
    for name, value in values.items():
        readers = [f"d{r}" for r, other in values.items() if name in other.sources and other.gradient is not None]
        if value.gradient is not None and readers:
            back.append(f"d{name} from {' + '.join(readers)}")
    return f"Forward: {'; '.join(forward)}. Backward: {'; '.join(back)}."


CAPTION = (
    '<figcaption><span class="forward">Down</span>: each value, to the equations that read it. A filled box is saved '
    'for backward, by this function or one that it calls. <span class="back">Up</span>: the gradients, '
    "each path in reverse, with + where paths meet. A dashed gradient has no equation of its own.</figcaption>"
)


def picture_of(function: str, derivations, explained: bool = True) -> str:
    """Return a picture of the graph of a function as HTML, or "" if it has fewer than three values."""
    values = values_of(function, derivations)
    if len(values) < 3:
        return ""
    caption = CAPTION if explained else ""
    return f'<figure class="graph-figure"><div class="scroll" tabindex="0">{drawn(values)}</div>{caption}</figure>'
