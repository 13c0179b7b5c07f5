"""Mistakes of the whole gradient: it is zero, ignores dy, or is off by a factor."""

import itertools
import math
from fractions import Fraction

import numpy as np

from gradcheck.diagnosis.evidence import equal, joined, stream

LARGEST = 4  # numerator or denominator of a fraction that is reported


def identically_zero(evidence):
    """Detect a gradient that is zero everywhere.

    It passes every check whose true gradient is zero, such as that of a softmax for dy = 1.
    """
    if not evidence.given.any():
        return f"{evidence.label} is zero everywhere"
    return None


def not_finite(evidence):
    """Detect NaN and infinite entries.

    NaN results from 0 · inf, inf − inf and 0 / 0: for example, in a row that is completely masked, or from a norm of
    zero.
    """
    bad = ~np.isfinite(evidence.given)
    if not bad.any():
        return None
    kind = "NaN" if np.isnan(evidence.given).any() else "infinite"
    return f"{evidence.label} is {kind} at {np.sum(bad)} of {bad.size} entries"


def does_not_depend_on_dy(evidence):
    """Detect a gradient that is the same for another dy, because backward never reads dy.

    Such a backward pass treats the function as the last one of the program. Doubling dy would not be a sufficient test:
    dy / ‖dy‖ does not change, although backward reads dy.
    """
    other = evidence.dy * stream("another dy").uniform(2.0, 3.0, size=evidence.dy.shape)
    again = evidence.again(other)
    if again is not None and equal(again, evidence.given):
        return f"{evidence.label} does not depend on dy"
    return None


def not_linear_in_dy(evidence):
    """Detect a gradient that is not linear in dy.

    Every vector–Jacobian product is linear, so backward(2 dy) = 2 backward(dy) must hold.
    """
    again = evidence.again(2 * evidence.dy)
    if again is None or equal(again, 2 * evidence.given):
        return None
    return f"{evidence.label} is not linear in dy: for 2 dy it is not twice as large"


def off_by_a_factor(evidence):
    """Detect given = c · truth: a wrong sign, a size forgotten or applied twice, or a sum instead of a mean."""
    c = _factor(evidence)
    if c is None:
        return None
    if _close(c, -1.0, evidence):
        return f"{evidence.label} has its sign flipped: it is minus the truth"
    if evidence.dy.size == 1 and _close(c, evidence.dy.item(), evidence):
        return f"{evidence.label} equals dy × the truth: it is multiplied by dy once too often"
    return f"{evidence.label} is off by a constant factor"


def verified(evidence, other):
    """Return the sentence on a factor that also holds on another draw, or None if there is no such sentence.

    The sentence states the factor only if a known number explains it on both draws: a length, an option or another
    number of the call, or a small fraction.
    """
    sentence, c = off_by_a_factor(evidence), _factor(evidence)
    there = _factor(other)
    if there is None:
        return None
    if "constant" not in sentence:
        return sentence if off_by_a_factor(other) == sentence else None
    for candidates in (_candidates, _ratios):
        elsewhere = {key: value for key, value, *_ in candidates(other)}
        reasons_of = {}
        for key, value, symbol, reason in candidates(evidence):
            fits = value > 0 and value != 1 and _close(c, value, evidence)
            if fits and key in elsewhere and _close(there, elsewhere[key], other):
                reasons_of.setdefault(symbol, []).append(reason)
        if reasons_of:
            (symbol, reasons), *others = reasons_of.items()
            reasons = reasons[:2] + [f"{also}, where {reason}" for also, several in others for reason in several[:1]]
            return f"{evidence.label} equals {symbol} × the truth: {'; or '.join(dict.fromkeys(reasons))}"
    truth = np.abs(evidence.truth[evidence.known])
    if not _close(c, there, evidence) or np.sum(truth > 1e-6 * np.max(truth)) < 2:
        return None  # it depends on the inputs, or the truth is one number, of which every number is a multiple
    fraction = Fraction(c).limit_denominator(LARGEST)
    is_small = abs(fraction.numerator) <= LARGEST and _close(c, float(fraction), evidence)
    return f"{evidence.label} equals {fraction} × the truth" if is_small else sentence


def _factor(evidence):
    """Return c if given = c · truth and c is neither 0 nor 1, else None."""
    mask = evidence.known
    given, truth = evidence.given[mask], evidence.truth[mask]
    square = float(np.dot(truth, truth))
    c = float(np.dot(given, truth)) / square if square else 0.0
    if (
        c == 0
        or not math.isfinite(c)
        or _close(c, 1.0, evidence)
        or not evidence.same(evidence.given, c * evidence.truth)
    ):
        return None
    return c


def _candidates(evidence):
    """Yield (key, value, symbol, reason) for every number that may be the factor.

    The key is the same on other draws, and the value need not be.
    """
    twice = "added or accumulated twice" if evidence.is_parameter else "added twice, or a factor 2 too many"
    yield "2", 2.0, "2", twice
    yield "1/2", 0.5, "1/2", "a factor 2 is missing, or one of two equal terms"
    for n, what in _sizes(evidence):
        yield ("n", what), float(n), f"{n}", f"{n} is {what} (a sum where a mean belongs?)"
        yield ("1/n", what), 1 / n, f"1/{n}", f"{n} is {what} (a mean where a sum belongs?)"
        yield ("√n", what), n**0.5, f"√{n}", f"{n} is {what}"
        yield ("1/√n", what), n**-0.5, f"1/√{n}", f"{n} is {what}"
        yield ("n²", what), n**2.0, f"{n}²", f"{n} is {what}"
        yield ("1/n²", what), n**-2.0, f"1/{n}²", f"{n} is {what}"
        if n > 2:
            yield ("n/(n-1)", what), n / (n - 1), f"{n}/{n - 1}", f"{n} is {what} (n − 1 where n belongs?)"
            yield ("(n-1)/n", what), (n - 1) / n, f"{n - 1}/{n}", f"{n} is {what} (n where n − 1 belongs?)"
    for name, value in evidence.numbers():
        if value:
            yield name, abs(value), name, f"{name} is {value:g}"
            yield f"1/{name}", 1 / abs(value), f"1/{name}", f"{name} is {value:g}"
            yield f"{name}²", value * value, f"{name}²", f"{name} is {value:g}"
            if value < 1:
                yield f"1-{name}", 1 - value, f"(1 − {name})", f"{name} is {value:g}"
                yield f"1/(1-{name})", 1 / (1 - value), f"1/(1 − {name})", f"{name} is {value:g}"
    for name, array in evidence.arrays("bi"):
        counted = array if array.dtype.kind == "b" else array >= 0
        n, size = int(np.sum(counted)), array.size
        if 0 < n < size:
            what = f"{n} of the {size} entries of {name} are {'True' if array.dtype.kind == 'b' else 'not negative'}"
            yield ("n/size", name), n / size, f"{n}/{size}", what
            yield ("size/n", name), size / n, f"{size}/{n}", what
            yield ("n", name), float(n), f"{n}", what
            yield ("1/n", name), 1 / n, f"1/{n}", what


def _ratios(evidence):
    """Yield (key, value, symbol, reason) for each ratio of the lengths of two axes."""
    for (n, what), (m, other) in itertools.permutations(_lengths(evidence).items(), 2):
        if n > 1 and m > 1:
            what, other = joined(what[:2]), joined(other[:2])
            reason = f"{n} is {what}, and {m} is {other} (one in the place of the other?)"
            yield (what, other), n / m, f"{n}/{m}", reason


def _sizes(evidence):
    """Yield (n, description) for the length of each axis of each array, and for the numbers of rows and of entries.

    Sizes of 1 are omitted.
    """
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
        for what in whats if n > 1 else ():
            yield n, what


def _lengths(evidence):
    """Return {n: [description of an axis of length n]} for the axes of the gradient, y and all arrays of the call."""
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
