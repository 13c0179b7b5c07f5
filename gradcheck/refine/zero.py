"""Recognise a gradient that is zero because the output ignores its argument, such as the bias of the keys before a
softmax.

Central differences determine such a gradient to about 1e-11 of the output, and cannot distinguish it from a small
gradient that is not zero. A large perturbation can: if all entries change by their own size and no output changes by
more than its rounding, the slope over that distance is bounded by rounding. In addition, backward's result must be
zero, or a remainder of terms that cancel, which becomes another number when the arguments are perturbed (rounding.py).
"""

import numpy as np

from gradcheck.central_differences import EPSILON, line_along, scales_of
from gradcheck.judgement import norm
from gradcheck.refine.rounding import FACTOR, nudged

MOVES = 4
ROUNDED = 32 * EPSILON  # of an output plus the mean of all: rounding after a large perturbation (3 ε was observed)


def zero_to(run, i):
    """Return the bound to which gradient i is zero, or None if it may not be zero.

    Both the true gradient and backward's are within the bound.
    """
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
