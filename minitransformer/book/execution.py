"""Evaluate expressions of the notation with NumPy, given the values of the names.

An expression with indices is evaluated once for each combination of indices. This is slow but simple, and the arrays of
the book have only a few dozen entries.
"""

import itertools
import math
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import erf

from minitransformer.book import notation as n

FUNCTIONS = {"exp": np.exp, "log": np.log, "tanh": np.tanh, "cos": np.cos, "sin": np.sin, "erf": erf}
CONSTANTS = {"π": np.pi}
POSITIONS = "p"  # the index of positions, the first axis
KEPT = {POSITIONS: 1, "batch": 2}  # the number of last axes over which Σ_p and Σ_batch do not sum
MOST = 20_000  # largest number of combinations of indices, and largest length of a range


class NotExecuted(Exception):  # noqa: N818
    """An expression cannot be evaluated. The message gives the reason."""


@dataclass
class Surroundings:
    """The values that are needed to evaluate an expression."""

    values: dict  # {name: value}
    backwards: dict = field(default_factory=dict)  # {name of a function: its backward function}
    derivative: object = None  # function (of, by) that returns ∂of/∂by, given their names
    ranges: dict = field(default_factory=dict)  # {index: range} for the ranges that are written after an equation
    at: dict = field(default_factory=dict)  # {index: current value}

    def with_indices(self, at):
        return replace(self, at={**self.at, **at})


def both_sides(left, right, surroundings):
    """Evaluate both sides of an equation for all values of the free indices. Return two flattened arrays."""
    free = {**index_ranges(left, surroundings), **index_ranges(right, surroundings)}
    bound = {node.index for side in (left, right) for node in n.every_node(side) if isinstance(node, n.Total)}
    names = [name for name in free if name not in bound or name in indices_of(left)]
    if math.prod(len(free[name]) for name in names) > MOST:
        raise NotExecuted(f"its indices have more than {MOST:,} combinations of values")
    values = ([], [])
    for at in itertools.product(*(free[name] for name in names)):
        here = surroundings.with_indices(dict(zip(names, at, strict=True)))
        for side, found in zip((left, right), values, strict=True):
            found += map(np.ravel, parts(evaluate(side, here)))
    if not values[0]:
        raise NotExecuted("an index has no range")
    return tuple(map(np.concatenate, values))


def parts(value):
    return value if isinstance(value, tuple) else (value,)


def indices_of(node):
    if isinstance(node, n.Symbol):
        return set(node.subscript)
    below = set().union(*(indices_of(child) for child in n.children(node)), set())
    return below - {node.index} if isinstance(node, n.Total) else below


def index_ranges(node, surroundings):
    found = {}
    for below in n.every_node(node):
        if isinstance(below, n.Symbol) and below.text not in surroundings.values and below.subscript:
            if below.base == "δ" or below.base not in surroundings.values:
                continue
            shape = np.shape(surroundings.values[below.base])
            for letter, axis in zip(below.subscript, axes(below.subscript, len(shape)), strict=True):
                if letter not in surroundings.values:
                    found[letter] = surroundings.ranges.get(letter, range(shape[axis]))
                    if len(found[letter]) != shape[axis]:
                        raise ValueError(f"{letter} has {len(found[letter])} values, but its axis {shape[axis]}")
        if isinstance(below, n.Entry):
            for entry, length in zip(below.at, np.shape(surroundings.values.get(below.of.text, ())), strict=False):
                if isinstance(entry, n.Symbol) and entry.text not in surroundings.values and not entry.subscript:
                    found[entry.text] = range(length)
    return found


def axes(letters, ndim):
    """Return the axis of each index. p counts the first axis, and other indices the last axes in order."""
    if len(letters) > ndim:
        raise NotExecuted(f"an array of {ndim} axes cannot have {len(letters)} indices")
    where = [ndim - len(letters) + k for k in range(len(letters))]
    if letters[0] == POSITIONS:
        where[0] = 0
    return where


def evaluate(node, here):
    """Evaluate a node to an array, a number or a tuple. Raises NotExecuted if it has no value."""
    if type(node) not in WORKERS:
        raise NotExecuted(f"a {type(node).__name__.lower()} has no value")
    return WORKERS[type(node)](node, here)


def number(node, here):
    if node.text == "½":
        return 0.5
    return np.inf if node.text == "∞" else float(node.text)


def symbol(node, here):
    if node.text in here.at:
        return here.at[node.text]
    if node.text in here.values:
        return without_kept_axis(here.values[node.text], here)
    if node.base == "δ" and len(node.subscript) == 2:
        i, j = (place_of_index(letter, here) for letter in node.subscript)
        return float(i == j)
    if node.subscript and node.base in here.values:
        return entry_of(here.values[node.base], node.subscript, here)
    if node.text in CONSTANTS:
        return CONSTANTS[node.text]
    if node.text.endswith("′") and node.text[:-1] in here.values:  # the derivative of an elementwise function of x
        return derivative(n.Derivative(n.Symbol(node.text[:-1]), n.Symbol("x")), here)
    raise NotExecuted(f"{node.text} has no value")


def entry_of(array, letters, here):
    at = [slice(None)] * np.ndim(array)
    for letter, axis in zip(letters, axes(letters, np.ndim(array)), strict=True):
        where = place_of_index(letter, here)
        at[axis] = where - here.ranges[letter][0] if letter in here.ranges else where
    return array[tuple(at)]


def without_kept_axis(value, here):
    return value[..., 0] if here.at and np.ndim(value) > 1 and np.shape(value)[-1] == 1 else value


def place_of_index(letter, here):
    where = here.at.get(letter, here.values.get(letter))
    if where is None:
        raise NotExecuted(f"the index {letter} has no range")
    return where


def beside(node, here):
    value = factor(node.factors[0], here)
    for right in (factor(part, here) for part in node.factors[1:]):
        both = np.ndim(value) > 1 and (np.ndim(right) > 1 or np.shape(right) == np.shape(value)[-1:])
        if np.ndim(value) == 1 and np.ndim(right) == 2 and len(right) == 1:
            value, both = value[:, None], True  # a column times a row
        alone = not both and not here.at
        if alone and np.ndim(value) and np.ndim(right) and np.size(value) > 1 and np.size(right) > 1:
            raise NotExecuted("adjacent arrays must be matrices; write a dot for an elementwise product")
        value = value @ right if both else value * right
    return value


def total(node, here):
    body = node.of
    if not node.index:
        return without_kept_axis(np.sum(evaluate(body, here), axis=-1, keepdims=True), here)
    if node.index in indices_of(body) or node.index in here.ranges:
        span = index_ranges(body, here).get(node.index, here.ranges.get(node.index))
        if span is None:
            raise NotExecuted(f"the index {node.index} of Σ has no range")
        return sum(evaluate(body, here.with_indices({node.index: k})) for k in span)
    if node.index not in KEPT:
        raise NotExecuted(f"the index {node.index} of Σ does not occur in the summand")
    value = np.asarray(evaluate(body, here))
    return value.sum(axis=tuple(range(value.ndim - KEPT[node.index])))


def call(node, here):
    name = node.function.text
    if node.transposed:
        if name not in here.backwards:
            raise NotExecuted(f"the backward of {name} is not available")
        return here.backwards[name](*(evaluate(argument, here) for argument in node.arguments))
    arguments = [evaluate(argument, here) for argument in node.arguments]
    if name in here.values:
        return here.values[name](*arguments)
    if name.endswith("′") and name[:-1] in here.values:
        return here.values[name[:-1]](arguments[0] + 1e-30j).imag / 1e-30
    if name == "mean":
        return without_kept_axis(np.mean(arguments[0], axis=-1, keepdims=True), here)
    if name in ("min", "max"):
        return (np.minimum if name == "min" else np.maximum)(*arguments)
    if name in FUNCTIONS:
        return FUNCTIONS[name](*arguments)
    raise NotExecuted(f"the function {name} is unknown")


def entry(node, here):
    array = evaluate(node.of, here)
    return array[tuple(np.asarray(evaluate(at, here), dtype=int) for at in node.at)]


def holds(node, here):
    left = evaluate(node.left, here)
    if not node.relation:
        return np.asarray(left, dtype=bool)
    return COMPARISONS[node.relation](left, evaluate(node.right, here))


def derivative(node, here):
    if here.derivative is None:
        raise NotExecuted("derivatives are not available")
    of = node.of.base if isinstance(node.of, n.Power) else node.of
    value = of.base if of is node.of else f"{of.text}²"
    whole = here.derivative(value, node.by.base if indexed(node.by, here) else node.by.text)
    letters = "".join(name.subscript for name in (of, node.by) if indexed(name, here))
    if not letters and whole.ndim == 2:  # an elementwise function
        return np.diagonal(whole)
    whole = np.squeeze(whole)
    if len(letters) != whole.ndim:
        raise NotExecuted(f"a derivative of {whole.ndim} axes must have as many indices, not {len(letters)}")
    return whole[tuple(place_of_index(letter, here) for letter in letters)]


def indexed(node, here):
    return bool(node.subscript) and node.text not in here.values


def factor(node, here):
    """Evaluate a factor of a product. A transposed vector becomes a row of shape (1, n)."""
    value = evaluate(node.of if isinstance(node, n.Transpose) else node, here)
    is_row = isinstance(node, n.Transpose) and np.ndim(value) == 1
    return value[None, :] if is_row else evaluate(node, here)


def from_first_to_last(node, here):
    first, last = int(evaluate(node.first, here)), int(evaluate(node.last, here))
    if last - first >= MOST:
        raise NotExecuted(f"a range may have at most {MOST:,} numbers")
    return np.arange(first, last + 1)


RELATIONS = (np.equal, np.not_equal, np.less_equal, np.less, np.greater_equal, np.greater)
COMPARISONS = dict(zip("=≠≤<≥>", RELATIONS, strict=True))
WORKERS = {
    n.Number: number,
    n.Symbol: symbol,
    n.Sum: lambda node, here: sum(sign * evaluate(term, here) for sign, term in node.terms),
    n.Dot: lambda node, here: evaluate(node.left, here) * evaluate(node.right, here),
    n.Beside: beside,
    n.Fraction: lambda node, here: evaluate(node.above, here) / evaluate(node.below, here),
    n.Power: lambda node, here: evaluate(node.base, here) ** evaluate(node.exponent, here),
    n.Transpose: lambda node, here: np.swapaxes(evaluate(node.of, here), -1, -2),
    n.Root: lambda node, here: np.sqrt(evaluate(node.of, here)),
    n.Norm: lambda node, here: np.linalg.norm(np.ravel(evaluate(node.of, here))),
    n.Total: total,
    n.Call: call,
    n.Entry: entry,
    n.Condition: holds,
    n.Indicator: lambda node, here: holds(node.condition, here) * 1.0,
    n.Derivative: derivative,
    n.Where: lambda node, here: np.where(
        holds(node.condition, here), evaluate(node.value, here), evaluate(node.otherwise, here)
    ),
    n.Several: lambda node, here: tuple(part for entry in node.of for part in parts(evaluate(entry, here))),
    n.Range: from_first_to_last,
}
