"""A gradient that is zero because the output ignores its argument: that of a key's bias, which the softmax takes away.

Central differences know such a gradient to some 1e-11 of the output, and cannot tell it from a small one that is meant.
A long move can: if all entries move by as much as they are, and no output by more than its own rounding, then there is
no slope of more than that over that length. And backward's answer must itself be zero, or the remainder of terms that
cancel: one that becomes another number when the arguments are nudged (rounding.py).
"""

import numpy as np

from gradcheck.central_differences import EPSILON, line_along, scales_of
from gradcheck.judgement import norm
from gradcheck.rounding import FACTOR, nudged

MOVES = 4
ROUNDED = 32 * EPSILON  # of an output and the mean of all: what a long move changes by rounding; 3 ε at most was seen


def zero_to(run, i):
    """Return what every entry of gradient i is zero to, in truth and as backward gives it, or None if it may not be."""
    array, gradient = run.arguments[i].array, run.gradients[i]
    scales, rng = scales_of(array), np.random.default_rng([i, MOVES])
    rounded = ROUNDED * (np.abs(run.y) + np.mean(np.abs(run.y)))
    for _ in range(MOVES):
        with np.errstate(all="ignore"):
            change = line_along(run.call, array, scales * rng.standard_normal(array.shape))(1.0) - run.y
        if not np.all(np.abs(change) <= rounded):
            return None
    known_to = float(norm(run.dy * rounded) / np.min(scales))
    largest = float(np.max(np.abs(gradient)))
    if largest > known_to:
        return None
    if largest:
        changes = [np.max(np.abs(gradients[i] - gradient)) for gradients, _ in nudged(run)]
        if largest > FACTOR * max(changes):
            return None
    return known_to
