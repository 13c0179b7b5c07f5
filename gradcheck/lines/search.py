"""Find the local variables whose wrong values cause the wrong gradients.

The search runs if a returned gradient is wrong, and uses up to three draws of the inputs. The name of a local variable
says which quantity it should contain: `dx` and `dx2` may be the gradient of x along all or some paths. A variable with
another name may be any quantity of the forward pass (quantities.py). A variable that equals an allowed quantity on
every draw is right, unless a typical mistake would give it the same value. The remaining variables are tried in the
order of the program. A variable is blamed if, on every draw, replacing its value with an allowed one makes a wrong
gradient right and no right gradient wrong. Returned gradients that are still wrong afterwards count as mistakes too.

Correct code may use the name `dh` for the gradient along one of two paths, and add the other path later. Such a
variable is not blamed, because replacing it corrects no gradient.
"""

import ast
import functools
import itertools

import numpy as np

from gradcheck.lines.instrument import close
from gradcheck.lines.quantities import GRADIENT, LENGTH, VALUE, WHOLE, quantities_of, without_ones
from gradcheck.lines.source import PREFIXES, gradient_of

CHANGING = (ast.BinOp, ast.UnaryOp, ast.Call, ast.Compare, ast.Lambda)  # other statements copy a value
MOST_MISTAKES = 3
DRAWS = 2  # further draws on which a local variable is compared with quantities
EQUAL = 1e-7  # largest relative difference of two values that count as equal


def find_mistakes(scenes):
    """Find the local variables of backward whose wrong values cause the wrong gradients.

    `scenes` lists draws of the inputs (scene.py). The variables are stored in the `mistakes` of each Scene.
    """
    search = _Search(scenes[: 1 + DRAWS])
    for _ in range(MOST_MISTAKES):
        if not search.find_mistake():
            break
    search.close()
    for other in scenes[1 + DRAWS :]:
        other.vouched = scenes[0].vouched
        other.mistakes = {place: other.truths[place] for place in scenes[0].mistakes if place in other.truths}


class _Search:
    def __init__(self, scenes):
        self.scenes, self.scene, targets = scenes, scenes[0], scenes[0].targets
        self.known = self.scene.names.keys()
        self.local = [t for t in targets if t.name and t.key and _is_numeric(t.event.value)]
        self.local = [t for t in self.local if not is_start(self.scene, t.event)]
        self.names = {target.name for target in self.local}
        self.own = {target.place for target in targets if target.place in self.scene.truths}
        held = {place: self.scene.truths[place] for place in self.own if isinstance(place, tuple)}
        self.counted = {target.place for target in targets if target.is_final}
        self.counted |= self.scene.right(self.scene.plain) | self.scene.right(self.scene.backward(held))

    @functools.cached_property
    def tables(self):
        names = self.names | {of for name in self.names for of in gradient_of(name, (*PREFIXES, "D"))}
        if any(nth for _, nth in self.scene.plain.values):  # in a loop, only gradients with known names are compared
            return [{} for _ in self.scenes]
        values = [[s.plain.values[t.key] for t in self.local if t.key in s.plain.values] for s in self.scenes]
        return [quantities_of(s, map(np.shape, here), names) for s, here in zip(self.scenes, values, strict=True)]

    @functools.cached_property
    def labels(self):
        """The labels of the quantities that exist on every draw. Axes of equal length have one label."""
        labels = {}
        for label in self.tables[0]:
            if all(label in table for table in self.tables):
                lengths = tuple(float(table[label].array) for table in self.tables if label[0] == LENGTH)
                labels.setdefault(lengths or label, label)
        return list(labels.values())

    @functools.cached_property
    def claimed(self):
        truths = [self.scene.truths[t.place] for t in self.local if t.place in self.own and not t.is_final]
        truths.append(self.scene.run.dy)
        return {k for k in self.labels if any(_fits(self.tables[0][k].array, truth) for truth in truths)}

    def find_mistake(self):
        """Record the first wrong local variable, and return True. Return False if there is none.

        The variable may be right after all if it equals a quantity that its name allows. In this case, the next
        variable that may be wrong is recorded as its rival.
        """
        found = self._mistakes()
        target, truths = next(found, (None, ()))
        if target is None or not self._mends_all(target.key, truths):
            copy = next(self._incomplete_copies(target), None)
            if copy is not None:
                (target, truths), found = copy, iter(())
        if target is None:
            return False
        values = [scene.mended().values.get(target.key) for scene in self.scenes]
        if target.key not in self.own and any(label[0] != LENGTH for label in self._equal(target.name, values)):
            self.scene.rivals.update((target.key, other.event) for other, _ in itertools.islice(found, 1))
        for scene, value in zip(self.scenes, truths, strict=True):
            scene.mistakes[target.key] = value
        return True

    def _mistakes(self):
        """Yield each variable that may be wrong, with its true value on each draw."""
        passed = [scene.mended() for scene in self.scenes]
        if {t.place for t in self.scene.targets if t.is_final and t.place in self.own} <= self.scene.right(passed[0]):
            return
        unknown = [t for t in self.local if t.key not in self.scene.mistakes]
        for target in itertools.takewhile(lambda t: t.key in self.own, unknown):  # no quantities are needed for these
            truths = next(self._candidates(target))
            if self._mend(passed, target.key, truths):
                yield target, truths
        vouched = self._vouched(passed)
        partial = [t for t in unknown if t.key in vouched and self._is_accumulated(t)]
        whole = [t for t in unknown if t.key in vouched & self.own - self.scene.right(passed[0])]
        doubtful = [t for t in unknown if t.key not in vouched or t in whole]
        behind, keys = [], {target.key for target in partial}
        for target in doubtful:
            if keys & {event.key for event in self.scene.before[target.key]}:
                behind.append(target)
                keys.add(target.key)
        for target in (*(t for t in doubtful if t not in behind), *partial, *behind):
            for truths in itertools.islice(self._candidates(target), 1 if target in whole else None):
                if self._mend(passed, target.key, truths):
                    yield target, truths
                    break

    def _incomplete_copies(self, first):
        """Yield each copy of a right value that is the only mistake, with its true value on each draw.

        Such a copy lacks a term, as in `dr = dn`, where the other path is left out. Its value is right for the name
        that is copied, so it is tried only if the variable `first` does not explain all wrong gradients.
        """
        finals = {t.place for t in self.scene.targets if t.is_final and t.place in self.scene.truths}
        is_one = len(finals - self.scene.right(self.scene.mended())) < 2
        for target in () if is_one else itertools.takewhile(lambda target: target is not first, self.local):
            site = self.scene.site(target.event)
            if isinstance(site.value, ast.Name) and site.kind == "backward" and not target.is_final:
                for truths in self._candidates(target):
                    if self._mends_all(target.key, truths):
                        yield target, truths

    def _mends_all(self, key, truths):
        """Return True if the true values of the variable `key` correct all returned gradients, on every draw."""
        for scene, truth in zip(self.scenes, truths, strict=True):
            finals = {t.place for t in scene.targets if t.is_final and t.place in scene.truths}
            if truth is None or not finals - {key} <= scene.right(scene.mended({key: truth})):
                return False
        return True

    def _candidates(self, target):
        if target.key in self.own:
            yield [scene.truths.get(target.key) for scene in self.scenes]
        here = [scene.plain.values.get(target.key) for scene in self.scenes]
        for label in () if target.is_final else self._allowed(target.name):
            arrays = [table[label].array for table in self.tables]
            yield arrays if label[0] == WHOLE else [_as(a, value) for a, value in zip(arrays, here, strict=True)]

    def _mend(self, passed, key, truths):
        """Return True if the true values of the variable `key` correct a gradient and break none, on every draw."""
        for scene, before, truth in zip(self.scenes, passed, truths, strict=True):
            right = scene.right(before, key) & self.counted
            if truth is None or not right < scene.right(scene.mended({key: truth}), key) & self.counted:
                return False
        return True

    def _vouched(self, passed):
        return {t.key for t in self.local if self._is_vouched(t, [one.values.get(t.key) for one in passed])}

    def _is_vouched(self, target, values):
        if target.key in self.scene.mistakes or not all(map(_is_numeric, values)):
            return False
        pairs = list(zip(self.scenes, values, strict=True))
        if target.name == self.scene.source.parameter:
            return all(close(value, scene.run.dy, EQUAL) for scene, value in pairs)
        if target.key in self.own:
            there = [(scene, value) for scene, value in pairs if target.key in scene.truths]
            is_right = all(s.truth.same(value, s.truths[target.key], target.array) for s, value in there)
            if is_right or target.is_final:
                return is_right
        return any(self._vouches(label, target) for label in self._equal(target.name, values))

    def _equal(self, name, values):
        """Yield the labels of the quantities that a variable `name` may hold and that equal `values` on every draw."""
        for label in self._allowed(name) if all(map(_is_numeric, values)) else ():
            if all(_fits(table[label].array, value) for table, value in zip(self.tables, values, strict=True)):
                yield label

    def _vouches(self, label, target):
        """Return True if a local variable that equals a quantity must therefore be right.

        `label` identifies the quantity, and `target` the variable. Equality is not always enough, because typical
        mistakes produce quantities too. For example, a missing factor gives the gradient of another name, and a missing
        upstream gradient gives the derivative of the output.
        """
        name = target.name
        if label[0] == VALUE:
            is_copy = name not in self.known and not gradient_of(name) and not _changes(self.scene, target.event)
            return label[:2] == (VALUE, name) or is_copy
        if label[0] != GRADIENT:
            return False
        of, shape = self._known_gradient(name), without_ones(np.shape(target.event.value))
        if of is not None and shape != without_ones(np.shape(self.scene.names[of][-1].value)):
            return False  # the sum over the other axes may be missing
        is_meant = of is None or of in self.tables[0][label].of or target.key in self.own
        return is_meant and label not in self.claimed

    def _is_accumulated(self, target):
        """Return True if several lines contribute to a variable, so that its value may be a partial gradient."""
        is_sum = isinstance(self.scene.site(target.event).statement, ast.AugAssign)
        is_computed = is_sum or _changes(self.scene, target.event)
        return is_computed and len({t.event.site for t in self.local if t.name == target.name}) > 1

    @functools.cache  # noqa: B019 (a search ends with its report)
    def _allowed(self, name):
        """Return the labels of the quantities that a local variable called `name` may hold."""
        rest, of = gradient_of(name, (*PREFIXES, "D")), self._known_gradient(name)
        if of is None:
            return [label for label in self.labels if label[0] != WHOLE]
        gradients = {label: self.tables[0][label] for label in self.labels if label[0] == GRADIENT}
        exact = [label for label, quantity in gradients.items() if of in quantity.of]
        near = [label for label, quantity in gradients.items() if of in quantity.within - quantity.of]
        return [*exact, *(label for label in self.labels if label[0] == WHOLE and label[1] in rest), *near]

    def _known_gradient(self, name):
        """Return X if the name is `dX` or `dX2` and the forward pass assigns to X, or None."""
        rest = gradient_of(name, (*PREFIXES, "D"))
        return next((x for x in (*rest, *(x.rstrip("_0123456789") for x in rest)) if x in self.known), None)

    def close(self):
        passed = [scene.mended() for scene in self.scenes]
        vouched = self._vouched(passed)
        for scene, one in zip(self.scenes, passed, strict=True):
            scene.vouched = vouched
            for target in scene.targets:
                key = target.key
                is_new = key in vouched and key not in scene.truths and key in one.values
                if is_new or (key in scene.mistakes and scene.mistakes[key] is not scene.truths.get(key)):
                    scene.truths[key] = scene.mistakes.get(key, one.values.get(key))
                    target.at, target.array, target.reason = None, np.asarray(target.event.value), ""
            right = scene.right(one)
            finals = [t for t in scene.targets if t.is_final and t.place in scene.truths and t.place not in right]
            scene.mistakes |= {t.place: scene.truths[t.place] for t in finals if not t.outside}
            scene.wrong |= scene.truths.keys() - scene.right(scene.plain)


def _changes(scene, event):
    return any(isinstance(node, CHANGING) for node in ast.walk(scene.site(event).statement))


def _is_numeric(value):
    is_array = isinstance(value, (np.ndarray, np.generic, float, int)) and not isinstance(value, bool)
    return is_array and np.asarray(value).dtype.kind in "fib"


def is_start(scene, event):
    """Return True if the line of `event` only starts a computation: a loop counter, or zeros that are filled later."""
    site = scene.site(event)
    made = getattr(getattr(site.value, "func", None), "attr", "")
    return isinstance(site.statement, ast.For) or made.startswith(("zeros", "empty"))


def _fits(array, value):
    truth = _as(array, value)
    return truth is not None and close(value, truth, EQUAL)


def _as(array, value):
    """Convert an array to the shape and type of a value. Return None if that is impossible."""
    if without_ones(array.shape) != without_ones(np.shape(value)):
        return None
    if isinstance(value, np.ndarray):
        array = array.reshape(value.shape)
        if value.dtype.kind not in "ib":
            return array
        return array.astype(value.dtype) if np.array_equal(array.astype(value.dtype), array) else None
    number = array.item()
    if isinstance(value, (int, np.integer)):
        return int(number) if number.is_integer() else None
    return number
