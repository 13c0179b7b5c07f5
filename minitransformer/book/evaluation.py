"""Evaluate expressions of the notation on arrays with labelled axes.

In a matrix product, the axes that are summed over must have the same name, so that a missing transpose is noticed even
if the lengths agree. The numbers are floats (the book) or decimals (the derivations of students).
"""

import decimal
import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import erf

from gradcheck.complex_step import perturbed, slope
from minitransformer.book import notation as n
from minitransformer.book.arrays import (
    LARGEST,
    Array,
    Axis,
    NoValue,
    Unequal,
    copies_numbered,
    diagonals,
    labelling,
    operands,
    placed,
    union,
)

FIRST_AXIS = "pt"  # the indices of positions, which are the first axis; other indices count the last axes
KEPT = {"p": 1, "batch": 2}  # the number of last axes over which Σ_p and Σ_batch do not sum
RELATIONS = (np.equal, np.not_equal, np.less_equal, np.less, np.greater_equal, np.greater)
COMPARISONS = dict(zip("=≠≤<≥>", RELATIONS, strict=True))
OVER, LAST = "over", "last"  # labels during a matrix product


def indexed_axes(labels, letters, name):
    """Return the axis of each index in `letters`, for an entry such as x_pi."""
    if len(letters) > len(labels):
        axes = f"the axes {', '.join(map(str, labels))}" if labels else "no axes"
        raise NoValue(f"{name} has {axes}, so it cannot have the indices {letters}")
    where, names = [len(labels) - len(letters) + k for k in range(len(letters))], [str(label) for label in labels]
    if 0 < len(letters) < len(labels) and letters[0] in (*names, *FIRST_AXIS):
        first = names.index(letters[0]) if letters[0] in names else 0
        where[0] = min(first, where[0])
    return where


def entry_axes(labels, node):
    if not node.is_below:
        return [*range(len(node.at))]
    letters = [next((s.text for s in n.every_node(part) if isinstance(s, n.Symbol)), "_") for part in node.at]
    return indexed_axes(labels, "".join(letters), node.of.text)


def parts(value):
    return value if isinstance(value, tuple) else (value,)


# Numbers


@dataclass(frozen=True)
class Numbers:
    literal: Callable  # the number of a text or an int
    pi: Any
    functions: dict  # {name: elementwise function of an array}
    slope: Callable  # slope(function, x) is the derivative of an elementwise function


FLOATS = Numbers(
    lambda text: math.inf if text == "∞" else float(text),
    np.pi,
    {"exp": np.exp, "log": np.log, "tanh": np.tanh, "cos": np.cos, "sin": np.sin, "erf": erf},
    lambda function, x: slope(function(perturbed(x))),
)


# Expressions


@dataclass
class Scope:
    """An evaluator of expressions. It has the values of names, and a method for each kind of node of the notation."""

    values: Mapping  # {name: number, array or function}
    numbers: Numbers = FLOATS
    jacobian: Callable | None = None  # jacobian(of, by) is the Array ∂of/∂by, with the labels of `of`, then of `by`
    backwards: Mapping = field(default_factory=dict)  # {name of a function: its backward function}
    ranges: Mapping = field(default_factory=dict)  # {index: values} for the ranges that are written after an equation
    indices: str = n.INDICES  # letters that may be indices
    spans: dict = field(default_factory=dict)  # {index: (Axis over which it runs, length)}
    label: Callable | None = None  # the Array of a NumPy array

    def __post_init__(self):
        self.label = self.label or labelling(self.values.values(), {})

    def __getitem__(self, name):
        value = self.values[name]
        return value if isinstance(value, Array) or callable(value) else self.label(value)

    def code(self, name):
        """Return the function with this name among the values, or None."""
        found = name in self.values and self.values[name]
        return found if callable(found) else None

    def name_of(self, node):
        """Split a node such as x_i into (name, letters of the indices). Return None if the name has no value."""
        if isinstance(node, n.Power) and isinstance(node.base, n.Symbol) and node.exponent == n.Number("2"):
            base, _, letters = node.base.text.partition("_")
            return (f"{base}²", letters) if f"{base}²" in self.values else None
        if isinstance(node, n.Symbol):
            base, _, letters = node.text.rpartition("_")
            if node.text in self.values:
                return node.text, ""
            if base in self.values and not self.code(base) and {*letters} <= {*self.indices}:
                return base, letters
        return None

    def infer(self, *nodes):
        """Determine the axis over which each index in some expressions runs."""
        below = [each for node in nodes for each in n.every_node(node)]
        for name, letters in filter(None, map(self.name_of, below)):
            labels, shape = self[name].labels if letters else (), self[name].values.shape if letters else ()
            for letter, at in zip(letters, indexed_axes(labels, letters, name), strict=True):
                self.span(letter, labels[at], shape[at])
        for entry in (each for each in below if isinstance(each, n.Entry) and self.name_of(each.of)):
            array = self[entry.of.text]  # after the other names: in P[t, 2i] and ω_i, i runs over the axis of ω
            for at, axis in zip(entry.at, entry_axes(array.labels, entry), strict=False):
                for symbol in n.every_node(at) if entry.is_below else (at,):
                    if isinstance(symbol, n.Symbol) and len(symbol.text) == 1 and symbol.text not in self.values:
                        self.span(symbol.text, array.labels[axis], array.values.shape[axis])

    def span(self, letter, axis, length):
        return self.spans.setdefault(letter, (axis, len(self.ranges.get(letter, range(length)))))

    def counter(self, letter):
        if letter not in self.spans and letter not in self.ranges:
            raise NoValue(f"the index {letter} has no range")
        values = self.ranges[letter] if letter in self.ranges else range(self.spans[letter][1])
        return Array(np.array([self.numbers.literal(int(k)) for k in values]), (letter,))

    # Arrays

    def combined(self, function, *arrays) -> Array:
        """Apply an elementwise function to arrays after aligning them by their labels."""
        arrays = tuple(functools.reduce(self.with_indices, arrays, array) for array in arrays)
        labels = union(arrays)
        try:
            values = function(*operands(arrays, labels))
        except decimal.DecimalException as error:
            raise NoValue("a quotient or a power is not defined for these numbers") from error
        is_row = sum(isinstance(label, Axis) for label in labels) == 1 and any(array.is_row for array in arrays)
        return Array(values, labels, is_row, any({*a.labels} == {*labels} and a.is_ordered for a in arrays))

    def with_indices(self, array, other):
        """Replace axes of `array` with the indices of `other` over them: in `y_i (dy − c)`, dy becomes dy_i."""
        for axis in (axis for axis in array.axes if axis not in other.labels):
            free = [i for i in other.labels if i in self.spans and i not in array.labels]
            over = [i for i in free if self.spans[i][0].name == axis.name]
            if over:
                array = array.renamed({axis: axis.name if axis.name in over else over[0]})
        return array

    def in_order(self, function, a, b) -> Array:
        """Combine two arrays elementwise. Raises Unequal if they have the same axes in a different order."""
        both = [[axis for axis in array.axes if axis in other.axes] for array, other in ((a, b), (b, a))]
        if both[0] != both[1] and a.is_ordered and b.is_ordered:
            axes = [", ".join(map(str, array.axes)) for array in (a, b)]
            raise Unequal(
                f"the axes of the left are ({axes[0]}), those of the right ({axes[1]}): a transpose is missing"
            )
        return self.combined(function, a, b)

    def product(self, a, b) -> Array:
        """Multiply adjacent factors, as matrices if both have axes without an index, else elementwise.

        Two arrays along the same axes that have no matrix product are multiplied elementwise. So are two vectors along
        the same axis, but `yᵀ dy` is an inner product and `y dyᵀ` an outer product.
        """
        left, right = a.axes, b.axes
        if not left or not right:
            return self.combined(np.multiply, a, b)
        if len(left) == len(right) == 1 and not a.is_row:
            if b.is_row:
                first, second = placed(left + right)
                b = replace(b, is_row=False).renamed({right[0]: second})
                return replace(self.combined(np.multiply, a.renamed({left[0]: first}), b), is_ordered=True)
            if left != right:
                axes = f"{left[0]} and {right[0]}"
                raise NoValue(
                    f"the product of two vectors along different axes, {axes}, has two readings: write indices"
                )
            return self.combined(np.multiply, a, b)
        over = right[max(len(right) - 2, 0)]
        if left == right and not left[-1].fits(over):
            return self.combined(np.multiply, a, b)
        if not left[-1].fits(over):
            raise Unequal(
                f"a matrix product of ({', '.join(map(str, left))}) and ({', '.join(map(str, right))}) sums over "
                f"{left[-1]} on the left and {over} on the right: is a transpose missing?"
            )
        last = {right[-1]: LAST} if len(right) > 1 else {}
        factors = a.renamed({left[-1]: OVER}), b.renamed({over: OVER} | last)
        labels = union(factors)
        operands(factors, labels)
        kept = [label for label in labels if label not in (OVER, LAST)] + [*last.values()]
        places = [[labels.index(label) for label in of] for of in (factors[0].labels, factors[1].labels, kept)]
        values = np.einsum(factors[0].values, places[0], factors[1].values, places[1], places[2])
        labels = placed([right[-1] if label == LAST else label for label in kept])
        return Array(values, labels, a.is_row and len(left) == 1 and len(right) > 1)

    def indexed(self, array, letters, name) -> Array:
        """Label axes with index letters. Equal letters select a diagonal."""
        if not letters:
            return array
        return diagonals(Array(array.values, self.lettered(array.labels, array.values.shape, letters, name)))

    def lettered(self, labels, shape, letters, name) -> tuple:
        found = list(labels)
        for letter, at in zip(letters, indexed_axes(labels, letters, name), strict=True):
            axis, length = self.span(letter, labels[at], shape[at])
            if not axis.fits(labels[at]):
                raise Unequal(
                    f"{name}_{letters} has {letter} for the axis {labels[at]}, but {letter} runs over the axis {axis}"
                )
            if length != shape[at]:
                raise Unequal(f"{letter} has {length} values, but its axis {shape[at]}")
            found[at] = letter
        return tuple(found)

    def aligned(self, a, b):
        """Align the sides of an equation. Return both, and a remark if an index occurs on one side only."""
        a, b = self.with_indices(a, b), self.with_indices(b, a)
        if a.values.size == b.values.size and all(isinstance(x, Axis) and x.is_position for x in a.labels + b.labels):
            return a, replace(b, values=b.values.reshape(a.values.shape), labels=a.labels), ""  # (n,) and (n, 1)
        labels = self.in_order(lambda left, right: left, a, b).labels
        (left, *_), (right, *_) = ([str(i) for i in labels if i not in side.labels] + [""] for side in (b, a))
        remark = f"{left} is free on the left side only" if left else ""
        remark = f"{right} is free on the right side only: is a Σ_{right} missing?" if right else remark
        return Array(a.along(labels), labels), Array(b.along(labels), labels), remark

    # Expressions

    def evaluate(self, node) -> Any:
        """Evaluate a node to an Array or a tuple of Arrays. Raises NoValue, or Unequal if the axes do not agree."""
        if found := self.name_of(node):
            if self.code(found[0]):
                raise NoValue(f"{found[0]} is a function")
            return self.indexed(self[found[0]], found[1], found[0])
        method = getattr(self, type(node).__name__.lower(), None)
        if method is None:
            raise NoValue(f"a {type(node).__name__.lower()} has no value")
        return method(node)

    def number(self, node):
        return Array(self.numbers.literal("0.5" if node.text == "½" else node.text))

    def symbol(self, node):
        base, _, letters = node.text.partition("_")
        if base == "δ" and len(letters) == 2:
            return self.indicated(self.combined(np.equal, *map(self.counter, letters)))
        if node.text == "π":
            return Array(self.numbers.pi)
        if node.text.endswith("′") and node.text[:-1] in self.values:  # of an elementwise function of x
            return self.derivative(n.Derivative(n.Symbol(node.text[:-1]), n.Symbol("x")))
        if len(node.text) > 1 or node.text not in self.spans | self.ranges.keys():
            raise NoValue(f"{node.text} has no value")
        return self.counter(node.text)

    def entry(self, node):
        """Evaluate an entry such as W[id] or S_{t−1}. The latter is 0 outside of the array."""
        array, at = self[node.of.text], [self.evaluate(part) for part in node.at]
        where, labels = entry_axes(array.labels, node), union(at)
        places = np.broadcast_arrays(*(values.astype(int) for values in operands(at, labels)))
        sizes = [array.values.shape[axis] for axis in where]
        is_inside = np.all([(k >= 0) & (k < size) for k, size in zip(places, sizes, strict=True)], axis=0)
        if not (node.is_below or np.all(is_inside)):
            raise NoValue(f"an index of {node.of.text}[…] is outside of the array")
        kept = [label for axis, label in enumerate(array.labels) if axis not in where]
        clipped = tuple(np.clip(k, 0, size - 1) for k, size in zip(places, sizes, strict=True))
        values = np.moveaxis(array.values, where, range(len(where)))[clipped]
        values = values * is_inside.reshape(is_inside.shape + (1,) * len(kept))
        return Array(values, placed([*labels, *kept]))

    def sum(self, node):
        (sign, first), *others = node.terms
        total = self.evaluate(first)
        total = total if sign > 0 else replace(total, values=-total.values)
        for sign, term in others:
            total = self.in_order(np.add if sign > 0 else np.subtract, total, self.evaluate(term))
        return total

    def dot(self, node):
        return self.in_order(np.multiply, self.evaluate(node.left), self.evaluate(node.right))

    def beside(self, node):
        return functools.reduce(self.product, map(self.evaluate, node.factors))

    def fraction(self, node):
        above, below = self.evaluate(node.above), self.evaluate(node.below)
        if not below.labels and below.values == 0:
            raise NoValue("a quotient or a power is not defined for these numbers")
        return self.in_order(np.true_divide, above, below)

    def power(self, node):
        if node.base == n.Symbol("e") and "e" not in self.values:
            return self.applied(self.function("exp"), self.evaluate(node.exponent))
        return self.combined(np.power, self.evaluate(node.base), self.evaluate(node.exponent))

    def transpose(self, node):
        a = self.evaluate(node.of)
        if len(a.axes) < 2:
            return replace(a, is_row=not a.is_row)
        labels = [*(label for label in a.labels if label not in a.axes[-2:]), *a.axes[:-3:-1]]
        return Array(a.along(labels), placed(labels))

    def root(self, node):
        return self.applied(np.sqrt, self.evaluate(node.of))

    def norm(self, node):
        values = self.evaluate(node.of).values
        return self.applied(np.sqrt, Array(np.sum(values * values)))

    def where(self, node):
        return self.combined(np.where, *map(self.evaluate, (node.condition, node.value, node.otherwise)))

    def condition(self, node):
        left = self.evaluate(node.left)
        if not node.relation:
            return replace(left, values=np.asarray(left.values, dtype=bool))
        return self.combined(COMPARISONS[node.relation], left, self.evaluate(node.right))

    def indicator(self, node):
        return self.indicated(self.condition(node.condition))

    def indicated(self, condition):
        return replace(condition, values=np.where(condition.values, *map(self.numbers.literal, "10")))

    def several(self, node):
        return tuple(part for entry in node.of for part in parts(self.evaluate(entry)))

    def range(self, node):
        first, last = (int(self.evaluate(end).values) for end in (node.first, node.last))
        if last - first >= LARGEST:
            raise NoValue(f"a range may have at most {LARGEST:,} numbers")
        return self.label(np.arange(first, last + 1))

    def derivative(self, node):
        """Evaluate ∂of/∂by.

        If `of` at a position depends only on `by` at the same position, both share the axes of positions. For an
        elementwise function, these are all axes.
        """
        (by, j), (of, i) = (self.name_of(part) or (None, "") for part in (node.by, node.of))
        if of is None and node.of == n.Symbol("L") and by:  # the loss
            return self.evaluate(n.Symbol(f"d{by}{'_' * bool(j)}{j}"))
        if self.jacobian is None or by is None or (of is None and isinstance(node.of, n.Symbol)):
            raise NoValue("a derivative of, or with respect to, a name without a value")
        whole = self.jacobian(of or node.of, by)
        count, name = len(whole.labels) - len(self[by].labels), f"∂{of or '(…)'}/∂{by}"
        above = self.lettered(whole.labels[:count], whole.values.shape[:count], i, name)
        below = self.lettered(whole.labels[count:], whole.values.shape[count:], j, name)
        rest = ([label for label in labels if isinstance(label, Axis)] for labels in (above, below))
        shared = [a for a, b in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*rest, strict=False))]
        while True:
            apart = [label if label in shared or isinstance(label, str) else (label,) for label in below]
            found = diagonals(Array(whole.values, (*above, *apart)))
            if not shared or np.count_nonzero(found.values) == np.count_nonzero(whole.values):
                break
            shared.pop()
        labels = [label[0] if isinstance(label, tuple) else label for label in found.labels]
        return Array(found.values, placed(labels))

    def applied(self, function, a):
        try:
            return replace(a, values=function(a.values))
        except decimal.DecimalException as error:
            raise NoValue("a number is outside of a function's domain") from error

    # Sums and functions

    def summand(self, node, letters):
        """Evaluate the argument of a sum or a mean. The same index may run over a different axis outside of the sum."""
        inner = replace(self, spans={i: span for i, span in self.spans.items() if i not in letters})
        inner.infer(node)
        value = inner.evaluate(node)
        self.spans = inner.spans | self.spans
        return value

    def reduced(self, function, a, index, sign):
        """Reduce an array along the axis of an index, or along the last axis."""
        named = {str(label): label for label in a.labels}
        letters = [index] if index in named else [*index]
        if not index:
            over = (a.axes or a.labels)[-1:]
        elif index in KEPT and index not in named:
            over = a.axes[: max(len(a.axes) - KEPT[index], 0)]
        elif missing := [letter for letter in letters if letter not in named]:
            raise NoValue(f"the index {missing[0]} of {sign} does not occur in the summand")
        else:
            over = tuple(named[letter] for letter in letters)
        if not (over or index):
            raise NoValue(f"{sign} of a number: it has no axis left")
        axes = tuple(a.labels.index(label) for label in over)
        return Array(function(a.values, axis=axes), copies_numbered(label for label in a.labels if label not in over))

    def total(self, node):
        return self.reduced(np.sum, self.summand(node.of, node.index), node.index, "Σ")

    def call(self, node):
        text, (name, _, letters) = node.function.text, node.function.text.partition("_")
        if self.name_of(node.function) and not self.code(text):  # y_i (1 − y_i) without the blank
            return self.beside(n.Beside((node.function, *node.arguments)))
        if node.transposed and text not in self.backwards:
            raise NoValue(f"the backward of {text} is not available")
        function = self.backwards[text] if node.transposed else self.code(text) or self.code(name)
        if function:
            found = self.called(function, [self.evaluate(argument) for argument in node.arguments])
            return found if text in self.values or node.transposed else self.indexed(found, letters, name)
        name, letters = (text, "") if text in OF_ARRAYS else (name, letters)
        arguments = [self.summand(argument, letters) for argument in node.arguments]
        if name in ("max", "min") and len(arguments) == 2:
            return self.combined(np.maximum if name == "max" else np.minimum, *arguments)
        if len(arguments) != (2 if name == "inner" else 1):
            raise NoValue(f"{name} does not take {len(arguments)} arguments here")
        if name in OF_ARRAYS:
            return OF_ARRAYS[name](self, letters, *arguments)
        return self.applied(self.function(name), *arguments)

    def mean(self, letters, a):
        total = self.reduced(np.sum, a, letters, "mean")
        return replace(total, values=total.values / self.numbers.literal(a.values.size // max(total.values.size, 1)))

    def softmax(self, letters, a):
        e, over = self.applied(self.function("exp"), a), letters if letters in a.labels else ""
        y = self.combined(np.true_divide, e, self.reduced(np.sum, e, over, "softmax"))
        return y if over else self.indexed(y, letters, "softmax")

    def diag(self, letters, a):
        if len(a.axes) > 1:
            return diagonals(a.renamed({a.axes[-2]: a.axes[-1]}))
        labels = placed((a.axes or a.labels)[-1:] * 2)
        return self.combined(np.multiply, Array(np.eye(a.values.shape[-1], dtype=int), labels), a)

    def inner(self, letters, a, b):
        product = self.in_order(np.multiply, a, b)
        return Array(np.sum(product.values))

    def called(self, function, arguments):
        found = function(*(argument.unlabelled() for argument in arguments))
        if isinstance(found, tuple):
            return tuple(map(self.label, found))
        same = [argument for argument in arguments if argument.values.shape == np.shape(found)]
        return replace(same[0], values=found) if same else self.label(found)

    def function(self, name):
        if function := self.code(name) or self.numbers.functions.get(name):
            return function
        if name.endswith("′"):
            return functools.partial(self.numbers.slope, self.function(name[:-1]))
        raise NoValue(f"the function {name} is unknown")


OF_ARRAYS = {
    "mean": Scope.mean,
    "max": lambda scope, letters, a: scope.reduced(np.max, a, letters, "max"),
    "min": lambda scope, letters, a: scope.reduced(np.min, a, letters, "min"),
    "softmax": Scope.softmax,
    "log_softmax": lambda scope, letters, a: scope.applied(scope.function("log"), scope.softmax(letters, a)),
    "diag": Scope.diag,
    "tr": lambda scope, letters, a: scope.reduced(np.sum, scope.diag(letters, a), "", "tr"),
    "inner": Scope.inner,
}


def both_sides(left, right, scope) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate both sides of an equation for all values of the indices. Return two arrays of the same shape."""
    scope = replace(scope, spans={})
    scope.infer(left, right)
    values = (parts(scope.evaluate(side)) for side in (left, right))
    pairs = [[side.values for side in scope.aligned(*pair)[:2]] for pair in zip(*values, strict=True)]
    if len(pairs) == 1:
        return tuple(np.broadcast_arrays(*pairs[0]))
    return tuple(np.concatenate([np.ravel(side) for side in sides]) for sides in zip(*pairs, strict=True))
