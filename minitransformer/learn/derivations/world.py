"""Run the forward pass of a derivation on random numbers, and differentiate it.

Gradients dX and derivatives ∂A/∂B are central differences with a step of 1e-40, computed with 130 digits. About 80
digits of the result are right.
"""

import copy
import itertools
from dataclasses import dataclass, replace

import numpy as np

from minitransformer.book import notation as n
from minitransformer.learn.derivations import arrays
from minitransformer.learn.derivations.arrays import (
    STEP,
    Array,
    Scope,
    Undecided,
    decimal,
    evaluate,
    infer_axes,
    name_of,
)

TOTAL, PARTIAL = "the total derivative", "the derivative with the other names held fixed"


@dataclass
class Forward:
    """The forward pass of an exercise."""

    inputs: dict  # {name of an input: labels of the axes}
    conditions: list  # equations that the inputs satisfy
    definitions: list  # (name, expression) of each forward equation

    @property
    def output(self):
        return self.definitions[-1][0]

    @property
    def labels(self):
        return list(dict.fromkeys(label for labels in self.inputs.values() for label in labels))


class World:
    """A forward pass run on random numbers. `world[name]` is a value, or a gradient such as dx."""

    def __init__(self, forward, sizes, values, upstream=None):
        self.forward, self.sizes, self.inputs = forward, sizes, values
        self.locals, self.definitions, self.gradients, self.derivatives = {}, {}, {}, {}
        self.values = self.computed({})
        y = self.values[forward.output]
        if forward.output == "L":  # the gradient of a loss with respect to itself is 1
            upstream = lambda shape: np.ones(shape, int)  # noqa: E731
        self.dy = Array(np.array(upstream(y.values.shape), dtype=object) * arrays.ONE, y.labels)

    @classmethod
    def drawn(cls, forward, seed, lengths):
        sizes = dict(zip(forward.labels, itertools.cycle(lengths)))
        for lowest in ("-0.8", "0.25"):
            rng = np.random.default_rng(seed)

            def draw(shape, rng=rng, lowest=lowest):
                digits = [decimal.Decimal(int.from_bytes(rng.bytes(25))).scaleb(-60) for _ in np.ndindex(shape)]
                return np.array(digits, dtype=object).reshape(shape) + decimal.Decimal(lowest)

            try:
                return cls.on(forward, sizes, draw)
            except Undecided:
                if lowest == "0.25":
                    raise
        raise AssertionError

    @classmethod
    def on(cls, forward, sizes, draw):
        """Draw inputs and upstream gradient with draw(shape). Inputs are scaled to satisfy the conditions."""
        values = {
            name: Array(np.asarray(draw(tuple(sizes[label] for label in labels)), dtype=object), labels)
            for name, labels in forward.inputs.items()
        }
        for condition in forward.conditions:
            values = satisfying(condition, values, sizes)
        return cls(forward, sizes, values, draw)

    def computed(self, given):
        """Run the forward pass with some values replaced, and return {name: value}."""
        values = self.inputs | {name: value for name, value in given.items() if name in self.inputs}
        for name, expression in self.forward.definitions:
            values[name] = given.get(name) or evaluate(expression, Scope(values, self.sizes))
        return values

    def __contains__(self, name):
        return name in self.values or name in self.locals or (name[0] == "d" and name[1:] in self.values)

    def __getitem__(self, name):
        if name in self.values:
            return self.values[name]
        if name in self.locals:
            return self.locals[name]
        if name not in self.gradients:
            self.gradients[name] = self.gradient(name[1:])
        return self.gradients[name]

    def with_names(self, values):
        other = copy.copy(self)
        other.locals = self.locals | values
        return other

    def define(self, name, letters, expression, scope):
        """Give a name to an expression, with the indices `letters` or, without them, the axes of its value."""
        infer_axes(expression, scope)
        labels = tuple(letters) or evaluate(expression, scope).labels
        self.definitions[name] = expression, labels, scope
        self.locals[name] = self.defined(name, scope.values)

    def defined(self, name, values):
        """Return the value of a name that the student has defined, if the names in its definition have these values."""
        expression, labels, scope = self.definitions[name]
        value = evaluate(expression, replace(scope, values=values))
        if missing := sorted(set(value.labels) - set(labels)):
            raise Undecided(f"the left side has no index {', '.join(missing)}, but the right side has")
        axes = tuple(scope.axis_of.get(label, label) for label in labels)
        return Array(np.broadcast_to(value.along(labels), [self.sizes[axis] for axis in axes]), axes)

    def moved(self, of, given, reading):
        """Return the value of a name or an expression if some other values are replaced."""
        expressions = dict(self.forward.definitions)
        if isinstance(of, str) and of not in self.definitions:
            if reading == TOTAL or of not in expressions:
                return self.computed(given)[of]
            return evaluate(expressions[of], Scope(self.values | given, self.sizes))
        own = self.definitions.get(of)
        expression, scope = (own[0], own[2]) if own else (of, Scope(self, self.sizes))
        names = {found[0] for node in n.every_node(expression) if (found := name_of(node, scope.values))}
        gradients = {f"d{each}" for each in self.values if each != self.forward.output}
        if names & gradients or any(isinstance(node, n.Derivative) for node in n.every_node(expression)):
            raise Undecided("a derivative of an expression that contains a gradient or a derivative")
        values = {each: scope.values[each] for each in names} | given
        if reading == TOTAL:
            values |= self.computed(given)
            values |= {each: self.moved(each, given, reading) for each in names if each in self.definitions}
        return self.defined(of, values) if own else evaluate(of, replace(scope, values=values))

    def gradient(self, name):
        """Return ∂L/∂name for L = ⟨dy, y⟩."""
        if name == self.forward.output:
            return self.dy
        slopes = self.slopes(name, lambda given: self.computed(given)[self.forward.output])
        value = self.values[name]
        totals = [np.sum(slope * self.dy.along(self.values[self.forward.output].labels)) for slope in slopes]
        return Array(np.array(totals, dtype=object).reshape(value.values.shape), value.labels)

    def derivative(self, of, by, reading):
        """Return ∂of/∂by, with the axes of `of` before those of `by`. `reading` is TOTAL or PARTIAL."""
        if (of, by, reading) not in self.derivatives:
            for name in (of, by):
                if isinstance(name, str) and name not in self.values and (name == by or name not in self.definitions):
                    raise Undecided(f"∂{of}/∂{by}: {name} is not in the forward pass")
            above, below = self.moved(of, {}, reading), self.values[by]
            slopes = self.slopes(by, lambda given: self.moved(of, given, reading))
            whole = np.stack([slope.reshape(above.values.shape) for slope in slopes], axis=-1)
            whole = whole.reshape(above.values.shape + below.values.shape)
            self.derivatives[of, by, reading] = Array(whole, (*above.labels, *below.labels), above.is_ordered)
        return self.derivatives[of, by, reading]

    def slopes(self, name, function):
        """Yield ∂function({name: value})/∂entry for each entry of the value."""
        value = self.values[name]
        for at in np.ndindex(value.values.shape):
            moved = []
            for step in (STEP, -STEP):
                values = value.values.copy()
                values[at] += step
                moved.append(function({name: replace(value, values=values)}).values)
            yield np.asarray((moved[0] - moved[1]) / (2 * STEP), dtype=object)


def satisfying(condition, values, sizes):
    left, right = condition.sides
    if not (isinstance(left, n.Total) and (found := name_of(left.of, values))):
        raise ValueError("a condition has the form Σ_i T_i = 1")
    scope = Scope(values, sizes)
    factor = arrays.combined(np.divide, evaluate(right, scope), evaluate(left, scope))
    name, letters = found
    scaled = arrays.combined(np.multiply, arrays.indexed(values[name], letters, scope, name), factor)
    return values | {name: Array(scaled.along(letters or values[name].labels), values[name].labels)}
