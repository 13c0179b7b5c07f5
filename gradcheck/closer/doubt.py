"""Why central differences alone cannot call a gradient right, though none of its entries is wrong.

They can if both its distance from them and their own uncertainty are no more than rtol of its norm, along a random
direction too where the entries are a sample.
"""

from dataclasses import replace

import numpy as np

from gradcheck.central_differences import scales_of
from gradcheck.closer.estimates import along_direction, along_entry
from gradcheck.closer.one_derivative import judge
from gradcheck.judgement import CANNOT_TELL, KINK, RIGHT, WRONG, norm

DIRECTIONS = 30  # enough for an error of 2e-6 of the norm never to pass for one of 1e-6


def surest(run, i, finding, terms):
    """Return the finding with the surest estimates there are, where the first was good enough for atol alone."""
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
    """Return why central differences cannot call the gradient of argument i right, or an empty text."""
    what = f"the derivative along a random direction through all {finding.gradient.size} entries"
    if finding.direction_verdict == CANNOT_TELL:
        return f"{what} is beyond central differences: the output jumps, or has detail finer than their steps"
    if finding.direction_verdict == KINK:
        return f"{what} jumps here, at a kink of one of them or more, where only the entries themselves can tell"
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
    return f"along random directions through all entries it is off by {share:.1g} of its norm"


def _nothing_moves(finding, counted):
    """Whether nothing has moved, and backward says that nothing does; entries at a kink are judged by themselves."""
    given = finding.analytic[counted] if finding.is_complete else finding.gradient
    return not given.any() and not finding.truth[counted].any()


def _off_along_directions(run, i, finding, terms, rng):
    """Return the error as a share of the gradient's norm: one direction shows either by chance alone, many do not."""
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
        f"{what} is {size:.2g}, and central differences, the only oracle that applies, know it to ±{uncertainty:.1g}; "
        "a gradient that small may be quite wrong. With an atol, errors below it do not matter"
    )
