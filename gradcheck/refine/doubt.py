"""Decide if central differences alone can call a gradient right, given that they find no wrong entry.

They can if the error and their own uncertainty are both at most rtol of the norm of the gradient. If the entries are a
sample, this must also hold along a random direction.

Central differences also recognise a gradient that is zero because the output ignores its argument, such as the bias of
the keys before a softmax. They determine it to about 1e-11 of the output, and cannot distinguish it from a small
gradient that is not zero. A large perturbation distinguishes the two: if all entries change by their own size and no
output changes by more than its rounding, the slope over that distance is bounded by rounding. In addition, backward's
result must be zero, or a remainder of terms that cancel, which becomes another number when the arguments are perturbed
(adjoint_identity.py).
"""

from dataclasses import replace

import numpy as np

from gradcheck.adjoint_identity import FACTOR, nudged
from gradcheck.central_differences import EPSILON, line_along, scales_of
from gradcheck.judgement import CANNOT_TELL, KINK, RIGHT, WRONG, norm
from gradcheck.refine.one_derivative import along_direction, along_entry, judge

MOVES = 4
ROUNDED = 32 * EPSILON  # relative to |y| + mean |y|: bound on rounding after a large perturbation (3 ε was observed)
DIRECTIONS = 30  # enough to distinguish an error of 2e-6 of the norm from one of 1e-6


def surest(run, i, finding, terms):
    """Return the finding with the most precise estimates that can be obtained.

    Only entries whose first estimate was sufficient for atol, but not for rtol of the norm, are estimated again.
    """
    counted = finding.verdicts == RIGHT
    if _nothing_moves(finding, counted):
        return finding
    share = terms.rtol * norm(finding.numeric[counted]) / max(np.sum(counted), 1) ** 0.5
    scales, numeric, uncertainty = finding.scales, finding.numeric.copy(), finding.uncertainty.copy()
    for k in np.flatnonzero(counted & (uncertainty > share)):
        refined = along_entry(run, i, finding.entries[k], scales[k])
        best = min(refined, key=lambda estimate: estimate.uncertainty)
        if best.uncertainty < uncertainty[k]:
            numeric[k], uncertainty[k] = best.value, best.uncertainty
    return replace(finding, numeric=numeric, uncertainty=uncertainty)


def doubt(run, i, finding, terms, rng):
    """Return the reason why central differences cannot confirm gradient i, or ""."""
    what = f"the derivative along a random direction through all {finding.gradient.size} entries"
    if finding.direction_verdict == CANNOT_TELL:
        return f"central differences cannot determine {what}: the output jumps, or varies on a scale below the steps"
    if finding.direction_verdict == KINK:
        return f"{what} jumps here, at a kink of at least one of them, so that only single entries can be checked"
    counted = finding.verdicts == RIGHT
    if _nothing_moves(finding, counted):
        return ""
    size = norm(finding.truth[counted])
    limit = terms.rtol * size
    gap = norm((finding.analytic - finding.truth)[counted])
    known_to = 0.0 if finding.exact is not None else norm(finding.uncertainty[counted])
    if counted.any() and not max(gap, known_to) <= limit:
        return _too_small("the norm of the gradient", size, max(gap, known_to))
    direction = finding.direction
    if direction is None or direction.verdict == WRONG:
        return ""
    if not direction.uncertainty <= max(direction.limit, limit):
        return _too_small("its derivative along a random direction", abs(direction.numeric), direction.uncertainty)
    if abs(direction.analytic - direction.numeric) <= direction.uncertainty:
        return ""
    share = _off_along_directions(run, i, finding, terms, rng)
    if share <= terms.rtol:
        return ""
    return f"along random directions through all entries its error is {share:.1g} of its norm"


def _nothing_moves(finding, counted):
    """Return True if backward's gradient and the true one are exactly zero.

    `counted` is a boolean array, False at the entries to ignore, which are at a kink.
    """
    given = finding.analytic[counted] if finding.is_complete else finding.gradient
    return not given.any() and not finding.truth[counted].any()


def _off_along_directions(run, i, finding, terms, rng):
    """Return the error along many random directions, relative to the gradient's norm.

    A single direction may show a large or a small error by chance.
    """
    gaps, products = [], []
    for _ in range(DIRECTIONS):
        v = np.min(scales_of(finding.argument.array)) * rng.standard_normal(finding.gradient.shape)
        analytic, size = float(np.vdot(finding.gradient, v)), norm(finding.gradient * v)
        judgement = judge(analytic, along_direction(run, i, v), 0.0, terms.rtol * size, is_one_entry=False)
        gaps.append(abs(analytic - judgement.numeric) - judgement.uncertainty)
        products.append(size)
    return norm(np.maximum(gaps, 0.0)) / norm(products)


def _too_small(what, size, uncertainty):
    return (
        f"{what} is {size:.2g}, and central differences, the only oracle that applies, determine it only to "
        f"±{uncertainty:.1g}; its relative error may be large. Pass an atol to accept errors below it"
    )


def zero_to(run, i):
    """Return a bound on the entries of gradient i if it is zero, or None if it may not be zero.

    The bound holds for the true gradient and for backward's.
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
