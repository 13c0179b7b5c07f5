"""Mistakes of a term or a factor: one is missing, or a sum is taken over the wrong axis.

In a normalisation or a softmax, each output depends on a sum over an axis. If backward leaves that path out, the error
(given − truth) is the missing term, up to its sign. This term is constant along the axis, or a multiple of an array of
the call.
"""

import itertools

import numpy as np

from gradcheck.complex_step import NotComplexSafe
from gradcheck.diagnosis.evidence import EXACT, axes_of, equal, fits, profiles, stream
from gradcheck.mistakes.draws import is_a_mask


def equals_dy(evidence):
    """Detect a gradient that equals dy, because the derivative of the function itself is skipped."""
    if evidence.given.shape == evidence.dy.shape and np.array_equal(evidence.given, evidence.dy):
        return f"{evidence.label} equals dy: the derivative of the function itself is skipped"
    return None


def summed_over_the_wrong_axis(evidence):
    """Detect a sum over the wrong axes of y.

    given = Σ s over some axes and truth = Σ s over others, where s is dy, dy · y or dy times an array of the call. A
    gradient that equals Σ dy is reported even if no such sum equals the truth.
    """
    dy, shape = evidence.dy, evidence.given.shape
    same_shape = [(name, array) for name, array in evidence.arrays() if array.shape == dy.shape]
    products = [("dy", dy), *((f"dy · {name}", dy * array) for name, array in [*same_shape, ("y", evidence.y)])]
    for text, summand in products:
        sums = [
            (axes, summand.sum(axis=axes))
            for n in range(1, dy.ndim + 1)
            for axes in itertools.combinations(range(dy.ndim), n)
        ]
        sums = [(axes, total) for axes, total in sums if total.shape == shape]
        for axes, total in sums:
            if evidence.known.sum() > 1 and evidence.same(evidence.given, total):
                for right, true_total in sums:
                    if right != axes and evidence.same(evidence.truth, true_total):
                        return f"{evidence.label} sums {text} over {axes_of(axes)}, and the truth over {axes_of(right)}"
                if text == "dy":
                    return (
                        f"{evidence.label} equals Σ dy over {axes_of(axes)}: the derivative on the way to y is skipped"
                    )
    return None


def factor_missing(evidence):
    """Detect a missing or superfluous factor.

    truth = c · given · w or given = c · truth · w, where w is an array of the call or its square.
    """
    shape = evidence.given.shape
    for name, array in evidence.arrays("fb"):
        try:
            w = np.broadcast_to(array.astype(np.float64), shape)
        except ValueError:
            continue
        if np.ptp(w) == 0:
            continue
        for a, b, text in (
            (evidence.given, evidence.truth, f"a factor {name} is missing: the truth equals {evidence.label}"),
            (evidence.truth, evidence.given, f"there is a factor {name} too many: {evidence.label} equals the truth"),
        ):
            for power, sign in ((w, "×"), (w * w, "× the square of")):
                c = _ratio(b, a * power, evidence)
                if c is not None:
                    return f"{text} {sign} {name}" + ("" if abs(c - 1) < 1e-6 else f" × {c:.6g}")
    return None


def mean_not_removed(evidence):
    """Detect a mean that is not removed, or an error that is constant along some axes.

    truth = given − mean(given) over these axes; or the error is constant along them, and the truth is not.
    """
    given, label = evidence.given, evidence.label
    if not evidence.is_complete:
        return None
    for axes in _axis_sets(given.shape):
        mean = given.mean(axis=axes, keepdims=True)
        if evidence.same(given - mean, evidence.truth):
            return f"the mean over {axes_of(axes)} is not removed: the truth equals {label} − mean({label})"
    error, truth = evidence.error, evidence.truth
    for axes in _axis_sets(given.shape):
        is_constant = evidence.same(error, error.mean(axis=axes, keepdims=True))
        if is_constant and not evidence.same(truth, truth.mean(axis=axes, keepdims=True)):
            return (
                f"{label} is off by a constant along {axes_of(axes)}: a sum or mean over it, or what comes back by way "
                "of one, is missing or wrong"
            )
    return None


def multiple_missing(evidence):
    """Detect a missing term that is a multiple of an array along an axis.

    The error is a multiple of y, of exp(y) or of an array of the call (centred or not), possibly plus a constant. The
    truth is not of this form.
    """
    given, label = evidence.given, evidence.label
    if not evidence.is_complete:
        return None
    for axis in reversed(range(given.ndim)):
        n = given.shape[axis]
        for name, p in profiles(evidence, axis):
            if n > 1 and _is_off_by(evidence, [p], axis):
                if n < given.size and _ratio(evidence.error, np.broadcast_to(p, given.shape), evidence) is not None:
                    return (
                        f"{label} is off by the same multiple of {name} everywhere: a term with it is missing or wrong"
                    )
                return (
                    f"{label} is off by a multiple of {name} along axis {axis}: "
                    f"a term {name} · Σ over it, or with another factor that is one along it, is missing or wrong"
                )
        for name, p in profiles(evidence, axis):
            if n > 3 and _is_off_by(evidence, [np.ones_like(p), p], axis):
                return (
                    f"{label} is off by a constant and a multiple of {name} along axis {axis}: terms of this form are "
                    "missing or wrong"
                )
    return None


def _is_off_by(evidence, columns, axis):
    """Return True if the error is a linear combination of the columns along an axis, and the truth is not."""
    return fits(evidence, evidence.error, columns, axis) and not fits(evidence, evidence.truth, columns, axis)


def right_once_all_ones(evidence):
    """Detect a factor in the wrong place: the gradient is right once another array of the call is 1 everywhere.

    The usual test at initialisation, where a gain is 1, cannot detect this mistake. The array has to be a factor,
    because an array of ones can also hide other mistakes: if all attention keys are 1, then all weights are equal, and
    a forgotten transpose has no effect. A mask is a factor, and so is an array in whose entries y is affine. Another
    array is accepted if backward itself reads it, unless equal slices along an axis, with values of the array, already
    make the gradient right.
    """
    if evidence.step is None or evidence.small_share:
        return None
    for name, array in evidence.arrays("fb"):
        if array is evidence.array or array.ndim == 0 or np.ptp(array.astype(np.float64)) == 0:
            continue
        is_factor = array.dtype.kind == "b" or is_a_mask(array) or _is_a_gain(evidence, array)
        if not (is_factor or _is_read(evidence, array)):
            continue
        before = array.copy()
        try:
            array[...] = 1
            right = evidence.is_right_for(evidence.run.call)
            if right and (is_factor or not any(_is_right_for_equal_slices(evidence, array, before))):
                one = "True" if array.dtype.kind == "b" else "1"
                return (
                    f"{evidence.label} is right once {name} is {one} everywhere: {name} is ignored, stands in the "
                    "wrong place, or has its entries in the wrong order"
                )
        except ValueError:  # read-only
            continue
        finally:
            if array.flags.writeable:
                array[...] = before
    return None


def _is_right_for_equal_slices(evidence, array, values):
    """Yield for each axis whether the gradient is right once all slices of the array along it are equal.

    Every slice is replaced by the first. An array of a single dimension yields nothing.
    """
    for axis in range(array.ndim if array.ndim > 1 else 0):
        if array.shape[axis] > 1:
            array[...] = np.take(values, [0], axis)
            yield evidence.is_right_for(evidence.run.call)


def _is_read(evidence, array):
    """Return True if backward itself reads an array, and not only forward."""
    other = stream("other values").permutation(array.ravel()).reshape(array.shape)
    again = evidence.again_with(array, other, in_backward_alone=True)
    return again is not None and not equal(again, evidence.given)


def _is_a_gain(evidence, array):
    """Return True if an array acts on y as a gain.

    Each entry of y is then an affine function of the one entry of the array that is broadcast to it.
    """
    factor = stream("factors").uniform(0.5, 2.0, array.shape)
    without, other = (evidence.output_with(array, values) for values in (0 * array, factor * array))
    try:
        expected = without + np.broadcast_to(factor, evidence.y.shape) * (evidence.y - without)
    except (TypeError, ValueError):  # there is no output, or the array is not broadcast to it
        return False
    return other is not None and bool(np.max(np.abs(other - expected)) <= EXACT * np.max(np.abs(expected)))


def only_the_diagonal(evidence):
    """Detect dx_i = ∂y_i/∂x_i · dy_i, as if x_i affected only y_i: `y * (1 - y) * dy` for a softmax."""
    if evidence.step is None or evidence.y.shape != evidence.given.shape or not 1 < evidence.given.size <= 256:
        return None
    try:
        diagonal = [evidence.step.along_entry(evidence.position, i, 1.0)[i] for i in np.ndindex(evidence.given.shape)]
    except NotComplexSafe:
        return None
    if evidence.same(evidence.given, np.reshape(diagonal, evidence.given.shape) * evidence.dy):
        return (
            f"{evidence.label} is dy times the diagonal of the Jacobian alone: each entry of {evidence.name} reaches "
            "other entries of y too"
        )
    return None


def _ratio(b, a, evidence):
    """Return c if b = c · a at the known entries and at least three entries of a are not negligible; else None."""
    mask = evidence.known
    square = float(np.dot(a[mask], a[mask]))
    c = float(np.dot(a[mask], b[mask])) / square if square else 0.0
    informative = np.sum(np.abs(a[mask]) > 1e-6 * np.max(np.abs(a[mask]), initial=0.0))
    if c and informative > 2 and np.isfinite(c) and evidence.same(b, c * a):
        return c
    return None


def _axis_sets(shape):
    """Yield each single axis from the last to the first, then the sets of several axes; skip axes of length 1."""
    axes = [axis for axis in reversed(range(len(shape))) if shape[axis] > 1]
    for n in range(1, len(axes) + 1):
        yield from itertools.combinations(axes, n)
