"""Check that the gradients of several entries at a kink are consistent with each other.

At a maximum of four equal entries each entry has slopes 0 and 1, and its gradient may be any value between. But if all
four change together, the maximum changes with them, smoothly, so their gradients must add up to 1. A backward that
passes the whole gradient to each of them, or to none, is wrong, although no single entry shows it.

Entries form a group if their kinks affect the same outputs, which is not so for the ReLUs of two entries. The entries
of a group are changed together, once by equal amounts and once by amounts that change the loss equally. If such a
direction also has a kink, it decides nothing.
"""

from dataclasses import replace

import numpy as np

from gradcheck.central_differences import displaced, line_along, line_along_entry, scales_of
from gradcheck.complex_step import NotComplexSafe
from gradcheck.judgement import CANNOT_TELL, KINK, WRONG
from gradcheck.refine.one_derivative import along_direction, judge

SHORT = 2.0**-20  # of an entry's scale: over this distance a smooth curvature has a millionth of the effect of a kink
BESIDE = 2.0**-28  # of an entry's scale: size of the perturbations that break ties
PAIRS = 6  # number of pairs of directions; both directions of a pair may break ties in the same order
NEARBY, MANY = 16, 50  # number of points near ties, and the largest number of entries that are compared there
SLACK = 1e-4  # relative to the derivatives nearby: allowance for rounding and for changes between the points
CLEAR = 1e-3  # relative to the largest second difference of an entry: smaller ones are not kinks


def held_together(run, i, finding, terms):
    """Return the finding, with inconsistent gradients at kinks marked wrong.

    No gradient is marked if other entries are wrong, since those may explain the inconsistency.
    """
    array, gradient = run.arguments[i].array, run.gradients[i]
    kinks = finding.entries[finding.verdicts == KINK]
    if len(kinks) < 2 or finding.is_wrong:
        return finding
    scale = float(np.min(scales_of(array)))
    outputs, slopes = zip(*(_kinked_outputs(run, array, int(entry)) for entry in kinks), strict=True)
    verdicts, together = finding.verdicts.copy(), None
    for group in _groups(outputs):
        for weights in (np.ones(len(group)), 1 / np.array([slopes[k] or np.inf for k in group])):
            if not weights.any():
                continue
            v = np.zeros(array.shape)
            v.flat[kinks[group]] = weights / np.max(np.abs(weights))
            analytic = float(np.sum(gradient * v))
            estimates = along_direction(run, i, scale * v)
            found = judge(scale * analytic, estimates, terms.rtol, scale * terms.atol, is_one_entry=False)
            if found.verdict == WRONG:
                verdicts[np.isin(finding.entries, kinks[group])] = WRONG
                together = analytic, found.numeric / scale
    return replace(finding, verdicts=verdicts, together=together)


def at_ties(run, step, i, finding):
    """Return the finding, with wrong verdicts withdrawn if backward's value is a derivative at a nearby input.

    At ties, backward's value need not lie between the one-sided derivatives. If a sort assigns the middle of three
    ranks to one of three equal entries, the one-sided derivatives of this entry belong to the other two ranks. A median
    of equal entries does not change if only one of them changes.

    In such cases, an entry with a kink is judged to be at a kink, and any other entry to be undecided. Raises
    NotComplexSafe if an entry is undecided, unless `step` is None, since the complex step takes one of the ranks.
    """
    array, wrong = run.arguments[i].array, np.flatnonzero(finding.verdicts == WRONG)
    scales, rng = scales_of(array), np.random.default_rng([i, NEARBY])
    if not 0 < len(wrong) <= MANY:
        return finding
    pairs = scales * rng.uniform(-1.0, 1.0, (PAIRS, 2, *array.shape))
    if not any(all(_is_bent(run, array, d * pair) for d in (BESIDE, BESIDE / 64, BESIDE / 4096)) for pair in pairs):
        return finding  # the bend of a smooth function vanishes with the distance d
    near = np.empty((NEARBY, 2, len(wrong)))
    for m in range(NEARBY):
        with displaced([array], [array + BESIDE * scales * rng.uniform(-1.0, 1.0, array.shape)]):
            near[m] = [[_slope(run, array, int(e), factor) for e in finding.entries[wrong]] for factor in (1.0, 0.7)]
    analytic, slack = finding.analytic[wrong], SLACK * np.max(np.abs(near), axis=(0, 1))
    is_resolved = np.abs(near[:, 0] - near[:, 1]) <= slack  # neither rounding nor another tie within the step
    low = np.min(near[:, 0], axis=0, initial=np.inf, where=is_resolved)
    high = np.max(near[:, 0], axis=0, initial=-np.inf, where=is_resolved)
    occurs = (np.mean(is_resolved, axis=0) > 0.5) & (low - slack <= analytic) & (analytic <= high + slack)
    verdicts = finding.verdicts.copy()
    for k in wrong[occurs]:
        outputs, _ = _kinked_outputs(run, array, int(finding.entries[k]))
        verdicts[k] = KINK if len(outputs) else CANNOT_TELL
    if CANNOT_TELL not in verdicts[wrong]:
        return replace(finding, verdicts=verdicts)
    doubt = "the derivative jumps at this input, and backward's value occurs at inputs beside it"
    if step is not None:
        raise NotComplexSafe(f"in {finding.argument.name} {doubt}")
    return replace(finding, verdicts=verdicts, doubt=doubt)


def _is_bent(run, array, moves):
    """Return True if the change of an output along the sum of two directions is not the sum of its changes."""
    both, *single = (line_along(run.call, array, v)(1.0) - run.y for v in (moves[0] + moves[1], *moves))
    largest = max(np.max(np.abs(change), initial=0.0) for change in (both, *single))
    return bool(np.any(np.abs(both - sum(single)) > CLEAR * largest))


def _slope(run, array, entry, factor):
    """Return the derivative of the loss with respect to one entry, with a step of factor · BESIDE / 64."""
    h = factor * BESIDE / 64 * float(scales_of(array).flat[entry])
    line = line_along_entry(run.call, array, np.unravel_index(entry, array.shape))
    return float(np.sum(run.dy * (line(h) - line(-h)))) / (2 * h)


def _kinked_outputs(run, array, entry):
    """Return the outputs that have a kink at this entry, and the slope of the loss across the kink."""
    h = SHORT * float(scales_of(array).flat[entry])
    line = line_along_entry(run.call, array, np.unravel_index(entry, array.shape))
    forth, back = line(h), line(-h)
    jumps = np.abs(forth + back - 2 * run.y).ravel()
    return np.flatnonzero(jumps > CLEAR * np.max(jumps)), float(np.sum(run.dy * (forth - back))) / (2 * h)


def _groups(outputs):
    """Return lists of entries, at least two in each, whose kinks affect the same outputs.

    `outputs` lists, for each entry, the outputs with a kink. The lists contain positions in `outputs`.
    """
    group_of, first = list(range(len(outputs))), {}
    for k, several in enumerate(outputs):
        for output in several.tolist():
            other, mine = group_of[first.setdefault(output, k)], group_of[k]
            if other != mine:
                group_of = [other if group == mine else group for group in group_of]
    groups = [[k for k, group in enumerate(group_of) if group == g] for g in sorted(set(group_of))]
    return [group for group in groups if len(group) > 1]
