"""Detect relations of a gradient to the true one, to dy and to other gradients."""

import itertools

import numpy as np

from gradcheck.complex_step import NotComplexSafe
from gradcheck.diagnosis.evidence import axes_of, equal, spread, stream
from gradcheck.refine.drowned import moved, steps_of

# Observations on the numbers of this draw


def identically_zero(evidence):
    return None if evidence.given.any() else f"{evidence.label} is zero everywhere"


def not_finite(evidence):
    bad = ~np.isfinite(evidence.given)
    kind = "NaN" if np.isnan(evidence.given).any() else "infinite"
    return f"{evidence.label} is {kind} at {np.sum(bad)} of {bad.size} entries" if bad.any() else None


def does_not_depend_on_dy(evidence):
    # Doubling dy would not be a sufficient test: a backward pass that reads only dy / ‖dy‖ gives the same result.
    again = evidence.again(evidence.dy * stream("another dy").uniform(2.0, 3.0, size=evidence.dy.shape))
    return f"{evidence.label} does not depend on dy" if again is not None and equal(again, evidence.given) else None


def not_linear_in_dy(evidence):
    again = evidence.again(2 * evidence.dy)
    if again is None or equal(again, 2 * evidence.given):
        return None
    return f"{evidence.label} is not linear in dy: for 2 dy it is not twice as large"


def works_in_float32(evidence):
    """Detect a gradient that changes in steps, as in float32, if the inputs vary."""
    if not evidence.small_share:
        return None
    dy, arrays = evidence.dy.copy(), [argument.array for argument in evidence.run.arguments]
    runs = moved([dy], lambda: evidence.again(dy)), moved(arrays, evidence.again)
    if all(steps_of(run) is None for run in runs):
        return None
    return (
        f"{evidence.label} is off by {evidence.small_share:.1g} of its size and moves in steps of 6e-8 of it: "
        "backward computes in float32 somewhere"
    )


def off_by_little(evidence):
    if not evidence.small_share:
        return None
    where = "" if evidence.is_complete else " where it was compared"
    return (
        f"{evidence.label} is off by no more than {evidence.small_share:.1g} of its size{where}: perhaps by a rounded "
        "constant, an ε that the forward pass does not have, or a computation in float32"
    )


# Relations, reported only if they hold on another draw as well


def exchanged(evidence):
    """Detect a gradient that equals the true gradient of another argument."""
    for other in evidence.others:
        if other is evidence or other.given.shape != evidence.given.shape or not other.is_complete:
            continue
        if evidence.same(evidence.given, other.truth):
            if evidence.same(evidence.given, -evidence.truth):
                return f"{evidence.label} has its sign flipped, or is that of {other.name}, which is minus the truth"
            if other.same(other.given, evidence.truth):
                return f"{evidence.label} and {other.label} are returned in each other's place"
            return f"{evidence.label} equals the true {other.label}"
    return None


def equals_dy(evidence):
    if evidence.given.shape == evidence.dy.shape and np.array_equal(evidence.given, evidence.dy):
        return f"{evidence.label} equals dy: the derivative of the function itself is skipped"
    return None


def rearranged(evidence):
    """Detect a gradient with the right entries in the wrong order: exchanged axes, reversed or shifted entries."""
    for words, array in _rearrangements(evidence.given):
        if array.shape == evidence.given.shape and evidence.same(array, evidence.truth):
            return f"{evidence.label} is {words}"
    return None


def _rearrangements(array):
    order, shape = tuple(range(array.ndim)), array.shape
    for axes in itertools.permutations(order) if array.ndim <= 5 else ():
        moved_axes = [axis for axis, source in enumerate(axes) if axis != source]
        if moved_axes:
            yield f"transposed: {axes_of(moved_axes)} are exchanged", array.transpose(axes)
    for i, j in itertools.combinations(order, 2):
        swapped = tuple(shape[{i: j, j: i}.get(axis, axis)] for axis in order)
        for turned in (np.swapaxes(array, i, j).reshape(shape), np.swapaxes(array.reshape(swapped), i, j)):
            yield f"transposed: its entries are in the order of exchanged axes {i} and {j}", turned
    for axis, n in enumerate(shape):
        if n > 1:
            yield f"reversed along axis {axis}", np.flip(array, axis)
        for shift in range(1, min(n, 64)):
            yield f"shifted by {shift} along axis {axis}", np.roll(array, -shift, axis)


def only_the_diagonal(evidence):
    """Detect a gradient that uses only the diagonal of the Jacobian, such as `y * (1 - y) * dy` for a softmax."""
    if evidence.step is None or evidence.y.shape != evidence.given.shape or not 1 < evidence.given.size <= 256:
        return None
    try:
        diagonal = [evidence.step.along_entry(evidence.position, i, 1.0)[i] for i in np.ndindex(evidence.given.shape)]
    except NotComplexSafe:
        return None
    if evidence.same(evidence.given, np.reshape(diagonal, evidence.given.shape) * evidence.dy):
        return (
            f"{evidence.label} is dy times the diagonal of the Jacobian: each entry of {evidence.name} affects other "
            "entries of y too"
        )
    return None


def multiple_along_an_axis(evidence):
    """Detect an error that is a constant or a multiple of an array along an axis."""
    given, off = evidence.given, f"{evidence.label} is off by"
    for axis in reversed(range(given.ndim)) if evidence.is_complete else ():
        for name, columns in _profiles(evidence, axis):
            is_long = given.shape[axis] > 2 * len(columns) - 1
            if not is_long or not _fits(evidence, evidence.error, columns, axis):
                continue
            if _fits(evidence, evidence.truth, columns, axis):
                continue
            if not name:
                return f"{off} a constant along axis {axis}: a sum or mean over it is missing or wrong"
            if len(columns) == 2:
                return f"{off} a constant and a multiple of {name} along axis {axis}: such terms are missing or wrong"
            if given.shape[axis] < given.size and evidence.ratio(evidence.error, columns[0], least=3) is not None:
                return f"{off} the same multiple of {name} everywhere: a term with it is missing or wrong"
            return (
                f"{off} a multiple of {name} along axis {axis}: a term {name} * sum(...) over it, or with another "
                "factor that is constant along it, is missing or wrong"
            )
    return None


def _profiles(evidence, axis):
    """List (name, columns); an error may be a linear combination of the columns."""
    shape = evidence.given.shape
    named = [("y", evidence.y), ("exp(y)", np.exp(evidence.y))] if evidence.y.shape == shape else []
    for name, array in evidence.arrays():
        p = spread(array, shape)
        if p is not None:
            named += [(name, p), (f"({name} - mean({name}))", p - p.mean(axis=axis, keepdims=True))]
    ones = np.ones(shape)
    return [("", [ones]), *((name, [p]) for name, p in named), *((name, [p, ones]) for name, p in named)]


def _fits(evidence, array, columns, axis):
    """Return True if each slice of an array along an axis is a linear combination of the columns."""
    basis = np.stack([np.moveaxis(column, axis, -1) for column in columns], axis=-1)
    if not np.all(np.isfinite(basis)) or not basis.any():
        return False
    fitted = basis @ (np.linalg.pinv(basis) @ np.moveaxis(array, axis, -1)[..., None])
    return evidence.same(np.moveaxis(fitted[..., 0], -1, axis), array)
