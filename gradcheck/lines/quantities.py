"""The quantities that a local of a backward pass may hold, measured by perturbing each part of the forward pass.

Let e be a part of the forward pass, such as the `x` in `x - mu` (parts.py), A a name that is bound later, and
L = ⟨dy, y⟩. A backward pass computes with

- the value of e, the lengths of the axes, and their reciprocals;
- ∂L/∂e, which is the gradient along the paths through this part alone; sums of these over several occurrences of one
  name; and totals over an axis;
- ∂A/∂e where A depends on e elementwise, or where each entry of A sums a row of entries of e;
- ∂A/∂e · ∂L/∂A, the term before it is summed over the axes along which e was broadcast.

A quantity whose entries are all 0 or ±1 is excluded, because too many values equal it by chance.
"""

import ast
import itertools
import math
from dataclasses import dataclass

import numpy as np

from gradcheck.complex_step import STEP, NotComplexSafe
from gradcheck.lines.probe import is_real_array

MOST_ENTRIES = 300  # of a part, because each is perturbed separately
MOST_TIMES = 4  # evaluations of a part, as in a loop
MOST_OCCURRENCES = 4  # of a name, of which every subset is summed
STEPS = (4e-3, 2e-3, 1e-3)  # relative; of central differences, extrapolated to a step of zero
EXTRAPOLATION = 1 / 45, -20 / 45, 64 / 45
NEAR = 1e-7  # relative: two measured quantities are equal
VALUE, LENGTH, GRADIENT, SLOPE, WHOLE = "value", "length", "gradient", "slope", "whole gradient"


@dataclass(frozen=True)
class Quantity:
    """An array that a local may hold, of one `kind`.

    `label` identifies it on every draw. `of` are the names whose gradient it is, or with respect to which A is
    differentiated. `by` is the name A, or empty. `within` are the names bound by the statement that contains it.
    """

    kind: str
    label: tuple
    of: frozenset
    array: np.ndarray
    by: str = ""
    within: frozenset = frozenset()


def quantities_of(scene, parts, shapes, names):
    """Return {label: Quantity} of a Scene, for quantities with one of these shapes.

    Axes of length 1 are ignored in the comparison of shapes. For the given `names`, the value and ∂L/∂A are included
    with any shape.
    """
    moved, found = _Moved(scene, parts), {}
    wanted = {_without_ones(shape) for shape in shapes}

    def add(kind, label, part, array, by=""):
        array = np.asarray(array, np.float64)
        is_telling = np.isfinite(array).all() and not np.isin(array, (-1, 0, 1)).all()
        if _without_ones(array.shape) in wanted and is_telling:
            of, within = (frozenset(part.names), frozenset(part.bound)) if part else (frozenset(), frozenset())
            found[label] = Quantity(kind, label, of, array, by, within)

    for length in moved.lengths:
        add(LENGTH, (LENGTH, length), None, length)
        add(LENGTH, (LENGTH, f"1/{length}"), None, 1 / length)
    for name in scene.names.keys() & names:
        value = scene.names[name][-1].value
        if np.asarray(value).dtype.kind in "fib":
            found[VALUE, name] = Quantity(VALUE, (VALUE, name), frozenset([name]), np.asarray(value, np.float64))
    gradients = {}
    for key, value in moved.values.items():
        part, shape = parts[key[0]], np.shape(value)
        add(VALUE, (VALUE, key), part, value)
        if not moved.matters(key):
            continue
        if wanted & _rows_of(shape):
            gradients[key], _ = moved.each(key)
            for label, array in _with_rows((GRADIENT, key), gradients[key]):
                add(GRADIENT, label, part, array)
        for axis in range(len(shape)):
            if _without_ones(shape[:axis] + shape[axis + 1 :]) in wanted:
                add(GRADIENT, (GRADIENT, key, "total", axis), part, moved.total(key, axis))
        for name, slope in moved.slopes(key, wanted).items():
            for label, array in _with_rows((SLOPE, name, key), slope):
                add(SLOPE, label, part, array, name)
            if slope.shape == np.shape(moved.names[name].value) and _without_ones(slope.shape) in wanted:
                onto = moved.gradient_of(name)
                if onto is not None:
                    add(GRADIENT, (GRADIENT, name, key), part, slope * onto)
    for label, part, array in _sums(parts, gradients):
        add(GRADIENT, label, part, array)
    for name in moved.names.keys() & names:
        whole = moved.gradient_of(name)
        if whole is not None:
            found[WHOLE, name] = Quantity(WHOLE, (WHOLE, name), frozenset([name]), whole)
    return found


class _Moved:
    """The forward pass of a Scene with one Part at a time perturbed.

    Keys are (number of a part, nth evaluation).
    """

    def __init__(self, scene, parts):
        self.scene, self.parts = scene, parts
        self.names = {name: held[0] for name, held in scene.names.items() if len(held) == 1}
        self.names = {name: event for name, event in self.names.items() if is_real_array(event.value)}
        seen = {}
        self._evaluate(lambda key, value: seen.setdefault(key, value), scene.run.call.evaluate)
        often = {number for number, nth in seen if nth >= MOST_TIMES}
        self.values = {key: value for key, value in seen.items() if is_real_array(value) and key[0] not in often}
        self.values = {key: np.array(value) for key, value in self.values.items() if np.size(value) <= MOST_ENTRIES}
        shapes = [np.shape(value) for value in (*seen.values(), scene.run.dy) if isinstance(value, np.ndarray)]
        self.lengths = sorted({n for shape in shapes for n in (*shape, math.prod(shape)) if n > 1})
        self.rng = np.random.default_rng(len(seen))
        self.random, self.swept = {}, {}

    def matters(self, key):
        """Return True if the output or any named value depends on a part."""
        self.random[key] = v = self.rng.standard_normal(self.values[key].shape)
        try:
            self.random[key] = v, self._along(key, v)
        except NotComplexSafe:
            return False
        slope, slopes = self.random[key][1]
        return slope != 0 or any(map(np.any, slopes.values()))

    def slopes(self, key, wanted):
        """Return {name: ∂A/∂e} for names A that depend on e elementwise.

        Names that sum rows of an elementwise product are included.
        """
        v, (_, along) = self.random[key]
        along = {name: change for name, change in along.items() if np.any(change)}
        found, rest = {}, []
        if any(wanted & _rows_of(change.shape) for change in along.values()):
            _, elementwise = self._along(key, np.ones_like(v))
            for name, change in along.items():
                slope = elementwise[name]
                if _is_broadcast(v.shape, slope.shape) and _is_near(slope * v, change):
                    found[name] = slope
        rest = [name for name, change in along.items() if name not in found and change.size < v.size]
        if rest and wanted & _rows_of(v.shape):
            _, slopes = self.each(key)
            for name in rest:
                summed, change = slopes[name], np.squeeze(along[name])
                if any(_is_near(np.squeeze((summed * v).sum(axis=axis)), change) for axis in range(v.ndim)):
                    found[name] = summed
        return found

    def gradient_of(self, name):
        """Return ∂L/∂A of a name A, or None if it has too many entries."""
        event = self.names[name]
        return self.scene.truth.entries(event.key, event.value) if np.size(event.value) <= MOST_ENTRIES else None

    def total(self, key, axis):
        """Return ∂L/∂e, summed over an axis."""
        if key in self.swept:
            return self.swept[key][0].sum(axis=axis)
        shape = self.values[key].shape
        result = np.zeros(shape[:axis] + shape[axis + 1 :])
        for index in np.ndindex(result.shape):
            v = np.zeros(shape)
            v[(*index[:axis], slice(None), *index[axis:])] = 1.0
            result[index], _ = self._along(key, v)
        return result

    def each(self, key):
        """Return (∂L/∂e, {name: gradient of the sum of its entries with respect to e})."""
        if key not in self.swept:
            shape = self.values[key].shape
            gradient, summed = np.zeros(shape), {name: np.zeros(shape) for name in self.names}
            for index in np.ndindex(shape):
                v = np.zeros(shape)
                v[index] = 1.0
                gradient[index], slopes = self._along(key, v)
                for name, slope in slopes.items():
                    summed[name][index] = np.sum(slope)
            self.swept[key] = gradient, summed
        return self.swept[key]

    def _along(self, key, v):
        """Return (derivative of L, {name: derivative of its value}) of a part along v."""
        scene = self.scene
        scene.run.call.keep_to_time()
        if scene.truth.step is not None:
            y, names = self._moved(key, 1j * STEP * v, lambda: scene.truth.step.along({}))
            return float(np.sum(scene.run.dy * y)), {name: np.imag(value) / STEP for name, value in names.items()}
        size = max(np.max(np.abs(self.values[key]), initial=0.0), 1e-3)
        slope, slopes = 0.0, dict.fromkeys(self.names, 0.0)
        for step, weight in zip(STEPS, EXTRAPOLATION, strict=True):
            h = step * size
            (above, names), (below, others) = (self._moved(key, t * v, self._output) for t in (h, -h))
            slope += weight * float(np.sum(scene.run.dy * (above - below))) / (2 * h)
            slopes = {name: slopes[name] + weight * (names[name] - others[name]) / (2 * h) for name in slopes}
        return slope, slopes

    def _output(self):
        return np.array(self.scene.run.call.evaluate()[0])

    def _moved(self, key, change, evaluate):
        """Return (result of `evaluate`, {name: value}) with a change added to a part."""
        y, events = self._evaluate(lambda other, value: value + change if other == key else value, evaluate)
        held = {event.key: event.value for event in events}
        return y, {name: np.asarray(held[event.key]) for name, event in self.names.items()}

    def _evaluate(self, at_part, evaluate):
        """Return (result of `evaluate`, Events) with the value of each part replaced.

        The replacement is at_part(key, value).
        """
        times = {}

        def at(number, value):
            nth = times[number] = times.get(number, -1) + 1
            return at_part((number, nth), value)

        with self.scene.probe.recording({}) as events, self.scene.probe.moving(at):
            return evaluate(), events


def _with_rows(label, array):
    """Yield (label, array) for an array, and for its first row if all rows are equal.

    This is repeated for each leading axis.
    """
    yield label, array
    while array.ndim and len(array) and _is_near(array, np.broadcast_to(array[:1], array.shape)):
        array, label = array[0], (*label, "row")
        yield label, array


def _sums(parts, gradients):
    """Yield (label, Part, array) for sums of gradients of one repeated expression."""
    alike = {}
    for key, gradient in gradients.items():
        alike.setdefault((ast.unparse(parts[key[0]].node), gradient.shape), []).append(key)
    for keys in alike.values():
        for size in range(2, len(keys) + 1) if len(keys) <= MOST_OCCURRENCES else (len(keys),):
            for chosen in itertools.combinations(keys, size):
                yield (GRADIENT, *chosen), parts[keys[0][0]], sum(gradients[key] for key in chosen)


def _rows_of(shape):
    """Return the shapes of an array and of its rows, without axes of length 1."""
    return {_without_ones(shape[i:]) for i in range(len(shape) + 1)}


def _without_ones(shape):
    return tuple(n for n in shape if n != 1)


def _is_broadcast(shape, result):
    try:
        return np.broadcast_shapes(shape, result) == result
    except ValueError:
        return False


def _is_near(a, b):
    if a.shape != b.shape:
        return False
    size = max(np.max(np.abs(a), initial=0.0), np.max(np.abs(b), initial=0.0))
    return bool(np.max(np.abs(a - b), initial=0.0) <= NEAR * size)
