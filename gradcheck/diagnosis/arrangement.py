"""Mistakes of arrangement: the right numbers in the wrong place, or an operand wrongly transposed or reversed."""

import itertools

import numpy as np

from gradcheck.diagnosis.evidence import axes_of


def exchanged(evidence):
    """Detect a gradient that equals the true gradient of another argument, for example because two are exchanged."""
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


def rearranged(evidence):
    """Detect the right entries in the wrong order: with axes exchanged, or reversed or shifted along one axis."""
    given, label = evidence.given, evidence.label
    for axes in itertools.permutations(range(given.ndim)):
        if axes != tuple(range(given.ndim)) and given.ndim <= 5:
            turned = given.transpose(axes)
            if turned.shape == given.shape and evidence.same(turned, evidence.truth):
                moved = [axis for axis, source in enumerate(axes) if axis != source]
                if given.ndim == 2:
                    return f"{label} is transposed: the truth equals your value transposed"
                return f"{label} has axes {_listed(moved)} exchanged: the truth equals your value transposed there"
    for axes in itertools.combinations(range(given.ndim), 2):
        flat = np.swapaxes(given, *axes)
        shape = tuple(np.array(given.shape)[list(_swapped(given.ndim, *axes))])
        for turned in (flat.reshape(given.shape), np.swapaxes(given.reshape(shape), *axes)):
            if given.shape != shape and evidence.same(turned, evidence.truth):
                return f"{label} is transposed: it has the truth's entries, axes {_listed(axes)} in the other order"
    for axis, n in enumerate(given.shape):
        if n > 1 and evidence.same(np.flip(given, axis), evidence.truth):
            return f"{label} is reversed along axis {axis}"
        for shift in range(1, min(n, 64)):
            if evidence.same(np.roll(given, -shift, axis), evidence.truth):
                return f"{label} is shifted by {shift} along axis {axis}"
    return None


def operand_not_transposed(evidence):
    """Detect that backward reads an operand W where Wᵀ belongs, or Wᵀ where W belongs.

    The test exchanges two axes of W that have the same length, and checks whether backward then returns the truth. It
    transposes W after the forward pass, and in a second attempt before it, because backward may read a copy that
    forward saved. If the function reads W and its backward pass correctly reads Wᵀ, then the result of backward at Wᵀ
    has no relation to the truth at W.
    """
    for name, array in evidence.arrays():
        for i, j in itertools.combinations(range(array.ndim), 2):
            if array.shape[i] != array.shape[j] or array.shape[i] == 1 or name == evidence.name:
                continue
            if _is_right_with(evidence, array, np.swapaxes(array, i, j).copy()):
                return f"{evidence.label} uses {name} where it should be transposed, or transposed where it should not"
    return None


def operand_reversed(evidence):
    """Detect an operand, such as a kernel, that is wrongly reversed: a convolution in place of a correlation."""
    for name, array in evidence.arrays():
        long = [axis for axis, n in enumerate(array.shape) if n > 1]
        for axes in [*itertools.combinations(long, 1), *itertools.combinations(long, 2)]:
            if name != evidence.name and _is_right_with(evidence, array, np.flip(array, axes).copy()):
                return (
                    f"{evidence.label} uses {name} reversed along {axes_of(axes)}, or should: a correlation is undone "
                    "by a convolution"
                )
    return None


def _is_right_with(evidence, array, values):
    """Return True if backward returns the truth when an array holds other values.

    The values are replaced before backward only, and then before forward and backward.
    """
    for alone in (True, False):
        again = evidence.again_with(array, values, in_backward_alone=alone)
        if again is not None and evidence.same(again, evidence.truth):
            return True
    return False


def matrix_not_transposed(evidence):
    """Detect given = M A where truth = Mᵀ A, such as `dscores @ q` instead of `dscores.T @ q`.

    A is dy or an array of the call, and M is an intermediate matrix. M is computed from the given gradient and the
    pseudoinverse of A, so A must have at least as many columns as rows. Mᵀ A cannot equal the truth by chance.
    """
    given = evidence.given
    if not evidence.is_complete or given.ndim < 2:
        return None
    for name, a in [*evidence.arrays(), ("dy", evidence.dy)]:
        if a.shape != given.shape or not 1 < a.shape[-2] <= a.shape[-1] or name == evidence.name:
            continue
        m = given @ np.linalg.pinv(a)
        if evidence.same(m @ a, given) and evidence.same(np.swapaxes(m, -1, -2) @ a, evidence.truth):
            return (
                f"{evidence.label} equals M @ {name}, and the truth Mᵀ @ {name}: "
                "a matrix is not transposed that should be, or the reverse"
            )
    return None


def _swapped(ndim, i, j):
    axes = list(range(ndim))
    axes[i], axes[j] = axes[j], axes[i]
    return axes


def _listed(axes):
    return " and ".join(map(str, axes)) if len(axes) == 2 else ", ".join(map(str, axes))
