"""Check that the gradients of several entries at a kink are consistent with each other.

At a maximum of four equal entries each entry has slopes 0 and 1, and its gradient may be any value between. But if all
four change together, the maximum changes with them, smoothly, so their gradients must add up to 1. A backward that
passes the whole gradient to each of them, or to none, is wrong, although no single entry shows it.

Entries form a group if their kinks affect the same outputs, which is not so for the ReLUs of two entries. The entries
of a group are changed together, once by equal amounts and once by amounts that change the loss equally. If such a
direction also has a kink, it decides nothing.
"""

import numpy as np

from gradcheck.central_differences import displaced, line_along, scales_of
from gradcheck.complex_step import NotComplexSafe
from gradcheck.judgement import CANNOT_TELL, KINK, WRONG
from gradcheck.refine.one_derivative import along_direction, judge

SHORT = 2.0**-20  # of an entry's scale: over this distance a smooth curvature has a millionth of the effect of a kink
BESIDE = 2.0**-28  # of an entry's scale: size of the perturbations that break ties
PAIRS = 6  # number of pairs of directions; both directions of a pair may break ties in the same order
NEARBY, MANY = 16, 50  # number of points near ties, and the largest number of entries that are compared there
SLACK = 1e-4  # relative to the derivatives nearby: allowance for rounding and for changes between the points
CLEAR = 1e-3  # relative to the largest second difference of an entry: smaller ones are not kinks


def held_together(finding):
    """Mark inconsistent gradients at kinks as wrong, unless other entries are wrong, which may explain them."""
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


def at_ties(finding):
    """Withdraw wrong verdicts if backward's value is a derivative at a nearby input.

    At ties, backward's value need not lie between the one-sided derivatives. If a sort assigns the middle of three
    ranks to one of three equal entries, the one-sided derivatives of this entry belong to the other two ranks. A median
    of equal entries does not change if only one of them changes.

    In such cases, an entry with a kink is judged to be at a kink, and any other entry to be undecided. Raises
    NotComplexSafe if an entry is undecided, unless the complex step does not apply anyway, since it takes one of the
    ranks.
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
    is_resolved = np.abs(near[:, 0] - near[:, 1]) <= slack  # neither rounding nor another tie within the step
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
    """Return True if the change of an output along the sum of two directions is not the sum of its changes."""
    run, directions = finding.run, (moves[0] + moves[1], *moves)
    both, *single = (line_along(run.call, finding.array, v)(1.0) - run.y for v in directions)
    largest = max(np.max(np.abs(change), initial=0.0) for change in (both, *single))
    return bool(np.any(np.abs(both - sum(single)) > CLEAR * largest))


def _slope(finding, k, h):
    """Return the derivative of the loss with respect to compared entry k, and the outputs after ±h."""
    line = finding.line(k)
    forth, back = line(h), line(-h)
    return float(np.sum(finding.run.dy * (forth - back))) / (2 * h), forth, back


def _kinked_outputs(finding, k):
    """Return the outputs that have a kink at compared entry k, and the slope of the loss across the kink."""
    slope, forth, back = _slope(finding, k, SHORT * finding.scales[k])
    jumps = np.abs(forth + back - 2 * finding.run.y).ravel()
    return np.flatnonzero(jumps > CLEAR * np.max(jumps)), slope


def _groups(outputs):
    """Return lists of positions in `outputs`, at least two in each, that have an output in common."""
    groups = []
    for k, several in enumerate(outputs):
        own = set(several.tolist())
        joined = [group for group in groups if group[1] & own]
        groups = [group for group in groups if group not in joined]
        groups.append(([k, *(i for members, _ in joined for i in members)], own.union(*(seen for _, seen in joined))))
    return [sorted(members) for members, _ in groups if len(members) > 1]
