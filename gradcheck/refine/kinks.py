"""Check that the gradients of several entries at a kink are consistent with each other.

At a maximum of four equal entries each entry has slopes 0 and 1, and its gradient may be any value between. But if all
four change together, the maximum changes with them, smoothly, so their gradients must add up to 1. A backward that
passes the whole gradient to each of them, or to none, is wrong, although no single entry shows it.

Entries belong together if their kinks affect the same outputs; the ReLUs of two entries do not. The entries of a group
are changed together, once by equal amounts and once by amounts that change the loss equally. If that direction also has
a kink, it decides nothing.
"""

from dataclasses import replace

import numpy as np

from gradcheck.central_differences import line_along_entry, scales_of
from gradcheck.judgement import KINK, WRONG
from gradcheck.refine.one_derivative import along_direction, judge

SHORT = 2.0**-20  # of an entry's scale: over this distance a smooth curvature has a millionth of the effect of a kink
CLEAR = 1e-3  # of the largest kink of an entry: smaller second differences of an output are not kinks


def held_together(run, i, finding, terms):
    """Return the finding, with inconsistent gradients at kinks marked wrong.

    Nothing is marked if other entries are wrong, since those may explain the inconsistency.
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


def _kinked_outputs(run, array, entry):
    """Return (the outputs with a kink at this entry, the slope of the loss across it)."""
    h = SHORT * float(scales_of(array).flat[entry])
    line = line_along_entry(run.call, array, np.unravel_index(entry, array.shape))
    forth, back = line(h), line(-h)
    jumps = np.abs(forth + back - 2 * run.y).ravel()
    return np.flatnonzero(jumps > CLEAR * np.max(jumps)), float(np.sum(run.dy * (forth - back))) / (2 * h)


def _groups(outputs):
    """Return lists of the positions of entries with kinks at the same outputs.

    Each list has at least two positions.
    """
    group_of, first = list(range(len(outputs))), {}
    for k, several in enumerate(outputs):
        for output in several.tolist():
            other, mine = group_of[first.setdefault(output, k)], group_of[k]
            if other != mine:
                group_of = [other if group == mine else group for group in group_of]
    groups = [[k for k, group in enumerate(group_of) if group == g] for g in sorted(set(group_of))]
    return [group for group in groups if len(group) > 1]
