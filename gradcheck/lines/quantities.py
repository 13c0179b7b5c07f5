"""Measure the quantities that a local variable of backward may hold.

Each part e of the forward pass, such as the `x` in `x - mu`, is perturbed. Let A be a name that is bound later, and L =
⟨dy, y⟩. The quantities are:

- the value of e, and the lengths of the axes of e
- ∂L/∂e along the paths through this part alone, its entry if all are equal, and the sum over several occurrences
- ∂A/∂e, if A depends elementwise on e, or if the entries of A are sums over rows of e
- ∂A/∂e · ∂L/∂A before the sum over broadcast axes

A quantity is left out if all of its entries are 0, 1 or -1, because too many values equal it.
"""

import ast
import itertools
import math
from dataclasses import dataclass

import numpy as np

from gradcheck.complex_step import NotComplexSafe
from gradcheck.lines.instrument import OUTPUT, Event, close, is_real_array
from gradcheck.names import names_in

MOST_ENTRIES = 300  # largest number of entries of a part; each is perturbed separately
MOST_TIMES = 4  # largest number of evaluations of a part, as in a loop
MOST_OCCURRENCES = 4  # for up to this number of occurrences of a name, every subset is summed
NEAR = 1e-7  # largest relative difference of two measured quantities that count as equal
VALUE, LENGTH, GRADIENT, SLOPE, WHOLE = "value", "length", "gradient", "slope", "whole gradient"


@dataclass(frozen=True)
class Quantity:
    """An array that a local variable of backward may hold.

    array   the value
    of      the names whose value or gradient this is; for ∂A/∂e, the names of e
    within  the names that are bound by the statement that contains e
    """

    array: np.ndarray
    of: frozenset = frozenset()
    within: frozenset = frozenset()


def quantities_of(scene, shapes, names):
    """Measure the quantities of a forward pass that a local variable may hold, and return {label: Quantity}.

    Only quantities with one of the given `shapes` are returned, where axes of length 1 are ignored. The value and
    gradient of each name in `names` are included, whatever their shape. Labels are the same in every draw. They begin
    with VALUE, LENGTH, GRADIENT, SLOPE (a derivative ∂A/∂e) or WHOLE (the gradient of a name along all paths).
    """
    moved, found = _Moved(scene.in_use()), {}
    wanted = {without_ones(shape) for shape in shapes}

    def add(label, array, key=None):
        array = np.asarray(array, np.float64)
        if without_ones(array.shape) in wanted and np.isfinite(array).all() and not np.isin(array, (-1, 0, 1)).all():
            found[label] = Quantity(array, *_names_of(scene.sites[key[0]]) if key else ())

    for place, length in moved.lengths.items():
        add((LENGTH, place), length)
    gradients = {}
    for key, value in moved.values.items():
        shape = np.shape(value)
        add((VALUE, key), value, key)
        if not moved.matters(key):
            continue
        if wanted & {without_ones(shape), ()}:
            gradients[key], _ = moved.each(key)
            entry = gradients[key][(0,) * len(shape)] if value.size else 0.0
            add((GRADIENT, key), gradients[key], key)
            if close(gradients[key], np.full(shape, entry), NEAR):  # as for the terms of a mean
                add((GRADIENT, key, "entry"), entry, key)
        for name, slope in moved.elementwise(key, wanted).items():
            add((SLOPE, name, key), slope, key)
            onto = moved.gradient_of(name) if slope.shape == np.shape(moved.names[name].value) else None
            if onto is not None:
                add((GRADIENT, name, key), slope * onto, key)
    for keys, total in _sums(scene, gradients):
        add((GRADIENT, *keys), total, keys[0])
    for name in scene.names.keys() & names:
        for nth, event in enumerate(scene.names[name][-MOST_TIMES:]):
            value = np.asarray(event.value)
            if value.dtype.kind in "fib":
                found[VALUE, name, nth] = Quantity(np.asarray(value, np.float64))
        whole = moved.gradient_of(name) if name in moved.names else None
        if whole is not None:
            found[WHOLE, name] = Quantity(whole)
    return found


class _Moved:
    """Perturbs one part of the forward pass at a time.

    A part is an expression e such as `x` in `x - mu`. In the methods, `key` is the key of its Event (instrument.py). L
    is ⟨dy, y⟩, and A is any variable that is computed later.
    """

    def __init__(self, scene):
        self.scene, self.random, self.swept = scene, {}, {}
        self.names = {name: held[0] for name, held in scene.names.items() if len(held) == 1}
        self.names = {name: event for name, event in self.names.items() if is_real_array(event.value)}
        if not any(event.live is scene.output for event in self.names.values()):
            self.names[OUTPUT] = Event(OUTPUT, 0, scene.run.y, scene.output)
        with scene.probe.running({}, with_parts=True) as events:
            scene.run.call.evaluate()
        parts = [event for event in events if scene.site(event).kind == "part"]
        shapes = {e.key: e.value.shape for e in parts if isinstance(e.value, np.ndarray)} | {OUTPUT: scene.run.y.shape}
        sizes = {key: (*shape, math.prod(shape)) for key, shape in shapes.items()}
        self.lengths = {(key, axis): n for key, size in sizes.items() for axis, n in enumerate(size) if n > 1}
        often = {event.site for event in parts if event.nth >= MOST_TIMES}
        values = {e.key: np.array(e.value) for e in parts if e.site not in often and is_real_array(e.value)}
        self.values = {key: value for key, value in values.items() if value.size <= MOST_ENTRIES}
        self.rng = np.random.default_rng(len(parts))

    def matters(self, key):
        """Return True if the output or a variable changes when this part is perturbed."""
        v = self.rng.standard_normal(self.values[key].shape)
        try:
            slope, slopes = self._along(key, v)
        except NotComplexSafe:
            return False
        self.random[key] = v, {name: change for name, change in slopes.items() if np.any(change)}
        return slope != 0 or bool(self.random[key][1])

    def elementwise(self, key, wanted):
        """Return {A: ∂A/∂e} for the variables A that depend elementwise on a part e.

        A may also be a sum of such values over an axis. Only derivatives with one of the shapes in `wanted` are
        measured.
        """
        (v, along), found = self.random[key], {}
        if any(without_ones(change.shape) in wanted for change in along.values()):
            _, ones = self._along(key, np.ones_like(v))
            for name, change in along.items():
                if is_broadcast(v.shape, change.shape) and close(ones[name] * v, change, NEAR):
                    found[name] = ones[name]
        rest = [name for name, change in along.items() if name not in found and change.size < v.size]
        for name in rest if without_ones(v.shape) in wanted else ():
            summed, change = self.each(key)[1][name], np.squeeze(along[name])
            if any(close(np.squeeze((summed * v).sum(axis=axis)), change, NEAR) for axis in range(v.ndim)):
                found[name] = summed
        return found

    def gradient_of(self, name):
        event = self.names[name]
        if name == OUTPUT:
            return self.scene.run.dy
        return self.scene.truth.entries(event.key, event.value) if np.size(event.value) <= MOST_ENTRIES else None

    def each(self, key):
        """Perturb each entry of a part e separately, and return ∂L/∂e and {A: derivative of the sum of A's entries}."""
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
        slope, _, slopes = self.scene.truth.slopes(key, self.values[key], v)
        return slope, {name: slopes[event.key] for name, event in self.names.items()}


def _names_of(site):
    """Return (names with the same gradient as the part at `site`, names to which its statement assigns)."""
    within = frozenset(names_in(*getattr(site.statement, "targets", ())))
    own = frozenset([site.value.id] if isinstance(site.value, ast.Name) else [])
    return own | (within if site.value is site.statement.value else frozenset()), within


def _sums(scene, gradients):
    """Yield (keys, sum of their gradients) for sets of parts with the same code, such as two occurrences of `x`.

    `gradients` maps the key of each part to its gradient.
    """
    alike = {}
    for key, gradient in gradients.items():
        alike.setdefault((ast.unparse(scene.sites[key[0]].value), gradient.shape), []).append(key)
    for keys in alike.values():
        for size in range(2, len(keys) + 1) if len(keys) <= MOST_OCCURRENCES else (len(keys),):
            for chosen in itertools.combinations(keys, size):
                yield chosen, sum(gradients[key] for key in chosen)


def without_ones(shape):
    return tuple(n for n in shape if n != 1)


def is_broadcast(shape, result):
    try:
        return np.broadcast_shapes(shape, result) == result
    except ValueError:
        return False
