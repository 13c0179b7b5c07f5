"""What can be wrong with any gradient: a factor, an order, a product with what should not be in it.

These are about the numbers as they are, and say nothing of how they came about: "it is 2 × the right one".
"""

import itertools
import math

import numpy as np

from minitransformer.learn.catalogue.numbers import digits_of, equal


@np.errstate(all="ignore")
def as_a_whole(search, name):
    """Return in what way a wrong gradient is the right one, or another array, as a whole; or None."""
    given, truth, same = numbers_of(search, name)
    if not given.any():
        return "it is zero everywhere"
    for other in search.truth:
        if other != name and search.same(name, search.truth[other]):
            return f"it is what {other} should be"
    for other, value in arrays_of(search.textbook).items():
        if search.same(name, value):
            return f"it is {other}"
    return multiple_of(given, truth, search.textbook, same) or rearranged(given, truth, same)


@np.errstate(all="ignore")
def as_a_product(search, name):
    """Return of which arrays of the run a wrong gradient is a product, or by which it is off; or where it is wrong."""
    given, truth, same = numbers_of(search, name)
    if not np.isfinite(given).all():
        return None
    others = {other: value for other, value in search.truth.items() if other != name}
    known = arrays_of(search.textbook) | others
    return combined(given, truth, known, same) or in_some_places(given, truth, search.textbook, same)


def numbers_of(search, name):
    """Return a learner's gradient and the right one in float64, and what compares arrays to the learner's digits."""
    digits = digits_of(search.given[name])
    return search.given[name].astype(np.float64), search.truth[name], lambda a, b: equal(a, b, digits)


def arrays_of(textbook):
    """Return {name: value} of the arrays that a run of the textbook knows, without the gradients themselves."""
    return {
        name: value
        for name, value in textbook.values.items()
        if isinstance(value, np.ndarray) and value.dtype == np.float64 and value.size > 1
        if name not in textbook.truth and np.isfinite(value).all()
    }


def multiple_of(given, truth, textbook, same):
    """Return that it is the right one times a number, and what that number is."""
    c = ratio(given, truth, same)
    if c is None:
        return None
    if abs(c + 1) < 1e-6:
        return "it has the wrong sign: it is minus the right one"
    for value, text, what in numbers(textbook):
        if abs(abs(c) - value) <= 1e-6 * value:
            return f"it is {'minus ' if c < 0 else ''}{text} × the right one{what}"
    return f"it is {c:.6g} × the right one"


def numbers(textbook):
    """Yield (number, how it is written, what it is) for the sizes and options of a run."""
    yield from ((2.0, "2", ""), (0.5, "½", ""))
    for name, x in textbook.values.items():
        if isinstance(x, (int, float)) and not isinstance(x, bool) and x > 0 and x != 1:
            yield from ((x, name, ""), (1 / x, f"1/{name}", ""), (x**2, f"{name}²", ""), (x**-2, f"1/{name}²", ""))
    arguments = {name: value for name, value in textbook.arguments.items() if isinstance(value, np.ndarray)}
    sizes = {}
    for name, value in {**arguments, "dy": textbook.dy}.items():
        for axis, n in enumerate(value.shape):
            sizes.setdefault(n, f"the length of axis {axis} of {name}")
        sizes.setdefault(math.prod(value.shape[:-1]), f"the number of rows of {name}")
        sizes.setdefault(value.size, f"the number of entries of {name}")
    for n, what in sizes.items():
        if n > 1:
            what = f": {n} is {what}"
            yield from ((n, f"{n}", what), (1 / n, f"1/{n}", what), (n**0.5, f"√{n}", what), (n**-0.5, f"1/√{n}", what))


def rearranged(given, truth, same):
    """Return that it has the right entries in another order."""
    for axes in itertools.permutations(range(truth.ndim)):
        if sorted(axes) != list(axes) and same(given, truth.transpose(axes)):
            return "it is transposed"
    for axis in range(truth.ndim):
        for what, value in (("sum", truth.sum(axis, keepdims=True)), ("mean", truth.mean(axis, keepdims=True))):
            if truth.shape[axis] > 1 and same(given, np.broadcast_to(value, truth.shape)):
                return f"every entry is the {what} of the right ones along axis {axis}"
        if same(given, np.flip(truth, axis)):
            return f"it is in reverse along axis {axis}"
        for shift in (1, -1):
            if same(given, np.roll(truth, shift, axis)):
                return f"it is shifted by one along axis {axis}"
    return None


def combined(given, truth, known, same):
    """Return what it is a multiple of, or off by: one array of the run, or a product of two."""
    fitting = {name: np.broadcast_to(value, given.shape) for name, value in known.items() if fits(value, given.shape)}
    products = {f"{a} · {b}": fitting[a] * fitting[b] for a, b in itertools.combinations_with_replacement(fitting, 2)}
    for name, value in (fitting | products).items():
        for text, other in ((f"multiplied by {name}", truth * value), (f"divided by {name}", truth / value)):
            c = ratio(given, other, same)
            if c is not None:
                return f"it is the right one, {text}{times(c)}"
    for name, value in (fitting | products).items():
        c = ratio(given, value, same)
        if c is not None:
            return f"it is {name}{times(c)}, and nothing else"
    for name, value in fitting.items():
        c = ratio(given - truth, value, same)
        if c is not None:
            return f"it is off by {name}{times(c)}"
    return None


def in_some_places(given, truth, textbook, same):
    """Return where it is wrong, if that is in some places alone, which have a name."""
    right = np.abs(given - truth) <= 1e-9 * np.abs(truth).max()
    if not 2 <= right.sum() <= right.size - 2:
        return None
    return where_named(given, right, textbook, same) or along_an_axis(right)


def where_named(given, right, textbook, same):
    """Return that it is wrong where an array of True and False is one of the two."""
    for name, where in textbook.values.items():
        if isinstance(where, np.ndarray) and where.dtype == bool and fits(where, given.shape):
            for value in (True, False):
                wrong = np.broadcast_to(where, given.shape) == value
                if (right != wrong).all():
                    dy = textbook.dy if fits(textbook.dy, given.shape) else np.zeros(given.shape)
                    c = ratio(given[wrong], np.broadcast_to(dy, given.shape)[wrong], same)
                    return f"it is wrong where {name} is {value}" + ("" if c is None else f": there it is dy{times(c)}")
    return None


def along_an_axis(right):
    """Return that it is right, or wrong, at one place of an axis alone."""
    for axis in range(right.ndim):
        others = tuple(a for a in range(right.ndim) if a != axis)
        all_right, some_right = right.all(axis=others), right.any(axis=others)
        if len(all_right) > 2 and all_right.sum() == len(all_right) - 1:
            return f"it is wrong at place {int(np.argmin(all_right))} of axis {axis} alone, counted from 0"
        if len(all_right) > 2 and some_right.sum() == all_right.sum() == 1:
            return f"it is right at place {int(np.argmax(all_right))} of axis {axis} alone, counted from 0"
    return None


def fits(value, shape):
    """Whether an array can be broadcast to a shape, and says something."""
    try:
        return np.broadcast_shapes(value.shape, shape) == shape and value.min() != value.max()
    except ValueError:
        return False


def ratio(given, value, same):
    """Return c where given = c · value at all entries, at least three; else None."""
    square = float((value * value).sum())
    c = float((given * value).sum()) / square if square else 0.0
    return c if given.size > 2 and c and math.isfinite(c) and same(given, c * value) else None


def times(c):
    """Return ` × c`, or nothing for 1."""
    return "" if abs(c - 1) < 1e-6 else f" × {c:.6g}"
