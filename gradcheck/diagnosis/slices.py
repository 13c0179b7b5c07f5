"""Mistakes at some places only: for example where a mask is False, at the last position, or in one row.

The set W of the wrong entries is compared with each set S that has a simple description. S fits if it contains W but
not all known entries, if W is at least half of S, and if the truth is zero at all other known entries of S. The
smallest S that fits is reported. No set is reported if the truth is zero at every entry outside W, as it may be for a
ReLU, because nothing then distinguishes W. Nor is one reported if the errors outside W are only moderately smaller, as
when an ε was forgotten that affects some entries less. If other values of the inputs give wrong entries at another
place, the sentence adds a note.
"""

import itertools

import numpy as np

from gradcheck.diagnosis.evidence import EXACT, listed
from gradcheck.diagnosis.places import is_right_elsewhere


def wrong_on_a_slice(evidence):
    """Detect a gradient that is wrong at some places only, and describe its values there if they are simple."""
    wrong = evidence.wrong()
    right = evidence.known & ~wrong
    zero = evidence.known & (
        np.abs(evidence.truth) <= EXACT * np.max(np.abs(evidence.truth[evidence.known]), initial=0.0)
    )
    if not wrong.any() or not np.any(right & ~zero) or not _stands_out(evidence, wrong, right):
        return None
    best = None
    fixed = itertools.chain(_masks(evidence), _indices(evidence), _box(evidence, wrong), _triangles(evidence))
    for text, place, is_fixed in [
        *((*named, True) for named in fixed),
        *((*named, False) for named in _signs(evidence)),
    ]:
        place = place & evidence.known
        size = int(place.sum())
        fits = size < evidence.known.sum() and not np.any(wrong & ~place) and not np.any(place & right & ~zero)
        fits = fits and 2 * wrong.sum() >= size
        if fits and (best is None or size < best[0]):
            best = size, text, ~place if is_fixed else None
    if best is None:
        return None
    _, text, rest = best
    depends = rest is not None and evidence.step is not None and not is_right_elsewhere(evidence, entries=rest)
    note = ", and elsewhere for other values of the inputs" if depends else ""
    return f"{evidence.label} differs only {text}{note}{_what_it_is_there(evidence, wrong)}"


def _stands_out(evidence, wrong, right):
    """Return True if every wrong entry has an error at least 100 times as large as that of any right entry."""
    error = np.abs(evidence.error)
    return np.max(error[right]) <= 1e-2 * np.min(np.where(np.isfinite(error[wrong]), error[wrong], np.inf))


def _masks(evidence):
    for name, mask in evidence.arrays("b"):
        aligned = _aligned(mask, evidence.given.shape)
        if aligned is not None:
            yield f"where {name} is False", ~aligned
            yield f"where {name} is True", aligned


def _indices(evidence):
    """Yield the sets that integer arrays describe, as ids of rows of this argument or as labels of its positions."""
    shape = evidence.given.shape
    for name, ids in evidence.arrays("iu"):
        if ids.shape == shape[: ids.ndim] and ids.ndim < len(shape):
            lengthened = ids.reshape(ids.shape + (1,) * (len(shape) - ids.ndim))
            aligned = np.broadcast_to(lengthened, shape)
            yield f"where {name} is negative", aligned < 0
            for value in np.unique(ids)[:64]:
                yield f"where {name} is {value}", aligned == value
            if ids.ndim == len(shape) - 1:
                yield f"at the entries that {name} picks", np.arange(shape[-1]) == lengthened
                yield f"at the entries that {name} does not pick", np.arange(shape[-1]) != lengthened
        if shape and ids.size and ids.min() >= 0 and ids.max() < shape[0]:
            rows, counts = np.unique(ids, return_counts=True)
            repeated = rows[counts > 1]
            for value in rows[:64]:
                alone = ", the only one that occurs more than once" if list(repeated) == [value] else ""
                yield f"in row {value}, that of the {name} equal to {value}{alone}", _rows([value], shape)
            yield f"in the rows of {name} that occur more than once", _rows(repeated, shape)
            yield f"in the rows that {name} names", _rows(rows, shape)
            yield f"in the rows that {name} does not name", ~_rows(rows, shape)


def _box(evidence, wrong):
    """Yield the smallest product of index sets, one per axis, that contains all wrong entries.

    A single wrong entry in several dimensions is left out, because the report names it already.
    """
    shape = wrong.shape
    if wrong.sum() == 1 and len(shape) > 1:
        return
    place = np.ones(shape, dtype=bool)
    texts = []
    for axis, n in enumerate(shape):
        others = tuple(k for k in range(len(shape)) if k != axis)
        touched = np.flatnonzero(wrong.any(axis=others))
        if len(touched) < n and n > 1:
            selected = np.zeros(n, dtype=bool)
            selected[touched] = True
            place &= selected.reshape([-1 if k == axis else 1 for k in range(len(shape))])
            texts.append(f"at {listed(touched, n)} of axis {axis}")
    if texts:
        yield " and ".join(texts), place


def _signs(evidence):
    for name, array in [*evidence.arrays(), ("y", evidence.y)]:
        if array.shape == evidence.given.shape:
            yield f"where {name} is negative", array < 0
            yield f"where {name} is positive", array > 0
            yield f"where {name} is zero", array == 0


def _triangles(evidence):
    shape = evidence.given.shape
    if len(shape) >= 2 and min(shape[-2:]) > 1 and evidence.wrong().sum() > 1:
        below = np.broadcast_to(np.tri(*shape[-2:], dtype=bool), shape)
        strictly = np.broadcast_to(np.tri(*shape[-2:], k=-1, dtype=bool), shape)
        yield "on the diagonal of the last two axes", below & ~strictly
        yield "above the diagonal of the last two axes", ~below
        yield "below the diagonal of the last two axes", strictly


def _what_it_is_there(evidence, wrong):
    given, truth = evidence.given[wrong], evidence.truth[wrong]
    scale = np.max(np.abs(evidence.given[evidence.known]))
    if not given.any():
        return ", where it is zero and the truth is not"
    if np.max(np.abs(truth)) <= 10 * evidence.resolution * scale:
        return ", where the truth is zero"
    if not np.isfinite(given).all():
        return ", where it is not finite"
    c = float(np.dot(given, truth) / np.dot(truth, truth))
    if len(given) > 1 and evidence.same(evidence.given, c * evidence.truth, where=wrong):
        return f", where it equals {c:.6g} × the truth"
    return ""


def _aligned(mask, shape):
    """Return the mask broadcast to `shape`, or None if this is impossible.

    Its axes are aligned with the last axes of `shape`, or else with the first.
    """
    lengthened = mask.shape + (1,) * (len(shape) - mask.ndim)
    for candidate in (mask.shape, lengthened):
        try:
            aligned = np.broadcast_to(mask.reshape(candidate), shape)
        except ValueError:
            continue
        if candidate and any(n > 1 for n in candidate):
            return aligned
    return None


def _rows(rows, shape):
    selected = np.zeros(shape[0], dtype=bool)
    selected[rows] = True
    return np.broadcast_to(selected.reshape((-1,) + (1,) * (len(shape) - 1)), shape)
