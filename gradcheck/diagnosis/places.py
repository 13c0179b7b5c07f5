"""Mistakes of place: backward is right for some of the paths by which an argument reaches y, and wrong for others.

The truth at one dy does not distinguish the paths. But a backward pass is linear in dy and can be run again, with a dy
that is zero except at one place, or on a part of the inputs. Each time, one forward pass with the complex step and the
adjoint identity decide whether the result is right.
"""

import itertools

import numpy as np

from gradcheck.complex_step import NotComplexSafe
from gradcheck.diagnosis.evidence import HOLDS, joined, listed, stream

FEW = 16  # the longest axis whose indices are tried individually
MANY = 512  # the largest number of entries, each of which needs one evaluation
OUTPUTS = 8


def wrong_through_a_part_of_y(evidence):
    """Detect a gradient that is right for the dy at some indices of an axis of y and wrong at others."""
    step = evidence.step
    if step is None or evidence.small_share:
        return None
    v = stream("direction").standard_normal(evidence.given.shape)
    try:
        moved = step.along({evidence.position: v})
    except NotComplexSafe:
        return None
    for axis, n in enumerate(evidence.y.shape):
        if not 1 < n <= FEW:
            continue
        places = [np.arange(n).reshape([-1 if k == axis else 1 for k in range(evidence.y.ndim)]) == i for i in range(n)]
        holds = [_holds_for(evidence, np.where(place, evidence.dy, 0.0), v, moved) for place in places]
        right, wrong = ([i for i in range(n) if holds[i] is verdict] for verdict in (True, False))
        if right and wrong and is_right_elsewhere(evidence, outputs=np.logical_or.reduce([places[i] for i in right])):
            return (
                f"{evidence.label} is right for the dy at {listed(right, n)} of axis {axis} of y, "
                f"and wrong for that at {listed(wrong, n)}"
            )
    return None


def is_right_elsewhere(evidence, **parts):
    """Return True if the right part of a gradient is not wrong for other values of the inputs.

    The place then decides whether the gradient is right, and not the values.
    """
    call = evidence.run.call
    return not any(evidence.is_right_for(other, **parts) is False for other in evidence.exchanged(call))


def _holds_for(evidence, dy, v, moved):
    """Return True if ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ holds for this dy.

    Return None if both sides are zero, or if backward fails or returns values that are not finite.
    """
    given = evidence.again(dy)
    exact = float(np.sum(dy * moved))
    if given is None or not np.isfinite(given).all():
        return None
    products = np.abs(given * v)
    size = max(float(np.sum(products)), abs(exact))
    if size <= HOLDS * np.max(np.abs(evidence.truth[evidence.known]), initial=0.0):
        return None
    return bool(abs(np.vdot(given, v) - exact) <= HOLDS * size)


def right_with_an_axis_less(evidence):
    """Detect a gradient that is right for x[0], which has one dimension less than x.

    The leading axis is mishandled, or confused with another axis.
    """
    call = evidence.run.call
    inputs = [value for value in call.inputs if isinstance(value, np.ndarray) and value.dtype.kind == "f"]
    ndim = max((value.ndim for value in inputs), default=0)
    lengths = {value.shape[0] for value in inputs if value.ndim == ndim and ndim > 1}
    if evidence.step is None or evidence.small_share or len(lengths) != 1 or max(lengths) < 2:
        return None
    names = [
        name
        for name, value in zip(call.input_names(), call.inputs, strict=True)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim == ndim
    ]

    def first(value):
        has_axis = isinstance(value, np.ndarray) and value.ndim and value.shape[0] in lengths
        return value[0].copy() if has_axis and (value.ndim == ndim or value.dtype.kind in "iu") else value

    options = {name: first(value) for name, value in call.options.items()}
    if all(evidence.is_right_for(c.on(map(first, c.inputs), options)) for c in (call, *evidence.exchanged(call))):
        return (
            f"{evidence.label} is right for {joined([f'{name}[0]' for name in names])}, of {ndim - 1} "
            f"dimension{'s' * (ndim > 2)}, and wrong for {ndim}: what becomes of the leading axis is wrong, "
            "or an axis is counted from the wrong end"
        )
    return None


def right_once_indices_differ(evidence):
    """Detect a path that overwrites another because two integer options are equal.

    The gradient must be right for at least two pairs of different options, and wrong for none that were tried. If it
    were right for a single pair, backward might contain a hard-coded number.
    """
    call = evidence.run.call
    whole = {name: value for name, value in call.options.items() if type(value) is int}
    if evidence.step is None:
        return None
    for first, second in itertools.combinations(sorted(whole), 2):
        n = whole[first]
        if whole[second] == n:
            moved = [{**call.options, name: n + by} for name in (first, second) for by in (1, -1, 2) if n + by >= 0]
            tried = [evidence.is_right_for(call.on(call.inputs, options)) for options in moved]
            if False not in tried and tried.count(True) >= 2:
                return (
                    f"{evidence.label} is right once {first} and {second} differ: of two paths that meet "
                    "in one entry, the later overwrites the earlier (= in the place of +=)"
                )
    return None


def right_when_summed(evidence):
    """Detect contributions to the gradient that are added at the wrong index of an axis.

    For several outputs, the gradient of the output must have the right values along the axis up to their order. It is
    not enough that the sums along the axis are right, because they may be right for another reason: the sums of a
    gradient that passes through a layer norm are zero.
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
