"""Mistakes of place: of the paths by which an argument reaches y, some are followed rightly and others are not.

The truth at one dy does not tell them apart. But a backward pass is linear in dy and may be asked again, with dy zero
except in one place, or on less of the inputs; and whether the answer is right, the adjoint identity tells each time
from one forward pass with the complex step.
"""

import numpy as np

from gradcheck.complex_step import NotComplexSafe
from gradcheck.diagnosis.evidence import HOLDS, joined, listed

FEW = 16  # the longest axis whose indices are tried one by one


def wrong_through_a_part_of_y(evidence):
    """What arrives at some indices of y is passed on rightly, and what arrives at others is not."""
    step = evidence.step
    if step is None:
        return None
    v = np.random.default_rng(0).standard_normal(evidence.given.shape)
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
        if right and wrong:
            return (
                f"{evidence.label} is right for the dy at {listed(right, n)} of axis {axis} of y, "
                f"and wrong for that at {listed(wrong, n)}"
            )
    return None


def _holds_for(evidence, dy, v, moved):
    """Whether ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ for this dy; None where it is 0 = 0, or backward will not have it."""
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
    """On x[0], of one dimension less, the gradient is right: what is wrong is how the leading axis is handled."""
    call = evidence.run.call
    inputs = [value for value in call.inputs if isinstance(value, np.ndarray) and value.dtype.kind == "f"]
    ndim = max((value.ndim for value in inputs), default=0)
    lengths = {value.shape[0] for value in inputs if value.ndim == ndim and ndim > 1}
    if evidence.step is None or len(lengths) != 1 or max(lengths) < 2:
        return None
    names = [
        name
        for name, value in zip(call.input_names(), call.inputs, strict=True)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim == ndim
    ]

    def first(value):
        has_axis = isinstance(value, np.ndarray) and value.ndim and value.shape[0] in lengths
        return value[0].copy() if has_axis and (value.ndim == ndim or value.dtype.kind in "iu") else value

    less = call.on(map(first, call.inputs), {name: first(value) for name, value in call.options.items()})
    if evidence.is_right_for(less):
        return (
            f"{evidence.label} is right for {joined([f'{name}[0]' for name in names])}, of {ndim - 1} "
            f"dimension{'s' * (ndim > 2)}, and wrong for {ndim}: what becomes of the leading axis is wrong"
        )
    return None


def right_once_indices_differ(evidence):
    """Two integer options are equal, and once they are not, the gradient is right: one path overwrites the other."""
    call = evidence.run.call
    whole = {name: value for name, value in call.options.items() if type(value) is int}
    if evidence.step is None:
        return None
    for name, value in whole.items():
        twins = [other for other in whole if other != name and whole[other] == value]
        others = [n for n in (value + 1, value - 1) if n >= 0] if twins else []
        for n in others:
            if evidence.is_right_for(call.on(call.inputs, {**call.options, name: n})):
                return (
                    f"{evidence.label} is right once {joined(sorted([name, *twins]))} differ: of two paths that meet "
                    "in one entry, the later overwrites the earlier (= in the place of +=)"
                )
    return None


def right_when_summed(evidence):
    """Added up along an axis, the gradient is right: its parts were added at the wrong index of it."""
    if not evidence.is_complete:
        return None
    for axis, n in enumerate(evidence.given.shape):
        given, truth = evidence.given.sum(axis=axis), evidence.truth.sum(axis=axis)
        size = np.max(np.abs(truth))
        error = np.max(np.abs(evidence.error))
        agree = np.max(np.abs(given - truth)) <= evidence.resolution * max(size, error)
        if n > 1 and agree and size > 1e-3 * error:  # and not one of the sums that are always zero
            return (
                f"the sum of {evidence.label} over axis {axis} is right: its parts are added at the wrong indices of it"
            )
    return None
