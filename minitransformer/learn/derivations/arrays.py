"""Evaluate expressions on arrays of 130-digit decimals whose axes have labels.

The labels are the indices in `y_i (δ_ij − y_j)`. In `y · dy`, which has no indices, they are the letters with which the
inputs were declared. Products and sums align operands by label. A matrix product requires equal labels on the axes that
are summed over, so that a missing transpose is noticed even if the sizes agree.
"""

import decimal
import functools
import itertools
from dataclasses import dataclass, field, replace

import numpy as np

from gradcheck.certify.decimals import PI, cosine_and_sine, error_function
from minitransformer.book import notation as n
from minitransformer.book.execution import COMPARISONS

DIGITS = 130
STEP = decimal.Decimal("1e-40")  # of central differences
ZERO, ONE = decimal.Decimal(0), decimal.Decimal(1)


class Undecided(Exception):  # noqa: N818
    """An expression cannot be evaluated. The message gives the reason."""


class Unequal(Exception):  # noqa: N818
    """Two expressions cannot be equal, because their axes differ. The message gives the reason."""


@dataclass(frozen=True)
class Array:
    """Decimals with a label for each axis. The order of labels that are indices (`x_i w_ij`) has no meaning."""

    values: np.ndarray
    labels: tuple = ()
    is_ordered: bool = True

    def along(self, labels):
        values = np.transpose(self.values, [self.labels.index(label) for label in labels if label in self.labels])
        missing = tuple(at for at, label in enumerate(labels) if label not in self.labels)
        return np.expand_dims(values, missing)


def number(value):
    return Array(np.array(decimal.Decimal(value), dtype=object))


def combined(function, a, b):
    first, second = (a, b) if len(a.labels) >= len(b.labels) else (b, a)
    labels = first.labels + tuple(label for label in second.labels if label not in first.labels)
    try:
        values = np.asarray(function(a.along(labels), b.along(labels)), dtype=object)
    except decimal.DecimalException as error:
        raise Undecided("a quotient or a power is not defined for these numbers") from error
    return Array(values, labels, (a.is_ordered or not a.labels) and (b.is_ordered or not b.labels))


def summed(a, label):
    if label not in a.labels:
        raise Undecided(f"the index {label} of Σ does not occur in the summand")
    at = a.labels.index(label)
    values = np.asarray(np.sum(a.values, axis=at), dtype=object)
    return Array(values, a.labels[:at] + a.labels[at + 1 :], a.is_ordered)


def matrix_product(a, b):
    if len(a.labels) == len(b.labels) == 1:
        axes = f"{a.labels[0]} and {b.labels[0]}"
        raise Undecided(f"the product of two vectors along different axes, {axes}, has two readings: write indices")
    if a.labels[-1] != b.labels[max(len(b.labels) - 2, 0)]:
        raise Unequal(
            f"a matrix product of ({', '.join(a.labels)}) and ({', '.join(b.labels)}) sums over {a.labels[-1]} on the "
            f"left and {b.labels[max(len(b.labels) - 2, 0)]} on the right: is a transpose missing?"
        )
    if len(b.labels) > 1 and b.labels[-1] in a.labels:
        raise Undecided(f"a matrix product has two axes {b.labels[-1]}: write indices, or give the axes two letters")
    return summed(combined(np.multiply, a, b), a.labels[-1])


# Functions of a number


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


def applied(function, a):
    try:
        return replace(a, values=np.asarray(np.frompyfunc(function, 1, 1)(a.values), dtype=object))
    except decimal.DecimalException as error:
        raise Undecided("a number is outside of a function's domain") from error


# Expressions


@dataclass
class Scope:
    """The values that an expression may use."""

    values: dict  # {name: Array}
    sizes: dict  # {label of an axis: length}
    derivative: object = None  # function (of, by) that returns ∂of/∂by with the axes of both, or None
    axis_of: dict = field(default_factory=dict)  # {index in the equation: label of the axis over which it runs}


def name_of(node, values):
    """Split a node such as x_i into (name, letters of the indices). Return None if the name has no value."""
    if isinstance(node, n.Power) and isinstance(node.base, n.Symbol) and isinstance(node.exponent, n.Number):
        base, _, letters = node.base.text.partition("_")
        if node.exponent.text == "2" and f"{base}²" in values:
            return f"{base}²", letters
    if isinstance(node, n.Symbol):
        if node.text in values:
            return node.text, ""
        base, _, letters = node.text.partition("_")
        if base in values:
            return base, letters
    return None


def indexed(array, letters, scope, name):
    """Label the last axes of an array with index letters. Equal letters select the diagonal."""
    if len(letters) > len(array.labels):
        axes = f"the axes {', '.join(array.labels)}" if array.labels else "no axes"
        raise Undecided(f"{name} has {axes}, so it cannot have the indices {letters}")
    if not letters:
        return array
    kept = array.labels[: len(array.labels) - len(letters)]
    for letter, label in zip(letters, array.labels[len(kept) :], strict=True):
        axis = scope.axis_of.setdefault(letter, label)
        if axis != label:
            raise Unequal(f"{name}_{letters} has {letter} for the axis {label}, but {letter} runs over the axis {axis}")
    values, labels = array.values, [*kept, *letters]
    for letter in sorted(set(letters)):
        while labels.count(letter) > 1:
            first, second = [at for at, label in enumerate(labels) if label == letter][:2]
            values = np.moveaxis(np.diagonal(values, axis1=first, axis2=second), -1, first)
            del labels[second]
    return Array(values, tuple(labels), False)


def evaluate(node, scope) -> Array:
    """Evaluate an expression. Raises Unequal if matrices do not fit, and Undecided if it has no value."""
    found = name_of(node, scope.values)
    if found:
        name, letters = found
        return indexed(scope.values[name], letters, scope, name)
    worker = WORKERS.get(type(node))
    if worker is None:
        words = {n.Several: "a list of expressions"}.get(type(node), f"an expression of the kind {type(node).__name__}")
        raise Undecided(f"{words} cannot be evaluated in a derivation")
    return worker(node, scope)


def literal(node, scope):
    if node.text == "∞":
        raise Undecided("∞ has no digits")
    return number("0.5" if node.text == "½" else node.text)


def symbol(node, scope):
    if node.text == "π":
        return number(PI)
    base, _, letters = node.text.partition("_")
    if base == "δ" and len(letters) == 2:
        return compared(np.equal, *(counter(letter, scope) for letter in letters))
    raise Undecided(f"{node.text} has no value")


def counter(letter, scope):
    if letter not in scope.axis_of:
        raise Undecided(f"the index {letter} belongs to no axis")
    span = [decimal.Decimal(k) for k in range(scope.sizes[scope.axis_of[letter]])]
    return Array(np.array(span, dtype=object), (letter,), False)


def compared(relation, a, b):
    return combined(lambda x, y: np.where(relation(x, y), ONE, ZERO), a, b)


def added(node, scope):
    (sign, first), *rest = node.terms
    total = combined(np.multiply, number(sign), evaluate(first, scope))
    for sign, term in rest:
        total = combined(np.add if sign > 0 else np.subtract, total, evaluate(term, scope))
    return total


def beside(node, scope):
    """Multiply adjacent factors: as matrices if neither has indices, else entry by entry.

    Two vectors along the same axis are multiplied entry by entry, but `yᵀ dy` is their inner product.
    """
    product = evaluate(node.factors[0], scope)
    for before, factor in itertools.pairwise(node.factors):
        right = evaluate(factor, scope)
        is_plain = product.labels and right.labels and product.is_ordered and right.is_ordered
        if not is_plain or (product.labels == right.labels and len(right.labels) == 1):
            is_inner = is_plain and isinstance(before, n.Transpose)
            if is_plain and isinstance(factor, n.Transpose):
                raise Undecided("an outer product of two vectors: write it with indices")
            product = combined(np.multiply, product, right)
            product = summed(product, product.labels[0]) if is_inner else product
        else:
            product = matrix_product(product, right)
    return product


def power(node, scope):
    if node.base == n.Symbol("e") and name_of(node.base, scope.values) is None:
        return applied(FUNCTIONS["exp"], evaluate(node.exponent, scope))
    return combined(np.power, evaluate(node.base, scope), evaluate(node.exponent, scope))


def transposed(node, scope):
    a = evaluate(node.of, scope)
    if len(a.labels) < 2:
        return a
    *rest, second, last = a.labels
    return Array(np.swapaxes(a.values, -1, -2), (*rest, last, second), a.is_ordered)


def summand(node, index, scope):
    """Evaluate the argument of a sum or a mean. Its index may run over another axis outside of the sum."""
    inner = replace(scope, axis_of={i: axis for i, axis in scope.axis_of.items() if i not in index})
    infer_axes(node, inner)
    return evaluate(node, replace(inner, axis_of=scope.axis_of | inner.axis_of))


def total(node, scope):
    a = summand(node.of, node.index, scope)
    if not a.labels:
        raise Undecided("Σ of a number: it has no axis left to sum over")
    return functools.reduce(summed, node.index or a.labels[-1], a)


def infer_axes(node, scope):
    """Record in `scope` the axis over which each index of an expression runs."""
    found = name_of(node, scope.values)
    if found:
        name, letters = found
        labels = scope.values[name].labels
        for letter, label in zip(letters, labels[max(len(labels) - len(letters), 0) :], strict=False):
            scope.axis_of.setdefault(letter, label)
    for child in () if found else n.children(node):
        infer_axes(child, scope)


def norm(node, scope):
    a = evaluate(node.of, scope)
    return applied(lambda x: x.sqrt(), functools.reduce(summed, a.labels, combined(np.multiply, a, a)))


def call(node, scope):
    name, _, letters = node.function.text.partition("_")
    if name_of(node.function, scope.values) and len(node.arguments) == 1:  # y_i (1 − y_i) without the blank
        return beside(n.Beside((node.function, *node.arguments)), scope)
    arguments = [summand(argument, letters, scope) for argument in node.arguments]
    if node.transposed or name.startswith("d"):
        raise Undecided(f"the function {name} is unknown")
    if name in ("max", "min") and len(arguments) == 2:
        return combined(np.maximum if name == "max" else np.minimum, *arguments)
    if len(arguments) != 1 or name in ("max", "min"):
        raise Undecided(f"{name} does not take {len(arguments)} arguments here")
    if name == "mean":
        (a,) = arguments
        if not a.labels:
            raise Undecided("the mean of a number: it has no axis left")
        for label in letters or a.labels[-1]:
            a = combined(np.divide, summed(a, label), number(a.values.shape[a.labels.index(label)]))
        return a
    if name.endswith("′") and name[:-1] in FUNCTIONS:
        function = FUNCTIONS[name[:-1]]
        return applied(lambda x: (function(x + STEP) - function(x - STEP)) / (2 * STEP), arguments[0])
    if name not in FUNCTIONS:
        raise Undecided(f"the function {name} is unknown; known are {', '.join([*FUNCTIONS, 'mean', 'max', 'min'])}")
    return applied(FUNCTIONS[name], arguments[0])


def condition(node, scope):
    if node.relation not in COMPARISONS:
        raise Undecided("a condition needs a relation such as =, < or >")
    sides = (node.left, node.right)
    are_indices = all(isinstance(side, n.Symbol) and side.text not in scope.values for side in sides)
    values = [counter(side.text, scope) if are_indices else evaluate(side, scope) for side in sides]
    return compared(COMPARISONS[node.relation], *values)


def derivative(node, scope):
    """Return ∂of/∂by. For an elementwise function without indices, it is the Jacobian's diagonal."""
    by, j = name_of(node.by, scope.values) or (None, "")
    of, i = name_of(node.of, scope.values) or (None, "")
    if of is None and node.of == n.Symbol("L"):  # the loss
        return evaluate(n.Symbol(f"d{node.by.text}"), scope)
    if scope.derivative is None or by is None or (of is None and isinstance(node.of, n.Symbol)):
        raise Undecided("a derivative of, or with respect to, a name without a value")
    whole, name = scope.derivative(of or node.of, by), f"∂{of or '(…)'}/∂{by}"
    below = scope.values[by].labels
    above = whole.labels[: len(whole.labels) - len(below)]
    if len(j) == len(below) and (of is None or len(i) == len(above)):
        return indexed(whole, i + j, scope, name)
    if not (i or j or above):  # the derivative of a number
        return whole
    if not i + j and above == below:
        diagonal = indexed(whole, "".join(above) * 2, replace(scope, axis_of={}), name)
        if abs(whole.values).sum() == abs(diagonal.values).sum():  # an elementwise function
            return replace(diagonal, is_ordered=True)
    raise Undecided(f"{name} needs an index for each of its axes ({', '.join(above + below)})")


WORKERS = {
    n.Number: literal,
    n.Symbol: symbol,
    n.Sum: added,
    n.Dot: lambda node, scope: combined(np.multiply, evaluate(node.left, scope), evaluate(node.right, scope)),
    n.Beside: beside,
    n.Fraction: lambda node, scope: combined(np.divide, evaluate(node.above, scope), evaluate(node.below, scope)),
    n.Power: power,
    n.Transpose: transposed,
    n.Root: lambda node, scope: applied(lambda x: x.sqrt(), evaluate(node.of, scope)),
    n.Norm: norm,
    n.Total: total,
    n.Call: call,
    n.Condition: condition,
    n.Indicator: lambda node, scope: condition(node.condition, scope),
    n.Derivative: derivative,
}
