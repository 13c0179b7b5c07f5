"""Follow the locals of a backward pass by value, if their names do not identify the quantity.

`dxmu1`, `dzdv` or `tmp` is not named after the gradient of a name in the forward pass. If a returned gradient is wrong,
the value of each such local is compared with the quantities of the forward pass (quantities.py), on at least two draws:

1. The name restricts the quantities. `dx2` may be a gradient of x; `dzdv` the derivative of z with respect to v; a name
   without the prefix of a gradient may be any quantity.
2. A local that equals a quantity on every draw is right.
3. The others are tried in the order of the program. The first one for which a quantity, in place of its value, makes a
   wrong gradient right and no right one wrong, on every draw, is wrong, and the quantity is its true value. The search
   is repeated with that value in place, for up to three mistakes.

blame.py then judges the lines of these locals in the same way as all others.
"""

import ast
import itertools
import re

import numpy as np

from gradcheck.lines.blame import is_true, with_locals
from gradcheck.lines.probe import close, is_real_array
from gradcheck.lines.quantities import GRADIENT, LENGTH, SLOPE, VALUE, WHOLE, quantities_of
from gradcheck.lines.source import PREFIXES, names_read
from gradcheck.lines.targets import Target

CHANGING = (ast.BinOp, ast.UnaryOp, ast.Call, ast.Compare, ast.Lambda)  # other statements copy a value
SCALING = (ast.Mult, ast.Div, ast.MatMult)
MOST_MISTAKES = 3
EQUAL = 1e-7  # relative


def follow_by_value(look, others):
    """Extend the Targets and Findings of a Look by locals that their values identify.

    `others` are Looks at other draws; they are extended too.
    """
    by_name = {t.key for t in look.found.truths if t.key is not None} - _otherwise(look.found)
    local = [e for e in look.scene.plain.events if look.scene.sites[e.site].kind == "backward"]
    local = [e for e in local if e.key not in by_name and _is_numeric(e.value) and not _is_start(look, e)]
    if not local:
        return
    names = {look.scene.sites[e.site].name for e in local}
    names |= {of for name in names for of in _gradient_of(name)}
    sides = [_Side(one, names, {e.key for e in local}) for one in (look, *others)]
    search = _Search(look, sides, local)
    for _ in range(MOST_MISTAKES):
        if not search.find_mistake():
            break
    vouched = search.vouched()
    for side in sides:
        side.extend(local, vouched)
        events = side.look.scene.plain.events
        side.look.settled = {e.key for e in events if _needs_no_look(look, e, search.lengths)}
    look.in_use()


def _needs_no_look(look, event, lengths):
    """Return True for the length of an axis, and for an object that is only copied."""
    value, statement = event.value, look.scene.sites[event.site].statement
    if isinstance(value, int) and not isinstance(value, bool) and value in lengths:
        return True
    return not is_real_array(value) and not any(isinstance(n, CHANGING) for n in ast.walk(statement))


def _otherwise(found):
    """Return the keys of gradients that may differ from those their names suggest."""
    return {t.key for t in found.parts | found.unknown if not t.is_final}


def _is_numeric(value):
    """Return True for a number, or an array of numbers or booleans."""
    is_array = isinstance(value, (np.ndarray, np.generic, float, int)) and not isinstance(value, bool)
    return is_array and np.asarray(value).dtype.kind in "fib"


def _is_start(look, event):
    """Return True for a loop counter, and for an array of zeros that is filled later."""
    statement = look.scene.sites[event.site].statement
    value = getattr(statement, "value", None)
    made = getattr(value.func, "attr", "") if isinstance(value, ast.Call) else ""
    return isinstance(statement, ast.For) or made.startswith(("zeros", "empty"))


class _Side:
    """One of the Looks with its quantities and the true values found so far.

    The true values are {key of an Event: value}.
    """

    def __init__(self, look, names, local):
        self.look, self.events = look, {e.key: e for e in look.scene.plain.events}
        shapes = [np.shape(event.value) for key, event in self.events.items() if key in local]
        self.quantities = quantities_of(look.in_use().scene, look.parts, shapes, names)
        otherwise = _otherwise(look.found)
        self.held = {key: truth for key, truth in look.found.held.items() if key not in otherwise}
        self.compared = [t for t in look.found.truths if t.key is None or t.key not in otherwise]
        self.truths = {}

    def backward(self, more=()):
        """Run backward with true values for the gradients followed by name, and `more`."""
        return self.look.in_use().scene.backward({**self.held, **self.truths, **dict(more)})

    def right(self, passed, key):
        """Return the Targets that are right in a Passed, except the one with this key."""
        return {t for t in self.compared if t.key != key and is_true(self.look.scene, self.look.found, t, passed)}

    def extend(self, local, vouched):
        """Add to the Look the locals that are right, or whose true value is known."""
        passed, look = self.backward(), self.look
        values = {event.key: event.value for event in passed.events}
        partial = _otherwise(look.found)
        followed = {key: values[key] for key in vouched if key in values and key not in partial} | self.truths
        targets = []
        for event in local:
            if event.key in followed and event.key in self.events:
                name, own = look.scene.sites[event.site].name, self.events[event.key]
                targets.append(Target(name, own, array=np.asarray(own.value), key=event.key))
        replaced = {target.key or target.event.key for target in targets}
        look.targets = [t for t in look.targets if t.is_final or t.event.key not in replaced] + targets
        truths = {target: followed[target.key] for target in targets}
        look.found = with_locals(look.scene, look.found, look.reads, truths)


class _Search:
    """The search for mistakes among the locals, each an Event of the first Look."""

    def __init__(self, look, sides, local):
        self.look, self.sides, self.local = look, sides, local
        self.known = set(look.scene.names)
        self.lengths = {label[1] for label in sides[0].quantities if label[0] == LENGTH}
        labels = set.intersection(*(set(side.quantities) for side in sides))
        self.labels = [label for label in sides[0].quantities if label in labels]
        self.otherwise = _otherwise(look.found)
        names = {look.scene.sites[event.site].name for event in local}
        self.allowed = {name: self._allowed(name, names) for name in names}
        first = sides[0]
        truths = [truth for t, truth in first.look.found.truths.items() if t in first.compared and not t.is_final]
        truths.append(look.scene.run.dy)
        self.claimed = {k for k in self.labels if any(_fits(first.quantities[k], truth) for truth in truths)}

    def vouched(self):
        """Return the keys of the locals that equal an allowed quantity on every side."""
        held = [{e.key: e.value for e in side.backward().events} for side in self.sides]
        return [e.key for e in self.local if self._equals(e, *(values.get(e.key) for values in held))]

    def _equals(self, event, *values):
        if not all(map(_is_numeric, values)):
            return False
        if self._name(event) == self.look.source.parameter:
            return all(
                close(value, side.look.scene.run.dy, EQUAL) for side, value in zip(self.sides, values, strict=True)
            )
        return any(
            all(_fits(side.quantities[label], value) for side, value in zip(self.sides, values, strict=True))
            for label in self.allowed[self._name(event)]
            if self._vouches(label, event)
        )

    def _vouches(self, label, event):
        """Return True if equality with this quantity shows that a local is right.

        It does not if a typical mistake produces the same value. With a missing factor, a local often equals the
        gradient of another name. A sum instead of a mean equals a total.
        """
        quantity, name = self.sides[0].quantities[label], self._name(event)
        if quantity.kind == VALUE:
            statement = self.look.scene.sites[event.site].statement
            is_copied = name not in self.known and not any(isinstance(n, CHANGING) for n in ast.walk(statement))
            return is_copied or label == (VALUE, name)
        if quantity.kind == SLOPE:
            return bool(_pairs(name))
        if quantity.kind == LENGTH or "total" in label or self._is_scaled_next(event):
            return False
        of = self._known_gradient(name)
        is_meant = of is None or of in quantity.of or event.key in self.otherwise
        return quantity.kind == WHOLE or (is_meant and label not in self.claimed)

    def _is_scaled_next(self, event):
        """Return True if the next line that binds the name scales its value.

        A factor may then be missing in either line.
        """
        events = [e for e in self.look.scene.plain.events if self._name(e) == self._name(event)]
        later = [e for e in events[events.index(event) + 1 :] if e.site != event.site]
        if not later or self._name(event) not in self.look.reads.names(later[0]):
            return False
        statement = self.look.scene.sites[later[0].site].statement
        if isinstance(statement, ast.AugAssign):
            return isinstance(statement.op, SCALING)
        products = [n for n in ast.walk(statement) if isinstance(n, ast.BinOp) and isinstance(n.op, SCALING)]
        return any(self._name(event) in names_read(product) for product in products)

    def find_mistake(self):
        """Find the first wrong local, record its true value, and return True.

        If there is none, return False.
        """
        passed = [side.backward() for side in self.sides]
        vouched = set(self.vouched())
        unknown = [e for e in self.local if e.key not in self.sides[0].truths]
        partial = [e for e in unknown if e.key in vouched and self._is_accumulated(e)]
        doubtful = [e for e in unknown if e.key not in vouched]
        behind = [e for e in doubtful if {p.key for p in partial} & {r.key for r in self.look.reads.before[e.key]}]
        order = [*(e for e in doubtful if e not in behind), *partial, *behind]
        for event, truth in itertools.product(order, (self._truth, self._truth_of_another_shape)):
            for label in self.allowed[self._name(event)]:
                truths = [truth(side, side.events.get(event.key), label) for side in self.sides]
                if all(map(self._mends, self.sides, passed, itertools.repeat(event), truths)):
                    for side, value in zip(self.sides, truths, strict=True):
                        side.truths[event.key] = value
                    return True
        return False

    def _is_accumulated(self, event):
        """Return True if a name is computed at several lines.

        Each value may then be the gradient along some of the paths.
        """
        statement = self.look.scene.sites[event.site].statement
        is_computed = any(isinstance(n, (*CHANGING, ast.AugAssign)) for n in ast.walk(statement))
        return is_computed and len({e.site for e in self.local if self._name(e) == self._name(event)}) > 1

    def _truth_of_another_shape(self, side, event, label):
        array = side.quantities[label].array
        return (
            None
            if event is None
            else array
            if label[0] != LENGTH and array.ndim and np.shape(event.value) != array.shape
            else None
        )

    def _truth(self, side, event, label):
        quantity = side.quantities[label]
        if event is None:
            return None
        if quantity.kind == LENGTH and np.ndim(event.value) == 0 and (quantity.array > 1) != (event.value > 1):
            return None
        return quantity.array if quantity.kind == WHOLE else _as(quantity.array, event.value)

    def _mends(self, side, passed, event, truth):
        if truth is None:
            return False
        before = side.right(passed, event.key)
        after = side.right(side.backward({event.key: truth}), event.key)
        return before < after

    def _name(self, event):
        return self.look.scene.sites[event.site].name

    def _allowed(self, name, names):
        """Return the labels of the quantities that a name allows.

        `names` are the names of all locals.
        """
        quantities = self.sides[0].quantities
        rest = _gradient_of(name)
        if not rest or (name[0] == "D" and self._known_gradient(name) is None):
            return [label for label in self.labels if label[0] != WHOLE]
        pairs = _pairs(name)
        of = self._known_gradient(name)
        if of is None and any(a in self.known or b in self.known for a, b in pairs):
            return [label for label in self.labels if self._is_slope(quantities[label], pairs, names)]
        exact = [k for k in self.labels if k[0] == GRADIENT and (of is None or of in quantities[k].of)]
        near = [k for k in self.labels if k[0] == GRADIENT and of in quantities[k].within - quantities[k].of]
        return [*exact, *(k for k in self.labels if k[0] == WHOLE and k[1] in rest), *near]

    def _known_gradient(self, name):
        """Return the forward name X if a name has the form dX or dX2, or None."""
        rest = _gradient_of(name)
        rest += [x.rstrip("_0123456789") for x in rest]
        return next((x for x in rest if x in self.known), None)

    def _is_slope(self, quantity, pairs, names):
        """Return True if a quantity fits one of the pairs (A, B) of a name `dAdB`."""
        if quantity.kind == GRADIENT:
            return any(a not in self.known and b in quantity.of for a, b in pairs)
        if quantity.kind == LENGTH:
            return True
        if quantity.kind in (VALUE, WHOLE):
            return False
        for a, b in pairs:
            claimed = {y for name in names for x, y in _pairs(name) if x == a and y in self.known}
            is_of_a = a not in self.known or a == quantity.by
            is_by_b = b in quantity.of if b in self.known else not (quantity.of and quantity.of <= claimed)
            if is_of_a and is_by_b:
                return True
        return False


def _gradient_of(name):
    """Return each X for which a name has the form dX or DX."""
    prefixes = (*PREFIXES, "D")
    return [name[len(prefix) :] for prefix in prefixes if name.startswith(prefix) and len(name) > len(prefix)]


def _pairs(name):
    """Return each (A, B) for which a name has the form dAdB."""
    found = []
    for match in re.finditer("d", name):
        a, b = name[1 : match.start()].strip("_"), name[match.end() :].strip("_")
        if name[0] == "d" and a and b:
            found.append((a, b))
    return found


def _fits(quantity, value):
    truth = _as(quantity.array, value)
    return truth is not None and close(value, truth, EQUAL)


def _as(array, value):
    """Return an array in the shape of a value, or None if the shapes differ.

    Axes of length 1 are ignored in the comparison.
    """
    shape = np.shape(value)
    if tuple(n for n in array.shape if n != 1) != tuple(n for n in shape if n != 1):
        return None
    if isinstance(value, np.ndarray):
        return array.reshape(shape).astype(value.dtype) if value.dtype.kind in "ib" else array.reshape(shape)
    number = array.item()
    if isinstance(value, (int, np.integer)):
        return int(number) if number.is_integer() else None
    return number
