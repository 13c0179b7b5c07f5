"""Detect mistakes by a change of operands or state that makes the gradient right.

Forward or backward runs again after an operand has been transposed, reversed or set to ones, or after the state that an
earlier forward pass left has been removed.
"""

import itertools

import numpy as np

from gradcheck.diagnosis.evidence import EXACT, axes_of, stream
from gradcheck.leftovers import containers
from gradcheck.mistakes.draws import is_a_mask


def operand_turned(evidence):
    """Detect an operand that backward reads in the wrong orientation.

    The operand is changed after the forward pass, and then before it, because backward may read a copy that forward
    saved.
    """
    for name, array in evidence.arrays():
        if name == evidence.name:
            continue
        for words, values in _turned(array):
            for alone in (True, False):
                again = evidence.again(array=array, values=values.copy(), in_backward_alone=alone)
                if again is not None and evidence.same(again, evidence.truth):
                    return f"{evidence.label} uses {name} {words}"
    return None


def _turned(array):
    for i, j in itertools.combinations(range(array.ndim), 2):
        if array.shape[i] == array.shape[j] > 1:
            yield "where it should be transposed, or transposed where it should not", np.swapaxes(array, i, j)
    long = [axis for axis, n in enumerate(array.shape) if n > 1]
    for axes in [*itertools.combinations(long, 1), *itertools.combinations(long, 2)]:
        along = axes_of(axes)
        words = f"reversed along {along}, or not reversed where it should be"
        yield f"{words} (the adjoint of a correlation is a convolution)", np.flip(array, axes)


def right_once_all_ones(evidence):
    """Detect a factor in the wrong place: if it is all ones, the gradient is right.

    Only masks and gains are tested, because ones can hide other mistakes. For example, attention keys of 1 hide a
    missing transpose.
    """
    if evidence.step is None or evidence.small_share:
        return None
    for name, array in evidence.arrays("fb"):
        if array is evidence.array or np.ptp(array.astype(np.float64)) == 0 or not array.flags.writeable:
            continue
        if array.dtype.kind == "f" and not is_a_mask(array) and not _is_a_gain(evidence, array):
            continue
        before = array.copy()
        try:
            array[...] = 1
            if evidence.is_right_for(evidence.run.call):
                one = "True" if array.dtype.kind == "b" else "1"
                return (
                    f"{evidence.label} is right once {name} is {one} everywhere: {name} is ignored, stands in the "
                    "wrong place, or has its entries in the wrong order"
                )
        finally:
            array[...] = before
    return None


def _is_a_gain(evidence, array):
    """Return True if each entry of y is an affine function of the corresponding entry of an array."""
    before, factor = array.copy(), stream("factors").uniform(0.5, 2.0, array.shape)
    try:
        array[...] = 0 * before
        without = np.array(evidence.run.call.evaluate()[0])
        array[...] = factor * before
        other = evidence.run.call.evaluate()[0]
        expected = without + np.broadcast_to(factor, evidence.y.shape) * (evidence.y - without)
    except Exception:  # the user's function fails on these values, or the array is not broadcast to y
        return False
    finally:
        array[...] = before
    return bool(np.max(np.abs(other - expected)) <= EXACT * np.max(np.abs(expected)))


def right_once_emptied(evidence):
    """Detect that backward reads container entries of an earlier forward pass."""
    reached = containers(evidence.run.call.target)
    lengths = {name: len(container) for name, container in reached.items()}
    if not lengths or evidence.again() is None:
        return None
    for name, container in reached.items():
        if len(container) <= lengths[name]:
            continue
        held = container.copy()
        try:
            container.clear()
            again = evidence.again()
        finally:
            container.clear()
            (container.update if hasattr(container, "update") else container.extend)(held)
        if again is not None and evidence.same(again, evidence.truth):
            return (
                f"{evidence.label} is right once {name} is empty before forward: "
                "backward reads entries that an earlier forward pass left there"
            )
    return None
