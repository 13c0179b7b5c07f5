"""Compare one gradient with ever finer central differences.

A gradient is right if its error and the uncertainty of the central differences are both at most rtol of its norm. If
only a sample of the entries is compared, this must also hold along a random direction.

A gradient may also be zero, for example that of the bias of the keys before a softmax. Central differences determine
such a gradient to about 1e-11 of the output, so they cannot distinguish it from a small one. A large perturbation can.
If every entry is changed by its own size and no output changes by more than its rounding error, then the gradient is
zero up to rounding. The backward pass must then return zero, or a remainder of terms that cancel. Such a remainder is
recognised because it changes completely when the arguments are perturbed (adjoint_identity.py).
"""

import numpy as np

from gradcheck.adjoint_identity import FACTOR, perturbed_runs
from gradcheck.central_differences import EPSILON, line_along, scales_of
from gradcheck.judgement import CANNOT_TELL, KINK, RIGHT, WRONG, Direction, norm
from gradcheck.refine.one_derivative import along_direction, along_entry, judge

MOVES = 4
ROUNDED = 32 * EPSILON  # relative to |y| + mean |y|: bound on rounding after a large perturbation (3 ε was observed)
DIRECTIONS = 30  # enough to distinguish errors of 2e-6 and 1e-6 of the norm


def compare(finding):
    """Judge each unconfirmed entry of a gradient with finer central differences.

    `finding` is a Finding, the measurements of this gradient. If only a sample of the entries is compared, the
    derivative along a random direction is judged too.
    """
    terms = finding.terms
    unsure = np.flatnonzero(~finding.is_sure)
    columns = finding.verdicts.copy(), finding.numeric.copy(), finding.uncertainty.copy()
    for k in unsure:
        found = judge(float(finding.analytic[k]), along_entry(finding, k), terms.rtol, terms.atol)
        for column, value in zip(columns, found, strict=True):
            column[k] = value
    finding.verdicts, finding.numeric, finding.uncertainty = columns
    if terms.strict and CANNOT_TELL not in finding.verdicts:
        finding.verdicts = compare_norm(finding.verdicts, finding.unexplained, finding.numeric, terms.rtol)
    if not finding.is_complete:
        finding.direction = _direction(finding)


def compare_norm(verdicts, error, numeric, rtol):
    """Mark the largest errors of a gradient as WRONG if the whole gradient is not right to rtol.

    The absolute tolerance alone would permit large relative errors of a small gradient. Therefore the norm of the
    errors of the n entries with the verdict RIGHT may be at most rtol times the norm of their gradients. If it is
    larger, each entry whose error exceeds this limit divided by √n becomes WRONG.
    """
    error = np.maximum(error, 0.0)
    counted = (verdicts == RIGHT) & np.isfinite(error)
    limit = rtol * norm(numeric[counted])
    if norm(error[counted]) <= limit:
        return verdicts
    share = limit / max(np.sum(counted), 1) ** 0.5
    return np.where(counted & (error > share), WRONG, verdicts)


def _direction(finding):
    """Compare the derivative along a random direction v through the whole argument.

    The tolerances of the entries add up in quadrature, as independent errors do: ‖(atol + rtol |dx|) v‖.
    """
    gradient, terms = finding.gradient, finding.terms
    v = scales_of(finding.array) * finding.rng.standard_normal(gradient.shape)
    analytic, allowed = float(np.vdot(gradient, v)), norm(terms.tolerance(gradient) * v)
    verdict, numeric, uncertainty = judge(analytic, along_direction(finding, v), 0.0, allowed, is_one_entry=False)
    limit = terms.rtol * norm(gradient * v)
    return Direction(analytic, numeric, verdict=verdict, uncertainty=uncertainty, limit=limit)


def refine_uncertain(finding):
    """Improve the estimates of the gradient's entries that are known to atol, but not to rtol."""
    counted = finding.verdicts == RIGHT
    if _are_both_zero(finding, counted):
        return
    share = finding.terms.rtol * norm(finding.numeric[counted]) / max(np.sum(counted), 1) ** 0.5
    numeric, uncertainty = finding.numeric.copy(), finding.uncertainty.copy()
    for k in np.flatnonzero(counted & (uncertainty > share)):
        best = min(along_entry(finding, k), key=lambda estimate: estimate.uncertainty)
        if best.uncertainty < uncertainty[k]:
            numeric[k], uncertainty[k] = best.value, best.uncertainty
    finding.numeric, finding.uncertainty = numeric, uncertainty


def doubt(finding):
    """Return the reason why central differences cannot confirm the gradient, or ""."""
    what = f"the derivative along a random direction through all {finding.gradient.size} entries"
    if finding.direction_verdict == CANNOT_TELL:
        return f"central differences cannot determine {what}: the output jumps, or varies on a scale below the steps"
    if finding.direction_verdict == KINK:
        return f"{what} jumps here, at a kink of at least one of them, so that only single entries can be checked"
    counted, direction = finding.verdicts == RIGHT, finding.direction
    if _are_both_zero(finding, counted):
        return ""
    size = norm(finding.truth[counted])
    limit = finding.terms.rtol * size
    known_to = 0.0 if finding.exact is not None else norm(finding.uncertainty[counted])
    known_to = max(norm((finding.analytic - finding.truth)[counted]), known_to)
    if counted.any() and not known_to <= limit:
        return _too_small("the norm of the gradient", size, known_to)
    if direction is None or direction.verdict == WRONG:
        return ""
    if not direction.uncertainty <= max(direction.limit, limit):
        return _too_small("its derivative along a random direction", abs(direction.numeric), direction.uncertainty)
    if abs(direction.analytic - direction.numeric) <= direction.uncertainty:
        return ""
    share = _error_along_directions(finding)
    if share <= finding.terms.rtol:
        return ""
    return f"along random directions through all entries its error is {share:.1g} of its norm"


def _are_both_zero(finding, counted):
    given = finding.analytic[counted] if finding.is_complete else finding.gradient
    return not given.any() and not finding.truth[counted].any()


def _error_along_directions(finding):
    """Estimate the relative error of the gradient along many random directions."""
    gaps, products = [], []
    for _ in range(DIRECTIONS):
        v = np.min(scales_of(finding.array)) * finding.rng.standard_normal(finding.gradient.shape)
        analytic, size = float(np.vdot(finding.gradient, v)), norm(finding.gradient * v)
        allowed = finding.terms.rtol * size
        _, numeric, uncertainty = judge(analytic, along_direction(finding, v), 0.0, allowed, is_one_entry=False)
        gaps.append(abs(analytic - numeric) - uncertainty)
        products.append(size)
    return norm(np.maximum(gaps, 0.0)) / norm(products)


def _too_small(what, size, uncertainty):
    return (
        f"{what} is {size:.2g}, and central differences, the only oracle that applies, determine it only to "
        f"±{uncertainty:.1g}; its relative error may be large. Pass an atol to accept errors below it"
    )


def zero_to(finding):
    """Return an upper bound on a gradient that is zero up to rounding, or None for any other gradient."""
    run, array, gradient = finding.run, finding.array, finding.gradient
    scales, rng = scales_of(array), np.random.default_rng([finding.position, MOVES])
    rounded = ROUNDED * (np.abs(run.y) + np.mean(np.abs(run.y)))
    for _ in range(MOVES):
        try:
            with np.errstate(all="ignore"):
                change = line_along(run.call, array, scales * rng.standard_normal(array.shape))(1.0) - run.y
        except Exception:  # user code may fail at perturbed inputs
            return None
        if not np.all(np.abs(change) <= rounded):
            return None
    known_to, largest = float(norm(run.dy * rounded) / np.min(scales)), float(np.max(np.abs(gradient)))
    if largest > known_to:
        return None
    if largest:
        changes = [np.max(np.abs(gradients[finding.position] - gradient)) for gradients, _ in perturbed_runs(run)]
        if largest > FACTOR * max(changes):
            return None
    return known_to
