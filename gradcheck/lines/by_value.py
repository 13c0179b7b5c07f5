"""Follow the locals of a backward pass by value, if their names do not identify the quantity.

`dxmu1`, `dzdv` or `tmp` is not named after the gradient of a name in the forward pass. If a returned gradient is wrong,
the value of each such local is compared with the quantities of the forward pass (quantities.py), on at least two draws:

1. The name restricts the quantities. `dx2` may be a gradient of x, and `dzdv` may be the derivative of z with respect
   to v. A name without the prefix of a gradient may be any quantity.
2. A local that equals a quantity on every draw is right.
3. The other locals are tried in the order of the program: the value is replaced with each quantity in turn. If this
   makes a wrong gradient right and no right one wrong, on every draw, the local is wrong, and the quantity is its true
   value. The search is repeated with that value in place, for up to three mistakes.

blame.py then judges the lines of these locals in the same way as all others.
"""

import ast
import itertools
import re

import numpy as np

from gradcheck.lines.probe import OUTPUT, close, is_real_array
from gradcheck.lines.quantities import GRADIENT, LENGTH, SLOPE, VALUE, WHOLE, quantities_of, without_ones
from gradcheck.lines.source import PREFIXES, gradient_of, names_read
from gradcheck.lines.targets import Target

CHANGING = (ast.BinOp, ast.UnaryOp, ast.Call, ast.Compare, ast.Lambda)  # other statements copy a value
SCALING = (ast.Mult, ast.Div, ast.MatMult)
MOST_MISTAKES = 3
EQUAL = 1e-7  # relative


def follow_by_value(scene, others):
    """Add the locals that their values identify to the Targets and Findings of a Scene and of the others."""
    by_name = {t.key for t in scene.found.truths if t.key is not None} - scene.found.undecided()
    local = [e for e in scene.locals() if e.key not in by_name and _is_numeric(e.value) and not _is_start(scene, e)]
    if not local:
        return
    names = {scene.name(event) for event in local}
    names |= {of for name in names for of in gradient_of(name, (*PREFIXES, "D"))}
    sides = [_Side(one, names, local) for one in (scene, *others)]
    search = _Search(sides, local)
    for _ in range(MOST_MISTAKES):
        if not search.find_mistake():
            break
    vouched = search.vouched()
    for side in sides:
        side.extend(local, vouched)
        side.scene.settled = {e.key for e in side.scene.plain.events if _is_settled(side.scene, e, search.lengths)}


def _is_settled(scene, event, lengths):
    """Return True for the length of an axis, and for an object that is only copied."""
    if isinstance(event.value, int) and not isinstance(event.value, bool) and event.value in lengths:
        return True
    return not is_real_array(event.value) and not _changes(scene, event)


def _changes(scene, event):
    """Return True if the line of a local computes its value, instead of copying it."""
    return any(isinstance(node, CHANGING) for node in ast.walk(scene.site(event).statement))


def _is_numeric(value):
    """Return True for a number, or an array of numbers or booleans."""
    is_array = isinstance(value, (np.ndarray, np.generic, float, int)) and not isinstance(value, bool)
    return is_array and np.asarray(value).dtype.kind in "fib"


def _is_start(scene, event):
    """Return True for a loop counter, and for an array of zeros that is filled later."""
    statement = scene.site(event).statement
    made = getattr(getattr(getattr(statement, "value", None), "func", None), "attr", "")
    return isinstance(statement, ast.For) or made.startswith(("zeros", "empty"))


class _Side:
    """One of the Scenes, with its quantities and the true values found so far.

    `truths` is {key of an Event: true value}.
    """

    def __init__(self, scene, names, local):
        self.scene, self.events = scene, {e.key: e for e in scene.plain.events}
        shapes = [np.shape(self.events[e.key].value) for e in local if e.key in self.events]
        self.quantities = quantities_of(scene, shapes, names)
        self.undecided = scene.found.undecided()
        self.held = {key: truth for key, truth in scene.found.held.items() if key not in self.undecided}
        self.compared = [t for t in scene.found.truths if t.key is None or t.key not in self.undecided]
        self.truths = {}

    def backward(self, more=()):
        """Run backward with the known true values in place, and those of `more`, {key: value}."""
        return self.scene.backward({**self.held, **self.truths, **dict(more)})

    def right(self, passed, key):
        """Return the Targets that are right in a Passed, except the one with this key."""
        return {t for t in self.compared if t.key != key and self.scene.found.is_true(t, passed)}

    def mends(self, passed, key, truth):
        """Return True if the value `truth` makes a gradient right that is wrong in a Passed, and no right one wrong."""
        return truth is not None and self.right(passed, key) < self.right(self.backward({key: truth}), key)

    def extend(self, local, vouched):
        """Add to the Scene the locals that are right, or whose true value is known."""
        values, scene = self.backward().values, self.scene
        followed = {key: values[key] for key in vouched if key in values and key not in self.undecided} | self.truths
        targets = []
        for event in local:
            if event.key in followed and event.key in self.events:
                own = self.events[event.key]
                targets.append(Target(scene.name(event), own, array=np.asarray(own.value), key=event.key))
        replaced = {target.key for target in targets}
        scene.targets = [t for t in scene.targets if t.is_final or t.event.key not in replaced] + targets
        scene.found = scene.found.with_locals({target: followed[target.key] for target in targets})


class _Search:
    """The search for mistakes among the locals, which are Events of the first Scene."""

    def __init__(self, sides, local):
        self.sides, self.local, self.scene = sides, local, sides[0].scene
        self.quantities, self.undecided = sides[0].quantities, sides[0].undecided
        self.known, self.names = self.scene.names.keys(), {self.scene.name(event) for event in local}
        self.lengths = {int(q.array) for q in self.quantities.values() if q.kind == LENGTH and q.array > 1}
        self.labels = self._common()
        self.allowed = {name: self._allowed(name) for name in self.names}
        truths = [truth for t, truth in self.scene.found.truths.items() if t in sides[0].compared and not t.is_final]
        truths.append(self.scene.run.dy)
        self.claimed = {k for k in self.labels if any(_fits(self.quantities[k], truth) for truth in truths)}

    def _common(self):
        """Return the labels of the quantities that all sides have, with one label for each length."""
        labels = {}
        for label, quantity in self.quantities.items():
            if all(label in side.quantities for side in self.sides):
                lengths = tuple(float(side.quantities[label].array) for side in self.sides if quantity.kind == LENGTH)
                labels.setdefault(lengths or label, label)
        return list(labels.values())

    def vouched(self):
        """Return the keys of the locals that equal an allowed quantity on every side."""
        held = [side.backward().values for side in self.sides]
        return [e.key for e in self.local if self._is_vouched(e, [values.get(e.key) for values in held])]

    def _is_vouched(self, event, values):
        if self.scene.name(event) == self.scene.source.parameter:
            upstream = [side.scene.run.dy for side in self.sides]
            return all(_is_numeric(v) and close(v, dy, EQUAL) for v, dy in zip(values, upstream, strict=True))
        return any(self._vouches(label, event) for label in self._equal(event, values))

    def _equal(self, event, values):
        """Yield the labels of the allowed quantities that a local equals. `values` are its values on the sides."""
        pairs = list(zip(self.sides, values, strict=True)) if all(map(_is_numeric, values)) else []
        for label in self.allowed[self.scene.name(event)] if pairs else ():
            if all(_fits(side.quantities[label], value) for side, value in pairs):
                yield label

    def _vouches(self, label, event):
        """Return True if equality with this quantity shows that a local is right.

        It does not if a typical mistake produces the same value. With a missing factor, a local often equals the
        gradient of another name. Without its upstream gradient, it equals the derivative of the output.
        """
        quantity, name = self.quantities[label], self.scene.name(event)
        if quantity.kind == VALUE:
            return label == (VALUE, name) or (name not in self.known and not _changes(self.scene, event))
        if quantity.kind == SLOPE:
            return bool(_pairs(name)) and quantity.by != OUTPUT
        if quantity.kind == LENGTH or "total" in label or self._is_scaled_next(event):
            return False
        of = self._known_gradient(name)
        is_meant = of is None or of in quantity.of or event.key in self.undecided
        return quantity.kind == WHOLE or (is_meant and label not in self.claimed)

    def _is_scaled_next(self, event):
        """Return True if the next line that binds the name scales its value. A factor may be missing in either line."""
        events = [e for e in self.scene.locals() if self.scene.name(e) == self.scene.name(event)]
        later = [e for e in events[events.index(event) + 1 :] if e.site != event.site]
        if not later or self.scene.name(event) not in self.scene.reads.names(later[0]):
            return False
        statement = self.scene.site(later[0]).statement
        if isinstance(statement, ast.AugAssign):
            return isinstance(statement.op, SCALING)
        products = [n for n in ast.walk(statement) if isinstance(n, ast.BinOp) and isinstance(n.op, SCALING)]
        return any(self.scene.name(event) in names_read(product) for product in products)

    def find_mistake(self):
        """Find the first wrong local and record its true value. Return False if there is none.

        If its value is a quantity that its name allows, the local may be right, and a later one wrong. The first such
        local is then recorded as its rival.
        """
        found = self._mistakes()
        event, truths = next(found, (None, ()))
        if event is None:
            return False
        values = [side.backward().values.get(event.key) for side in self.sides]
        if any(label[0] == SLOPE for label in self._equal(event, values)):
            self.scene.rivals.update((event.key, other) for other, _ in itertools.islice(found, 1))
        for side, value in zip(self.sides, truths, strict=True):
            side.truths[event.key] = value
        return True

    def _mistakes(self):
        """Yield (Event, true value on each side) for the locals whose replacement with a quantity mends a gradient."""
        passed = [side.backward() for side in self.sides]
        vouched = set(self.vouched())
        unknown = [e for e in self.local if e.key not in self.sides[0].truths]
        partial = [e for e in unknown if e.key in vouched and self._is_accumulated(e)]
        doubtful = [e for e in unknown if e.key not in vouched]
        before, partial_keys = self.scene.reads.before, {p.key for p in partial}
        behind = [e for e in doubtful if partial_keys & {r.key for r in before[e.key]}]
        for event in (*(e for e in doubtful if e not in behind), *partial, *behind):
            labels = itertools.product((_truth, _truth_of_another_shape), self.allowed[self.scene.name(event)])
            for truth, label in labels:
                truths = [truth(side, event.key, label) for side in self.sides]
                if all(s.mends(p, event.key, value) for s, p, value in zip(self.sides, passed, truths, strict=True)):
                    yield event, truths
                    break

    def _is_accumulated(self, event):
        """Return True if a name is computed at several lines, so that each value may be a partial gradient."""
        is_computed = isinstance(self.scene.site(event).statement, ast.AugAssign) or _changes(self.scene, event)
        return is_computed and len({e.site for e in self.local if self.scene.name(e) == self.scene.name(event)}) > 1

    def _allowed(self, name):
        """Return the labels of the quantities that a name allows."""
        rest, of = gradient_of(name, (*PREFIXES, "D")), self._known_gradient(name)
        if not rest or (name[0] == "D" and of is None):
            return [label for label in self.labels if label[0] != WHOLE]
        pairs = _pairs(name)
        if of is None and any(a in self.known or b in self.known for a, b in pairs):
            return [label for label in self.labels if self._is_slope(self.quantities[label], pairs)]
        gradients = [(k, self.quantities[k]) for k in self.labels if k[0] == GRADIENT]
        exact = [k for k, quantity in gradients if of is None or of in quantity.of]
        near = [k for k, quantity in gradients if of in quantity.within - quantity.of]
        return [*exact, *(k for k in self.labels if k[0] == WHOLE and k[1] in rest), *near]

    def _known_gradient(self, name):
        """Return the forward name X if a name has the form dX or dX2, or None."""
        rest = gradient_of(name, (*PREFIXES, "D"))
        return next((x for x in (*rest, *(x.rstrip("_0123456789") for x in rest)) if x in self.known), None)

    def _is_slope(self, quantity, pairs):
        """Return True if a quantity fits one of the pairs (A, B) of a name `dAdB`."""
        if quantity.kind == GRADIENT:
            return any(a not in self.known and b in quantity.of for a, b in pairs)
        for a, b in pairs if quantity.kind == SLOPE else ():
            claimed = {y for name in self.names for x, y in _pairs(name) if x == a and y in self.known}
            is_by_b = b in quantity.of if b in self.known else not (quantity.of and quantity.of <= claimed)
            if is_by_b and (a not in self.known or a == quantity.by):
                return True
        return quantity.kind == LENGTH


def _pairs(name):
    """Return each (A, B) for which a name has the form dAdB."""
    splits = [(name[1 : m.start()].strip("_"), name[m.end() :].strip("_")) for m in re.finditer("d", name)]
    return [(a, b) for a, b in splits if name[0] == "d" and a and b]


def _truth(side, key, label):
    """Return the value that a local has if it equals a quantity, or None if it cannot equal it."""
    quantity, event = side.quantities[label], side.events.get(key)
    if event is None:
        return None
    if quantity.kind == LENGTH and np.ndim(event.value) == 0 and (quantity.array > 1) != (event.value > 1):
        return None
    return quantity.array if quantity.kind == WHOLE else _as(quantity.array, event.value)


def _truth_of_another_shape(side, key, label):
    quantity, event = side.quantities[label], side.events.get(key)
    is_other = quantity.array.ndim and event is not None and np.shape(event.value) != quantity.array.shape
    return quantity.array if is_other and quantity.kind != LENGTH else None


def _fits(quantity, value):
    truth = _as(quantity.array, value)
    return truth is not None and close(value, truth, EQUAL)


def _as(array, value):
    """Return an array in the shape of a value, or None if the shapes differ by more than axes of length 1."""
    if without_ones(array.shape) != without_ones(np.shape(value)):
        return None
    if isinstance(value, np.ndarray):
        array = array.reshape(value.shape)
        return array.astype(value.dtype) if value.dtype.kind in "ib" else array
    number = array.item()
    if isinstance(value, (int, np.integer)):
        return int(number) if number.is_integer() else None
    return number
