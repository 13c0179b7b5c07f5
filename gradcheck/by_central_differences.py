"""One gradient against central differences: by entry, along a direction where the entries are a sample, as a whole."""

import numpy as np

from gradcheck.judgement import CANNOT_TELL, RIGHT, WRONG, judge

DIRECTIONS = 30  # enough for an error of 2e-6 of the norm never to pass for one of 1e-6


def judge_gradient(comparison, i, finding):
    """Fill in what central differences say of argument i: verdicts, values and their uncertainty."""
    places = zip(finding.analytic.tolist(), finding.entries.tolist(), finding.entry_scales.tolist(), strict=True)
    judgements = [
        judge(a, comparison.lines.along_entry(i, entry, scale), comparison.rtol, comparison.atol)
        for a, entry, scale in places
    ]
    finding.verdicts = np.array([judgement.verdict for judgement in judgements], dtype=object)
    finding.numeric = np.array([judgement.numeric for judgement in judgements])
    finding.uncertainty = np.array([judgement.uncertainty for judgement in judgements])
    if not finding.is_complete:
        _judge_direction(comparison, i, finding)
    if comparison.strict:
        error = np.abs(finding.analytic - finding.numeric) - 10 * finding.uncertainty
        # What is no larger than the rounding errors of L allow is no error: a gradient that is truly zero is noise.
        error = np.maximum(error - comparison.rounding / finding.entry_scales, 0.0)
        comparison.hold_whole(finding, error, finding.numeric)


def _judge_direction(comparison, i, finding):
    """Compare the derivative along one random direction v through the whole argument.

    The entries' tolerances add up in quadrature, as independent errors do: ‖(atol + rtol |dx|) v‖.
    """
    v = finding.scales * comparison.rng.standard_normal(finding.gradient.shape)
    analytic = float(np.vdot(finding.gradient, v))
    allowed = comparison.atol + comparison.rtol * np.abs(finding.gradient)
    judgement = judge(analytic, comparison.lines.along_direction(i, v), 0.0, float(np.linalg.norm(allowed * v)))
    finding.direction = analytic, judgement.numeric
    finding.direction_uncertainty = judgement.uncertainty
    finding.direction_limit = comparison.rtol * float(np.linalg.norm(finding.gradient * v))
    finding.direction_verdict = judgement.verdict


def doubt(comparison, i, finding):
    """Return why central differences alone cannot call a gradient right to rtol of its norm, or an empty text.

    They can if both its distance from them and their own uncertainty are no more than that, along a random direction
    too where the entries are a sample.
    """
    if finding.direction_verdict == CANNOT_TELL:
        what = f"the derivative along a random direction through all {finding.gradient.size} entries"
        return f"{what} is beyond central differences: the output jumps, or has detail finer than their steps"
    counted = finding.verdicts == RIGHT
    if not np.any(finding.gradient) and not np.any(finding.numeric[counted]):
        return ""  # nothing has moved, and backward says that nothing does
    size = float(np.linalg.norm(finding.numeric[counted]))
    limit = comparison.rtol * size
    _look_closer(comparison, i, finding, counted, limit)
    gap = float(np.linalg.norm((finding.analytic - finding.numeric)[counted]))
    known_to = float(np.linalg.norm(finding.uncertainty[counted]))
    if counted.any() and not max(gap, known_to) <= limit:
        return _too_small("the norm of the gradient", size, max(gap, known_to))
    if finding.is_complete or finding.direction_verdict == WRONG:
        return ""
    gap = abs(finding.direction[0] - finding.direction[1])
    if not finding.direction_uncertainty <= max(finding.direction_limit, limit):
        what = "its derivative along a random direction"
        return _too_small(what, abs(finding.direction[1]), finding.direction_uncertainty)
    if gap <= finding.direction_uncertainty:
        return ""
    share = _off_along_directions(comparison, i, finding)
    if share <= comparison.rtol:
        return ""
    return f"along random directions through all entries it is off by {share:.1g} of its norm"


def _off_along_directions(comparison, i, finding):
    """Return the error as a share of the gradient's norm: one direction shows either by chance alone, many do not."""
    gaps, products = [], []
    for _ in range(DIRECTIONS):
        v = np.min(finding.scales) * comparison.rng.standard_normal(finding.gradient.shape)
        analytic, norm = float(np.vdot(finding.gradient, v)), float(np.linalg.norm(finding.gradient * v))
        judgement = judge(analytic, comparison.lines.along_direction(i, v), 0.0, comparison.rtol * norm)
        gaps.append(abs(analytic - judgement.numeric) - judgement.uncertainty)
        products.append(norm)
    return float(np.linalg.norm(np.maximum(gaps, 0.0)) / np.linalg.norm(products))


def _look_closer(comparison, i, finding, counted, limit):
    """Where the first estimate was good enough for atol, but is not for rtol of the norm, take the surest there is."""
    share = limit / max(np.sum(counted), 1) ** 0.5
    for k in np.flatnonzero(counted & (finding.uncertainty > share)):
        estimates = comparison.lines.along_entry(i, int(finding.entries[k]), float(finding.entry_scales[k]))
        best = min(estimates, key=lambda estimate: estimate.uncertainty)
        if best.uncertainty < finding.uncertainty[k]:
            finding.numeric[k], finding.uncertainty[k] = best.value, best.uncertainty


def _too_small(what, size, uncertainty):
    return (
        f"{what} is {size:.2g}, and central differences, the only oracle that applies, know it to ±{uncertainty:.1g}; "
        "a gradient that small may be quite wrong. With an atol, errors below it do not matter"
    )
