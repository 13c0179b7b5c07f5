"""Detect mistakes that affect only some places, such as those outside a mask.

The set W of wrong entries is compared with sets S that have a simple description. The smallest S with the following
properties is reported. S contains W but not all known entries, W is at least half of S, and the true gradient is zero
at the other entries of S. No set is reported if the true gradient is zero everywhere outside W, as for a ReLU, or if
the errors outside W are only moderately smaller than those in W.

Because a backward pass is linear in dy, it can also be run again with a dy that is zero except at one place, or on a
part of the inputs. The adjoint identity then decides whether the result is right.
"""

from fractions import Fraction

import numpy as np

from gradcheck.complex_step import NotComplexSafe
from gradcheck.diagnosis.code import LARGEST
from gradcheck.diagnosis.evidence import EXACT, HOLDS, listed, spread, stream
from gradcheck.lines.report import joined

FEW = 16  # the longest axis whose indices are tried individually
MANY = 512  # the largest number of entries of a gradient; each needs one evaluation
OUTPUTS = 8


def wrong_on_a_slice(evidence):
    """Detect and describe a gradient that is wrong at some places only."""
    wrong = evidence.wrong()
    right = evidence.known & ~wrong
    zero = evidence.known & (np.abs(evidence.truth) <= EXACT * evidence.size)
    if not wrong.any() or not np.any(right & ~zero) or not _stands_out(evidence, wrong, right):
        return None
    found, signs = [], list(_signs(evidence))
    for named in (*_masks(evidence), *_indices(evidence), *_box(evidence, wrong), *_triangles(evidence), *signs):
        place = named[1] & evidence.known
        is_all = np.array_equal(place, evidence.known)
        if not (is_all or np.any(wrong & ~place) or np.any(place & right & ~zero)) and 2 * wrong.sum() >= place.sum():
            found.append((int(place.sum()), len(found), named))
    if not found:
        return None
    *_, (text, place) = min(found, key=lambda one: one[:2])
    is_fixed = all(text != of_signs for of_signs, _ in signs) and evidence.step is not None
    depends = is_fixed and not is_right_elsewhere(evidence, entries=~(place & evidence.known))
    note = ", and elsewhere for other values of the inputs" if depends else ""
    return f"{evidence.label} differs only {text}{note}{_what_it_is_there(evidence, wrong)}"


def _stands_out(evidence, wrong, right):
    """Return True if errors in W are at least 100 times as large as those outside."""
    error = np.abs(evidence.error)
    return np.max(error[right]) <= 1e-2 * np.min(np.where(np.isfinite(error[wrong]), error[wrong], np.inf))


def _masks(evidence):
    for name, mask in evidence.arrays("b"):
        aligned = _aligned(mask, evidence.given.shape)
        if aligned is not None:
            yield f"where {name} is False", ~aligned
            yield f"where {name} is True", aligned


def _indices(evidence):
    """Yield (description, mask) for the entries that integer arrays select."""
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
    """Yield (description, mask) for the smallest product of index sets that contains all wrong entries.

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
    c = Fraction(float(np.dot(given, truth) / np.dot(truth, truth))).limit_denominator(LARGEST)
    if len(given) > 1 and evidence.same(evidence.given, float(c) * evidence.truth, where=wrong):
        return f", where it is {c} times the correct gradient"
    return ""


def _aligned(mask, shape):
    """Broadcast a mask along the last or else the first axes, or return None."""
    lengthened = mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim))
    aligned = [spread(mask, shape), spread(lengthened, shape)] if mask.size > 1 else []
    return next((array for array in aligned if array is not None), None)


def _rows(rows, shape):
    selected = np.zeros(shape[0], dtype=bool)
    selected[rows] = True
    return np.broadcast_to(selected.reshape((-1,) + (1,) * (len(shape) - 1)), shape)


def wrong_through_a_part_of_y(evidence):
    """Detect a gradient that is wrong only for some indices of an axis of y."""
    if evidence.step is None or evidence.small_share:
        return None
    for axis, n in enumerate(evidence.y.shape):
        if not 1 < n <= FEW:
            continue
        places = [np.arange(n).reshape([-1 if k == axis else 1 for k in range(evidence.y.ndim)]) == i for i in range(n)]
        holds = [evidence.is_right_for(evidence.run.call, outputs=place) for place in places]
        right, wrong = ([i for i in range(n) if holds[i] is verdict] for verdict in (True, False))
        if right and wrong and is_right_elsewhere(evidence, outputs=np.logical_or.reduce([places[i] for i in right])):
            return (
                f"{evidence.label} is right for the dy at {listed(right, n)} of axis {axis} of y, "
                f"and wrong for that at {listed(wrong, n)}"
            )
    return None


def is_right_elsewhere(evidence, **parts):
    """Return True if the right part stays right when the inputs are permuted."""
    return not any(evidence.is_right_for(call, **parts) is False for call in evidence.exchanged())


def right_with_an_axis_less(evidence):
    """Detect a gradient that is right for x[0], which has one dimension less than x."""
    call = evidence.run.call
    named = zip(call.input_names(), call.inputs, strict=True)
    inputs = [(name, value) for name, value in named if isinstance(value, np.ndarray) and value.dtype.kind == "f"]
    ndim = max((value.ndim for _, value in inputs), default=0)
    largest = [(name, value) for name, value in inputs if value.ndim == ndim > 1]
    lengths = {value.shape[0] for _, value in largest}
    if evidence.step is None or evidence.small_share or len(lengths) != 1 or max(lengths) < 2:
        return None

    def first(value):
        has_axis = isinstance(value, np.ndarray) and value.ndim and value.shape[0] in lengths
        return value[0].copy() if has_axis and (value.ndim == ndim or value.dtype.kind in "iu") else value

    options = {name: first(value) for name, value in call.options.items()}
    if all(evidence.is_right_for(c.on(map(first, c.inputs), options)) for c in (call, *evidence.exchanged())):
        return (
            f"{evidence.label} is right for {joined([f'{name}[0]' for name, _ in largest])}, of {ndim - 1} "
            f"dimension{'s' * (ndim > 2)}, and wrong for {ndim}: the leading axis is handled wrongly, "
            "or an axis is counted from the wrong end"
        )
    return None


def right_when_summed(evidence):
    """Detect parts of the gradient that are added at the wrong index of an axis.

    For several entries of y, the gradient must contain the right values along the axis, in any order. It is not enough
    that the sum along the axis is right, because a wrong gradient through a layer norm may have the sum 0 too.
    """
    step, shape = evidence.step, evidence.given.shape
    if step is None or evidence.small_share or not evidence.is_complete or not 1 < evidence.given.size <= MANY:
        return None
    try:
        columns = [step.along_entry(evidence.position, index, 1.0) for index in np.ndindex(shape)]
    except NotComplexSafe:
        return None
    outputs = stream("outputs").permutation(evidence.y.size)[:OUTPUTS]
    true = [np.reshape([column.flat[k] for column in columns], shape) for k in outputs]
    given = [
        evidence.again(np.where(np.arange(evidence.y.size).reshape(evidence.y.shape) == k, 1.0, 0.0)) for k in outputs
    ]
    pairs = [(a, b) for a, b in zip(given, true, strict=True) if b.any()]
    if any(a is None for a, _ in pairs) or all(_alike(a, b) for a, b in pairs):
        return None
    for axis, n in enumerate(shape):
        if n > 1 and all(_alike(np.sort(a, axis), np.sort(b, axis)) for a, b in pairs):
            return (
                f"the sum of {evidence.label} over axis {axis} is right: its parts are added at the wrong indices of it"
            )
    return None


def _alike(a, b):
    return bool(np.max(np.abs(a - b)) <= HOLDS * np.max(np.abs(b)))
