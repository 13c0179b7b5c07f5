"""What can be wrong with any gradient: a factor, an order, a product with what should not be in it.

These are about the numbers as they are, and say nothing of how they came about: "it is 2 × the right one".
"""

import itertools
import math

import numpy as np


@np.errstate(all="ignore")
def about_the_whole(name, given, textbook, same):
    """Return words about one wrong gradient, found from its numbers alone, or None."""
    truth, known = textbook.truth[name], arrays_of(textbook, name)
    if not given.any():
        return "it is zero everywhere"
    for other, value in textbook.truth.items():
        if other != name and same(given, value):
            return f"it is what {other} should be"
    for other, value in known.items():
        if value.shape == given.shape and same(given, value):
            return f"it is {other}"
    return (
        multiple_of(given, truth, textbook, same)
        or rearranged(given, truth, same)
        or combined(given, truth, known, same)
    )


def arrays_of(textbook, name):
    """Return {name: value} of the arrays that a run of the textbook knows, without the gradients themselves."""
    return {
        other: value
        for other, value in textbook.values.items()
        if isinstance(value, np.ndarray) and value.dtype == np.float64 and value.size > 1
        if other not in textbook.truth and np.isfinite(value).all()
    }


def multiple_of(given, truth, textbook, same):
    """Return that it is the right one times a number, and what that number is."""
    square = float((truth * truth).sum())
    c = float((given * truth).sum()) / square if square else 0.0
    if not c or not math.isfinite(c) or not same(given, c * truth):
        return None
    if abs(c + 1) < 1e-6:
        return "it has the wrong sign: it is minus the right one"
    for value, text in numbers(textbook):
        if abs(abs(c) - value) <= 1e-6 * value:
            return f"it is {'minus ' if c < 0 else ''}{text} × the right one"
    return f"it is {c:.6g} × the right one"


def numbers(textbook):
    """Yield (number, how it is written) for the sizes and options of a run."""
    yield from ((2.0, "2"), (0.5, "½"))
    options = {n: v for n, v in textbook.values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    for name, value in options.items():
        if value > 0 and value != 1:
            yield from ((value, name), (1 / value, f"1/{name}"), (value**2, f"{name}²"), (value**-2, f"1/{name}²"))
    arguments = {name: value for name, value in textbook.arguments.items() if isinstance(value, np.ndarray)}
    sizes = {}
    for name, value in {**arguments, "dy": textbook.dy}.items():
        for axis, n in enumerate(value.shape):
            sizes.setdefault(n, f"the length of axis {axis} of {name}")
        if value.ndim > 2:
            sizes.setdefault(math.prod(value.shape[:-1]), f"the number of rows of {name}")
        sizes.setdefault(value.size, f"the number of entries of {name}")
    for n, what in sizes.items():
        if n > 1:
            yield from ((n, f"{n}, {what},"), (1 / n, f"1/{n}, {n} being {what},"))
            yield from ((n**0.5, f"√{n}, {n} being {what},"), (n**-0.5, f"1/√{n}, {n} being {what},"))


def rearranged(given, truth, same):
    """Return that it has the right entries in another order."""
    for axes in itertools.permutations(range(truth.ndim)):
        if (
            sorted(axes) != list(axes)
            and truth.transpose(axes).shape == given.shape
            and same(given, truth.transpose(axes))
        ):
            return "it is transposed"
    for axis in range(truth.ndim):
        if same(given, np.flip(truth, axis)):
            return f"it is in reverse along axis {axis}"
        for shift in (1, -1):
            if same(given, np.roll(truth, shift, axis)):
                return f"it is shifted by one along axis {axis}"
    return None


def combined(given, truth, known, same):
    """Return what it is a multiple of, or off by: one array of the run, or a product of two."""
    fitting = {name: np.broadcast_to(value, given.shape) for name, value in known.items() if fits(value, given.shape)}
    for name, value in fitting.items():
        for text, other in ((f"multiplied by {name}", truth * value), (f"divided by {name}", truth / value)):
            c = ratio(given, other, same)
            if c is not None:
                return f"it is the right one, {text}{times(c)}"
    products = {f"{a} · {b}": fitting[a] * fitting[b] for a, b in itertools.combinations_with_replacement(fitting, 2)}
    for name, value in (fitting | products).items():
        c = ratio(given, value, same)
        if c is not None:
            return f"it is {name}{times(c)}, and nothing else"
    for name, value in fitting.items():
        c = ratio(given - truth, value, same)
        if c is not None:
            return f"it is off by {name}{times(c)}"
    return None


def fits(value, shape):
    """Whether an array can be broadcast to a shape, and says something."""
    try:
        return np.broadcast_shapes(value.shape, shape) == shape and np.ptp(value) > 0
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
