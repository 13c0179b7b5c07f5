"""Detect a mistake that affects only some entries, such as those outside a mask.

The set W of wrong entries is compared with sets S that have a simple description. The smallest S with the following
properties is reported: S contains W but not all known entries, W is at least half of S, and the true gradient is zero
at the other entries of S. No set is reported if the true gradient is zero everywhere outside W, as for a ReLU, or if
the errors outside W are more than a hundredth of those in W.
"""

import numpy as np

from gradcheck.diagnosis.evidence import EXACT, spread
from gradcheck.mistakes import Explanation


def wrong_on_a_slice(evidence):
    """Detect a gradient that is wrong only at some entries, and describe which."""
    wrong = evidence.wrong()
    right = evidence.known & ~wrong
    zero = evidence.known & (np.abs(evidence.truth) <= EXACT * evidence.size)
    error = np.abs(evidence.error)
    if not wrong.any() or not np.any(right & ~zero):
        return None
    if np.max(error[right]) > 1e-2 * np.min(np.where(np.isfinite(error[wrong]), error[wrong], np.inf)):
        return None
    found = []
    for text, mask in (*_masks(evidence), *_indices(evidence), *_box(wrong), *_signs(evidence)):
        place = mask & evidence.known
        is_all = np.array_equal(place, evidence.known)
        if not (is_all or np.any(wrong & ~place) or np.any(place & right & ~zero)) and 2 * wrong.sum() >= place.sum():
            found.append((int(place.sum()), len(found), text))
    if not found:
        return None
    given, truth = evidence.given[wrong], evidence.truth[wrong]
    there = ""
    if not given.any():
        there = ", where it is zero and the truth is not"
    elif np.max(np.abs(truth)) <= 10 * evidence.resolution * np.max(np.abs(evidence.given[evidence.known])):
        there = ", where the truth is zero"
    return Explanation(f"{evidence.label} differs only {min(found)[2]}{there}", "some entries wrong")


def _masks(evidence):
    """Yield (description, mask) for the boolean arrays of the call, broadcast to the gradient."""
    shape = evidence.given.shape
    for name, mask in evidence.arrays("b"):
        lengthened = mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim))
        for aligned in [spread(mask, shape), spread(lengthened, shape)] if mask.size > 1 else ():
            if aligned is not None:
                yield f"where {name} is False", ~aligned
                yield f"where {name} is True", aligned
                break


def _indices(evidence):
    """Yield (description, mask) for the entries that integer arrays of the call select."""
    shape = evidence.given.shape
    for name, ids in evidence.arrays("iu"):
        if ids.shape == shape[: ids.ndim] and ids.ndim < len(shape):
            lengthened = ids.reshape(ids.shape + (1,) * (len(shape) - ids.ndim))
            aligned = np.broadcast_to(lengthened, shape)
            yield f"where {name} is negative", aligned < 0
            if ids.ndim == len(shape) - 1:
                yield f"at the entries that {name} picks", np.arange(shape[-1]) == lengthened
                yield f"at the entries that {name} does not pick", np.arange(shape[-1]) != lengthened
        if shape and ids.size and ids.min() >= 0 and ids.max() < shape[0]:
            row = np.arange(shape[0]).reshape((-1,) + (1,) * (len(shape) - 1))
            for value in np.unique(ids)[:64]:
                yield f"in row {value}, that of the {name} equal to {value}", np.broadcast_to(row == value, shape)
            yield f"in the rows that {name} names", np.broadcast_to(np.isin(row, ids), shape)


def _box(wrong):
    """Yield (description, mask) for the smallest index ranges that contain all wrong entries.

    A single wrong entry in several dimensions is left out, because the report names it already.
    """
    place, texts = np.ones(wrong.shape, dtype=bool), []
    for axis, n in enumerate(wrong.shape):
        touched = wrong.any(axis=tuple(k for k in range(wrong.ndim) if k != axis))
        if n > touched.sum():
            place &= touched.reshape([-1 if k == axis else 1 for k in range(wrong.ndim)])
            texts.append(f"at {_listed(np.flatnonzero(touched), n)} of axis {axis}")
    if texts and (wrong.sum() > 1 or wrong.ndim == 1):
        yield " and ".join(texts), place


def _listed(indices, n):
    """Describe indices of an axis of length n, such as `index 2 (the last)`."""
    first, last = int(indices[0]), int(indices[-1])
    if len(indices) == 1:
        return f"index {first}" + (" (the last)" if first == n - 1 else " (the first)" if first == 0 else "")
    if last - first + 1 == len(indices):
        return f"indices {first} to {last}"
    return f"indices {', '.join(map(str, indices))}"


def _signs(evidence):
    for name, array in [*evidence.arrays(), ("y", evidence.y)]:
        if array.shape == evidence.given.shape:
            yield f"where {name} is negative", array < 0
            yield f"where {name} is positive", array > 0
