"""Run the forward pass of a derivation on random numbers, and differentiate it.

Gradients dX and derivatives ∂A/∂B are central differences with a step of 1e-40, computed with 130 digits. About 80
digits of the result are right.
"""

import copy
import decimal
import itertools
from contextlib import suppress
from dataclasses import dataclass, replace
from string import ascii_letters

import numpy as np

from gradcheck.certify.decimals import PI, cosine_and_sine, error_function
from minitransformer.book import notation as n
from minitransformer.book.arrays import Array, Axis, NoValue, copies_numbered
from minitransformer.book.evaluation import Numbers, Scope

DIGITS = 130
STEP = decimal.Decimal("1e-40")  # of central differences
TOTAL, PARTIAL = "the total derivative", "the derivative with the other names held fixed"
DOT = "\u0307"  # ẋ is a direction in which x moves, and ẏ the velocity of y


def literal(text):
    if text == "∞":
        raise NoValue("∞ has no digits")
    return decimal.Decimal(text)


def sigmoid(x):
    return 1 / (1 + (-x).exp())


FUNCTIONS = {
    "exp": lambda x: x.exp(),
    "log": lambda x: x.ln(),
    "tanh": lambda x: 2 * sigmoid(2 * x) - 1,
    "erf": error_function,
    "sin": lambda x: cosine_and_sine(x)[1],
    "cos": lambda x: cosine_and_sine(x)[0],
    "σ": sigmoid,
}
DECIMALS = Numbers(
    literal,
    PI,
    {name: np.frompyfunc(function, 1, 1) for name, function in FUNCTIONS.items()},
    lambda function, x: (function(x + STEP) - function(x - STEP)) / (2 * STEP),
)


def scope_of(values, **fields):
    return Scope(values, numbers=DECIMALS, indices=ascii_letters, label=Array, **fields)


@dataclass
class Forward:
    inputs: dict  # {name of an input: letters of the axes}
    conditions: list  # equations that the inputs satisfy
    definitions: list  # (name, expression) of each forward equation
    letters: dict  # {name: indices on the left of its forward equation}

    @property
    def output(self):
        return self.definitions[-1][0]

    @property
    def axes(self):
        return list(dict.fromkeys(letter for letters in self.inputs.values() for letter in letters))


class World:
    """A forward pass on random inputs. `world[name]` is one of its values, or a gradient such as dx."""

    def __init__(self, forward, sizes, values, upstream=None):
        self.forward, self.sizes, self.inputs = forward, sizes, values
        self.locals, self.definitions, self.gradients, self.derivatives = {}, {}, {}, {}
        self.values, self.read = dict(values), {}  # read: {name: names in its definition}
        for name, expression in forward.definitions:
            found = map(scope_of(self.values).name_of, n.every_node(expression))
            self.read[name] = {each[0] for each in found if each}
            self.values[name] = self.evaluated(name, expression, self.values)
        self.moving = [*forward.inputs]
        y = self.values[forward.output]
        dy = upstream(y.values.shape)
        if forward.output == "L":  # the gradient of a loss with respect to itself is 1
            dy = np.ones(y.values.shape, int)
        self.dy = Array(np.array(dy, dtype=object) * decimal.Decimal(1), y.labels)
        self.directions = {
            x: replace(v, values=np.asarray(upstream(v.values.shape), object)) for x, v in values.items()
        }

    @classmethod
    def drawn(cls, forward, seed, lengths):
        sizes = dict(zip(forward.axes, itertools.cycle(lengths)))
        with suppress(NoValue):  # the logarithm of a negative number, for example
            return cls.on(forward, sizes, drawing(seed, "-0.8"))
        return cls.on(forward, sizes, drawing(seed, "0.25"))

    @classmethod
    def on(cls, forward, sizes, draw):
        """Create a World, in which each input and the upstream gradient are drawn with draw(shape).

        The inputs are scaled to satisfy the conditions of the derivation.
        """
        values = {
            name: Array(
                np.asarray(draw(tuple(sizes[letter] for letter in letters)), dtype=object),
                copies_numbered(map(Axis, letters)),
            )
            for name, letters in forward.inputs.items()
        }
        for condition in forward.conditions:
            values = satisfying(condition, values)
        return cls(forward, sizes, values, draw)

    def computed(self, given):
        """Run the forward pass with some values replaced by those in `given`, and return {name: value}."""
        values, changed = self.values | given, set(given)
        for name, expression in self.forward.definitions:
            if name not in given and changed & self.read[name]:
                values[name] = self.evaluated(name, expression, values)
                changed.add(name)
        return values

    def evaluated(self, name, expression, values):
        scope = scope_of(values)
        scope.infer(expression)
        return on_axes(scope.evaluate(expression), self.forward.letters.get(name, ""), scope, self.sizes)

    def __contains__(self, name):
        name = name.removesuffix(DOT)
        return name in self.values or name in self.locals or (name[:1] == "d" and name[1:] in self.values)

    def __getitem__(self, name):
        if name in self.values:
            return self.values[name]
        if name in self.locals:
            return self.locals[name]
        if name.endswith(DOT):
            return self.velocity(name.removesuffix(DOT))
        if name not in self.gradients:
            self.gradients[name] = self.gradient(name[1:])
        return self.gradients[name]

    def with_names(self, values):
        other = copy.copy(self)
        other.locals = self.locals | values
        return other

    def define(self, name, letters, expression, scope):
        """Define a name as an expression. Its indices are `letters` or, if there are none, the axes of the value."""
        scope.infer(expression)
        self.definitions[name] = expression, letters, scope
        self.locals[name] = self.defined(name, scope.values)

    def defined(self, name, values):
        """Evaluate the student's definition of a name, where `values` maps the names in it to their values."""
        expression, letters, scope = self.definitions[name]
        return on_axes(replace(scope, values=values).evaluate(expression), letters, scope, self.sizes)

    def moved(self, of, given, reading):
        """Evaluate `of`, a name or an expression, after some values have been replaced.

        `given` maps names to their new values. If `reading` is TOTAL, values that depend on them change too.
        """
        expressions = dict(self.forward.definitions)
        if isinstance(of, str) and of not in self.definitions:
            if reading == TOTAL or of not in expressions:
                return self.computed(given)[of]
            return self.evaluated(of, expressions[of], self.values | given)
        own = self.definitions.get(of)
        expression, scope = (own[0], own[2]) if own else (of, scope_of(self))
        names = {found[0] for node in n.every_node(expression) if (found := scope.name_of(node))}
        gradients = {f"d{each}" for each in self.values if each != self.forward.output}
        if names & gradients or any(isinstance(node, n.Derivative) for node in n.every_node(expression)):
            raise NoValue("a derivative of an expression that contains a gradient or a derivative")
        values = {each: scope.values[each] for each in names} | given
        if reading == TOTAL:
            values |= self.computed(given)
            values |= {each: self.moved(each, given, reading) for each in names if each in self.definitions}
        return self.defined(of, values) if own else replace(scope, values=values).evaluate(of)

    def velocity(self, name):
        """Return the derivative of a value along the random directions of the inputs listed in `moving`."""
        if name in self.moving:
            return self.directions[name]
        moved = []
        for step in (STEP, -STEP):
            given = {x: self.values[x].values + step * self.directions[x].values for x in self.moving}
            given = {x: replace(self.values[x], values=values) for x, values in given.items()}
            moved.append(self.moved(name, given, TOTAL))
        values = (moved[0].values - moved[1].values) / (2 * STEP)
        if not np.any(values):
            raise NoValue(f"{name} does not move with {', '.join(self.moving)}")
        return replace(moved[0], values=values)

    def gradient(self, name):
        if name == self.forward.output:
            return self.dy
        slopes = self.slopes(name, lambda given: self.computed(given)[self.forward.output])
        value = self.values[name]
        totals = [np.sum(slope * self.dy.along(self.values[self.forward.output].labels)) for slope in slopes]
        return Array(np.array(totals, dtype=object).reshape(value.values.shape), value.labels)

    def derivative(self, of, by, reading):
        """Return ∂of/∂by, an array with the axes of `of` followed by those of `by`.

        `reading` is TOTAL or PARTIAL, the kind of the derivative.
        """
        if (of, by, reading) not in self.derivatives:
            for name in (of, by):
                if isinstance(name, str) and name not in self.values and (name == by or name not in self.definitions):
                    raise NoValue(f"∂{of}/∂{by}: {name} is not in the forward pass")
            above, below = self.moved(of, {}, reading), self.values[by]
            slopes = self.slopes(by, lambda given: self.moved(of, given, reading))
            whole = np.stack([slope.reshape(above.values.shape) for slope in slopes], axis=-1)
            whole = whole.reshape(above.values.shape + below.values.shape)
            self.derivatives[of, by, reading] = Array(whole, (*above.labels, *below.labels))
        return self.derivatives[of, by, reading]

    def slopes(self, name, function):
        """Yield the derivative of function({name: value}) with respect to each entry of the value of `name`."""
        value = self.values[name]
        for at in np.ndindex(value.values.shape):
            moved = []
            for step in (STEP, -STEP):
                values = value.values.copy()
                values[at] += step
                moved.append(function({name: replace(value, values=values)}).values)
            yield np.asarray((moved[0] - moved[1]) / (2 * STEP), dtype=object)


def on_axes(value, letters, scope, sizes):
    """Replace the indices of a value with the axes over which they run, in the order of `letters`, if there are any."""
    labels = tuple(letters) or value.labels
    if all(isinstance(label, Axis) for label in labels):
        return value
    value = scope.with_indices(value, Array(value.values, labels))
    if missing := [str(label) for label in value.labels if label not in labels]:
        raise NoValue(f"the left side has no index {', '.join(missing)}, but the right side has")
    if unknown := [label for label in labels if not isinstance(label, Axis) and label not in scope.spans]:
        raise NoValue(f"the index {unknown[0]} has no range")
    axes = [label if isinstance(label, Axis) else scope.spans[label][0] for label in labels]
    shape = [sizes[axis.name] for axis in axes]
    return Array(np.broadcast_to(value.along(labels), shape), copies_numbered(axes), value.is_row)


def drawing(seed, lowest):
    rng = np.random.default_rng(seed)

    def draw(shape):
        digits = [decimal.Decimal(int.from_bytes(rng.bytes(25))).scaleb(-60) for _ in np.ndindex(shape)]
        return np.array(digits, dtype=object).reshape(shape) + decimal.Decimal(lowest)

    return draw


def satisfying(condition, values):
    (left, right), scope = condition.sides, scope_of(values)
    if not (isinstance(left, n.Total) and (found := scope.name_of(left.of))):
        raise ValueError("a condition has the form Σ_i T_i = 1")
    name, letters = found
    scaled = scope.evaluate(n.Fraction(n.Dot(left.of, right), left))
    return values | {name: Array(scaled.along(letters or values[name].labels), values[name].labels)}
