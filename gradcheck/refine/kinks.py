"""Check that the gradients of entries that share a kink are consistent.

At a maximum of four equal entries, the one-sided slopes of each entry are 0 and 1, and its gradient may be any value in
between. But if all four change together, the maximum changes smoothly, so their gradients must add up to 1. A backward
pass that assigns the whole gradient to each entry, or to none, is wrong, although no single entry shows it.

Entries form a group if their kinks affect the same outputs. The ReLUs of two entries, for example, affect different
outputs. The entries of a group are changed together, once by equal amounts and once by amounts that change the loss
equally. If the function has a kink along such a direction too, the direction decides nothing.
"""

import numpy as np

from gradcheck.central_differences import displaced, line_along, scales_of
from gradcheck.complex_step import NotComplexSafe
from gradcheck.judgement import CANNOT_TELL, KINK, WRONG
from gradcheck.refine.one_derivative import along_direction, judge

SHORT = 2.0**-20  # of an entry's scale: over this distance a smooth curvature has a millionth of the effect of a kink
BESIDE = 2.0**-28  # of an entry's scale: largest perturbation that breaks ties
PAIRS = 6  # number of pairs of directions; the two directions of a pair may break a tie in the same way
NEARBY, MANY = 16, 50  # number of points near a tie, and the largest number of entries that are compared at them
SLACK = 1e-4  # relative to the derivatives at these points: allowance for rounding and smooth changes
CLEAR = 1e-3  # relative to the largest second difference of an entry: a smaller one is not a kink


def compare_groups(finding):
    """Check that the gradients of entries at the same kink are consistent, and update the verdicts on these entries."""
    kinks, terms = np.flatnonzero(finding.verdicts == KINK), finding.terms
    if len(kinks) < 2 or finding.is_wrong:
        return
    scale, verdicts = float(np.min(scales_of(finding.array))), finding.verdicts.copy()
    outputs, slopes = zip(*(_kinked_outputs(finding, k) for k in kinks), strict=True)
    for group in _groups(outputs):
        for weights in (np.ones(len(group)), 1 / np.array([slopes[k] or np.inf for k in group])):
            if not weights.any():
                continue
            v = np.zeros(finding.array.shape)
            v.flat[finding.entries[kinks[group]]] = weights / np.max(np.abs(weights))
            analytic = float(np.sum(finding.gradient * v))
            along = along_direction(finding, scale * v)
            found = judge(scale * analytic, along, terms.rtol, scale * terms.atol, is_one_entry=False)
            if found.verdict == WRONG:
                verdicts[kinks[group]] = WRONG
                finding.together = analytic, found.numeric / scale
    finding.verdicts = verdicts


def withdraw_at_ties(finding):
    """Withdraw a verdict of WRONG if the gradient is right for a slightly different input.

    At ties, a valid gradient need not lie between the one-sided derivatives. For example, if a sort assigns the middle
    of three ranks to one of three equal entries, the one-sided derivatives of this entry belong to the other two ranks.
    And a median of equal entries does not change if only one of them changes. The verdict becomes KINK if the entry
    alone has a kink, and CANNOT_TELL otherwise. In the latter case NotComplexSafe is raised if the complex step is in
    use, because the complex step follows only one order of the ties.
    """
    array, wrong = finding.array, np.flatnonzero(finding.verdicts == WRONG)
    scales, rng = scales_of(array), np.random.default_rng([finding.position, NEARBY])
    if not 0 < len(wrong) <= MANY:
        return
    pairs = scales * rng.uniform(-1.0, 1.0, (PAIRS, 2, *array.shape))
    if not any(all(_is_bent(finding, d * pair) for d in (BESIDE, BESIDE / 64, BESIDE / 4096)) for pair in pairs):
        return  # the bend of a smooth function vanishes with the distance d
    near = np.empty((NEARBY, 2, len(wrong)))
    for m in range(NEARBY):
        with displaced([array], [array + BESIDE * scales * rng.uniform(-1.0, 1.0, array.shape)]):
            here = scales_of(array).ravel()[finding.entries]
            near[m] = [[_slope(finding, k, f * BESIDE / 64 * here[k])[0] for k in wrong] for f in (1.0, 0.7)]
    analytic, slack = finding.analytic[wrong], SLACK * np.max(np.abs(near), axis=(0, 1))
    is_resolved = np.abs(near[:, 0] - near[:, 1]) <= slack  # no effect of rounding, or of another tie within the step
    low = np.min(near[:, 0], axis=0, initial=np.inf, where=is_resolved)
    high = np.max(near[:, 0], axis=0, initial=-np.inf, where=is_resolved)
    occurs = (np.mean(is_resolved, axis=0) > 0.5) & (low - slack <= analytic) & (analytic <= high + slack)
    verdicts = finding.verdicts.copy()
    for k in wrong[occurs]:
        verdicts[k] = KINK if len(_kinked_outputs(finding, k)[0]) else CANNOT_TELL
    finding.verdicts = verdicts
    if CANNOT_TELL in verdicts[wrong]:
        finding.doubt = "the derivative jumps at this input, and backward's value occurs at inputs beside it"
        if finding.step is not None:
            raise NotComplexSafe(f"in {finding.argument.name} {finding.doubt}")


def _is_bent(finding, moves):
    """Return True if the change of the output for two moves together is not the sum of the changes for each."""
    run, directions = finding.run, (moves[0] + moves[1], *moves)
    both, *single = (line_along(run.call, finding.array, v)(1.0) - run.y for v in directions)
    largest = max(np.max(np.abs(change), initial=0.0) for change in (both, *single))
    return bool(np.any(np.abs(both - sum(single)) > CLEAR * largest))


def _slope(finding, k, h):
    """Return the slope of the loss along the k-th compared entry, y(h) and y(−h)."""
    line = finding.line(k)
    forth, back = line(h), line(-h)
    return float(np.sum(finding.run.dy * (forth - back))) / (2 * h), forth, back


def _kinked_outputs(finding, k):
    """Return the outputs with a kink along the k-th compared entry, and the slope."""
    slope, forth, back = _slope(finding, k, SHORT * finding.scales[k])
    jumps = np.abs(forth + back - 2 * finding.run.y).ravel()
    return np.flatnonzero(jumps > CLEAR * np.max(jumps)), slope


def _groups(outputs):
    """Return the groups of entries that affect a common output, as lists of indices."""
    groups = []
    for k, several in enumerate(outputs):
        own = set(several.tolist())
        joined = [group for group in groups if group[1] & own]
        groups = [group for group in groups if group not in joined]
        groups.append(([k, *(i for members, _ in joined for i in members)], own.union(*(seen for _, seen in joined))))
    return [sorted(members) for members, _ in groups if len(members) > 1]
