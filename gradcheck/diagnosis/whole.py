"""Mistakes of the whole gradient: it is zero, ignores dy, or is off by a factor."""

import itertools
import math

import numpy as np

from gradcheck.diagnosis.evidence import equal, joined, stream


def identically_zero(evidence):
    """Zeros pass every check whose true gradient is zero, as a softmax's is for dy = 1."""
    if not evidence.given.any():
        return f"{evidence.label} is zero everywhere"
    return None


def not_finite(evidence):
    """NaN comes from 0 · inf, inf − inf and 0 / 0: a row masked throughout, a norm of zero."""
    bad = ~np.isfinite(evidence.given)
    if not bad.any():
        return None
    kind = "NaN" if np.isnan(evidence.given).any() else "infinite"
    return f"{evidence.label} is {kind} at {np.sum(bad)} of {bad.size} entries"


def does_not_depend_on_dy(evidence):
    """Another dy, and the same gradient: then backward never reads dy, as if the function were the end of the program.

    A dy twice as large, and the same gradient, would not do: dy / ‖dy‖ is read, though not as it should be.
    """
    other = evidence.dy * stream("another dy").uniform(2.0, 3.0, size=evidence.dy.shape)
    again = evidence.again(other)
    if again is not None and equal(again, evidence.given):
        return f"{evidence.label} does not depend on dy"
    return None


def not_linear_in_dy(evidence):
    """Every vector–Jacobian product is linear: backward(2 dy) = 2 backward(dy)."""
    again = evidence.again(2 * evidence.dy)
    if again is None or equal(again, 2 * evidence.given):
        return None
    return f"{evidence.label} is not linear in dy: for 2 dy it is not twice as large"


def off_by_a_factor(evidence):
    """given = c · truth with one number c: a sign, a size forgotten or applied twice, a sum for a mean."""
    mask = evidence.known
    given, truth = evidence.given[mask], evidence.truth[mask]
    square = float(np.dot(truth, truth))
    if not square:
        return None
    c = float(np.dot(given, truth)) / square
    if (
        not math.isfinite(c)
        or c == 0
        or _close(c, 1.0, evidence)
        or not evidence.same(evidence.given, c * evidence.truth)
    ):
        return None
    if _close(c, -1.0, evidence):
        return f"{evidence.label} has its sign flipped: it is minus the truth"
    if evidence.dy.size == 1 and _close(c, evidence.dy.item(), evidence):
        return f"{evidence.label} equals dy × the truth: it is multiplied by dy once too often"
    named = _names(c, evidence)
    if named is None and np.sum(np.abs(truth) > 1e-6 * np.max(np.abs(truth))) < 2:
        return None  # one number is always a multiple of another
    return f"{evidence.label} equals {named or f'{c:.{_digits(c)}g} × the truth'}"


def _digits(c):
    """Return how many digits tell a factor from 1: six, most often."""
    return max(6, 2 - math.floor(math.log10(abs(c - 1) or 1.0)))


def _names(c, evidence):
    """Return `5 × the truth: 5 is ...` for a positive factor that is a number in play; or None."""
    for candidates in (_candidates(evidence), _ratios(evidence)):
        reasons_of = {}
        for value, symbol, reason in candidates:
            if value > 0 and value != 1 and _close(c, value, evidence):
                reasons_of.setdefault(symbol, []).append(reason)
        if reasons_of:
            break
    else:
        return None
    (symbol, reasons), *others = reasons_of.items()
    reasons += [f"{other}, where {reason}" for other, several in others for reason in several]
    return f"{symbol} × the truth: {'; or '.join(dict.fromkeys(reasons))}"


def _candidates(evidence):
    """Yield (value, how it is written, what it is) for every number in play."""
    twice = "added or accumulated twice" if evidence.is_parameter else "added twice, or a factor 2 too many"
    yield 2.0, "2", twice
    yield 0.5, "1/2", "a factor 2 is missing, or one of two equal terms"
    sizes = dict(_sizes(evidence))
    for n, what in sizes.items():
        yield float(n), f"{n}", f"{n} is {what} (a sum where a mean belongs?)"
        yield 1 / n, f"1/{n}", f"{n} is {what} (a mean where a sum belongs?)"
        yield n**0.5, f"√{n}", f"{n} is {what}"
        yield n**-0.5, f"1/√{n}", f"{n} is {what}"
        yield n**2.0, f"{n}²", f"{n} is {what}"
        yield n**-2.0, f"1/{n}²", f"{n} is {what}"
        if n > 2 and n - 1 not in sizes:
            yield n / (n - 1), f"{n}/{n - 1}", f"{n} is {what} (n − 1 where n belongs?)"
            yield (n - 1) / n, f"{n - 1}/{n}", f"{n} is {what} (n where n − 1 belongs?)"
    for name, value in evidence.numbers():
        if value:
            yield abs(value), name, f"{name} is {value:g}"
            yield 1 / abs(value), f"1/{name}", f"{name} is {value:g}"
            yield value * value, f"{name}²", f"{name} is {value:g}"
            if value < 1:
                yield 1 - value, f"(1 − {name})", f"{name} is {value:g}"
                yield 1 / (1 - value), f"1/(1 − {name})", f"{name} is {value:g}"
    for name, array in evidence.arrays("bi"):
        counted = array if array.dtype.kind == "b" else array >= 0
        n, size = int(np.sum(counted)), array.size
        if 0 < n < size:
            what = f"{n} of the {size} entries of {name} are {'True' if array.dtype.kind == 'b' else 'not negative'}"
            yield n / size, f"{n}/{size}", what
            yield size / n, f"{size}/{n}", what
            yield float(n), f"{n}", what
            yield 1 / n, f"1/{n}", what


def _ratios(evidence):
    """Yield likewise for the length of one axis over that of another."""
    for (n, what), (m, other) in itertools.permutations(_lengths(evidence).items(), 2):
        if n > 1 and m > 1:
            yield (
                n / m,
                f"{n}/{m}",
                f"{n} is {joined(what[:2])}, and {m} is {joined(other[:2])} (one in the place of the other?)",
            )


def _sizes(evidence):
    """Yield (n, what it is) for the length of each axis in play, and the numbers of rows and of entries."""
    sources = _lengths(evidence)
    for name, array in _arrays(evidence).items():
        if array.ndim > 1:
            rows = array.size // max(array.shape[-1], 1)
            sources.setdefault(rows, []).append(f"the number of rows of {name}")
            sources.setdefault(array.size, []).append(f"the number of entries of {name}")
    each, rest = divmod(evidence.y.size, max(evidence.given.size, 1))
    if not rest:
        sources.setdefault(each, []).append(f"the number of entries of y for each of {evidence.name}")
    for n, whats in sources.items():
        if n > 1:
            yield n, joined(whats[:2])


def _lengths(evidence):
    """Return {n: [what has this length]} for the axes of all arrays in play."""
    sources = {}
    for name, array in _arrays(evidence).items():
        for axis, n in enumerate(array.shape):
            sources.setdefault(n, []).append(f"the length of axis {axis} of {name}")
    return sources


def _arrays(evidence):
    arrays = {evidence.name: evidence.given, "y": evidence.y}
    return arrays | {name: array for name, array in evidence.arrays("fbi") if name not in arrays}


def _close(a, b, evidence):
    return abs(a - b) <= 10 * evidence.resolution * abs(b)
