"""Detect relations of a gradient to the true gradient, to dy and to other gradients."""

import numpy as np

from gradcheck.call import stream
from gradcheck.diagnosis.evidence import spread
from gradcheck.mistakes import Explanation

SMALL = 1e-4  # relative to the largest entry: most missing terms and factors are a thousand times as large
FEW = 3  # smallest number of entries that allow a conclusion

# Observations on the numbers of this draw


def identically_zero(evidence):
    zero = Explanation(f"{evidence.label} is zero everywhere", "gradient replaced by zeros")
    return None if evidence.given.any() else zero


def not_finite(evidence):
    bad = ~np.isfinite(evidence.given)
    kind = "NaN" if np.isnan(evidence.given).any() else "infinite"
    sentence = f"{evidence.label} is {kind} at {np.sum(bad)} of {bad.size} entries"
    return Explanation(sentence, "not finite") if bad.any() else None


def does_not_depend_on_dy(evidence):
    # Doubling dy would not be a sufficient test: a backward pass that reads only dy / ‖dy‖ gives the same result.
    again = evidence.again(evidence.dy * stream(0, "another dy").uniform(2.0, 3.0, size=evidence.dy.shape))
    if again is None or not _equal(again, evidence.given):
        return None
    return Explanation(f"{evidence.label} does not depend on dy", "dy ignored")


def not_linear_in_dy(evidence):
    again = evidence.again(2 * evidence.dy)
    if again is None or _equal(again, 2 * evidence.given):
        return None
    return Explanation(f"{evidence.label} is not linear in dy: for 2 dy it is not twice as large", "not linear")


def _equal(a, b):
    return bool(np.allclose(a, b, rtol=0, atol=1e-12 * np.max(np.abs(b), initial=0.0), equal_nan=True))


def off_by_little(evidence):
    is_enough = np.sum(np.abs(evidence.truth[evidence.known]) > SMALL * evidence.size) >= FEW
    if not evidence.is_told or not evidence.wrong(1).any() or not is_enough:
        return None
    share = float(np.max(np.abs(evidence.error[evidence.known])) / evidence.size)
    where = "" if evidence.is_complete else " where it was compared"
    sentence = (
        f"{evidence.label} is off by no more than {share:.1g} of its size{where}: perhaps by a rounded "
        "constant, an ε that the forward pass does not have, or a computation in float32"
    )
    return Explanation(sentence, "off by little") if share <= SMALL else None


# Relations, reported only if they hold on another draw as well


def of_another_argument(evidence):
    """Detect a gradient that equals the true gradient of another argument."""
    for other in evidence.others:
        if other is evidence or other.given.shape != evidence.given.shape or not other.is_complete:
            continue
        if evidence.same(evidence.given, other.truth):
            if evidence.same(evidence.given, -evidence.truth):
                flipped = f"{evidence.label} has its sign flipped, or is that of {other.name}, which is minus the truth"
                return Explanation(flipped, "sign flipped")
            sentence = f"{evidence.label} equals the true {other.label}"
            if other.same(other.given, evidence.truth):
                sentence = f"{evidence.label} and {other.label} have each other's values"
            return Explanation(sentence, "gradients exchanged", other.label)
    return None


def multiple_along_an_axis(evidence):
    """Detect an error that is constant along an axis, or a multiple of an array."""
    for axis in reversed(range(evidence.given.ndim)) if evidence.is_complete else ():
        for name, columns in _profiles(evidence, axis):
            is_long = evidence.given.shape[axis] > 2 * len(columns) - 1
            if not is_long or not _fits(evidence, evidence.error, columns, axis):
                continue
            if not _fits(evidence, evidence.truth, columns, axis):
                terms = f"a multiple of {name}" if len(columns) == 1 else f"a constant and a multiple of {name}"
                missing = f"a term such as {name} * sum(...) is missing or wrong"
                if not name:
                    terms, missing = "a constant", "a sum or mean over it is missing or wrong"
                return Explanation(f"{evidence.label} is off by {terms} along axis {axis}: {missing}", "term dropped")
    return None


def _profiles(evidence, axis):
    """Return candidates for an error along an axis, as a list of (name, columns)."""
    shape = evidence.given.shape
    named = [("y", evidence.y), ("exp(y)", np.exp(evidence.y))] if evidence.y.shape == shape else []
    for name, array in evidence.arrays():
        p = spread(array, shape)
        if p is not None:
            named += [(name, p), (f"({name} - mean({name}))", p - p.mean(axis=axis, keepdims=True))]
    ones = np.ones(shape)
    return [("", [ones]), *((name, [p]) for name, p in named), *((name, [p, ones]) for name, p in named)]


def _fits(evidence, array, columns, axis):
    """Return True if each slice along `axis` is a linear combination of the columns."""
    basis = np.stack([np.moveaxis(column, axis, -1) for column in columns], axis=-1)
    if not np.all(np.isfinite(basis)) or not basis.any():
        return False
    fitted = basis @ (np.linalg.pinv(basis) @ np.moveaxis(array, axis, -1)[..., None])
    return evidence.same(np.moveaxis(fitted[..., 0], -1, axis), array)
