"""Judge one derivative with ever finer central differences.

A backward pass claims that the derivative along a line is a. Central differences provide ever finer estimates n of this
derivative, each with its uncertainty. If the first estimate does not agree with a, then a is wrong, or the step is too
long, or the step crosses a kink, such as that of a ReLU. Finer estimates distinguish these cases.

- **Right**: an estimate agrees, |a − n| ≤ atol + rtol |n|, and its uncertainty is within the same tolerance. If no
  estimate is so precise, the most precise one must agree, with an uncertainty of at most a hundred times the tolerance.
- **Wrong**: two successive estimates agree with each other, and neither agrees with a. Both must be typical of a smooth
  function: their values and one-sided derivatives differ by far less than the spread, or by rounding alone.
- **At a kink**: the two one-sided derivatives differ by the same amount down to the shortest step that rounding allows,
  and a lies between them or equals one of them. Any such a is a subgradient if the kink is convex. Frameworks return
  different values for ReLU at 0, and none of these values is wrong.
- **Cannot tell**: the uncertainty of every estimate exceeds its distance from a, because the output jumps here, is not
  finite near the input, or is dominated by rounding errors. The verdict is the same if finer estimates contradict the
  most precise one, because the output varies on a scale shorter than the steps. If an intermediate result is rounded to
  float32, two long steps agree with each other, and short ones with the derivative of the other paths alone.

A smooth function is never mistaken for a kink, because the difference of its one-sided derivatives falls as h³, by a
factor of 32,000 from one estimate to the next, until it reaches the rounding noise, which grows instead.

The first step is that of central_differences.py. It suits functions that change on the scale of the entry. Each further
step is 45 / √2 ≈ 32 times shorter. If a step spanned a whole number of periods of the function, as for x mod 1 and a
step of 512, the estimate would be exactly 0 with no uncertainty. Therefore the first step and the ratio contain square
roots. A wave of amplitude A then causes an error of about ±A / h, which grows from step to step, as rounding errors do,
but is far larger. If the complex step does not apply, a wave of amplitude below 1e-11 of y is treated as rounding, and
a gradient that ignores a wave is right if A / h at the first step is within the tolerance.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from gradcheck.central_differences import EPSILON, estimate, line_along, step_of
from gradcheck.judgement import CANNOT_TELL, KINK, RIGHT, WRONG

REFINEMENT = 2**0.5 / 45
ESTIMATES = 6  # at the last step, 3e-11 s, a jump of the slope is still five digits larger than rounding
HIDDEN = 2.0**16  # factor by which rounding errors within a function may exceed those of y, which `noise` estimates


class Judgement(NamedTuple):
    verdict: str
    numeric: float
    uncertainty: float


def judge(analytic, estimates, rtol, atol, *, is_one_entry=True):
    """Judge the derivative `analytic` with as few of the `estimates` as possible.

    `estimates` yields ever finer estimates (central_differences.Estimate). With `is_one_entry=False`, the derivative is
    along a direction through several entries. If these have different kinks, `analytic` need not lie between the
    one-sided slopes, so the verdict at a kink is always KINK.
    """
    seen = []
    for latest in estimates:
        seen.append(latest)
        tolerance = atol + rtol * abs(latest.value)
        is_right = abs(analytic - latest.value) <= tolerance and latest.uncertainty <= tolerance
        if is_right or _is_surely_wrong(analytic, seen, rtol, atol):
            return _unless_contradicted(RIGHT if is_right else WRONG, analytic, latest, seen)
    best = min(seen, key=lambda estimate: estimate.uncertainty)
    verdict, uncertainty = CANNOT_TELL, best.uncertainty
    gap, tolerance = abs(analytic - best.value), atol + rtol * abs(best.value)
    slopes = _slopes(seen)
    if slopes is not None:
        verdict = KINK if not is_one_entry or _between(analytic, slopes, rtol, atol) else WRONG
    elif _is_contradicted(best, seen):
        uncertainty = math.inf
    elif gap <= tolerance and best.uncertainty <= 100 * tolerance:
        verdict = RIGHT
    elif math.isfinite(best.value) and not gap <= max(tolerance, 4 * best.spread, 4 * best.noise):
        return _unless_contradicted(WRONG, analytic, best, seen)
    return Judgement(verdict, best.value, uncertainty)


def _is_surely_wrong(analytic, seen, rtol, atol):
    """Return True if further estimates cannot change the verdict WRONG.

    `seen` lists the estimates so far. The difference, spread and noise of the last two must be at most a quarter of the
    distance from `analytic`. Both estimates must also be typical of a smooth function: the spread is of second order in
    the step, the difference of the one-sided derivatives is of third order, and the error of the value is of fourth
    order. Rounding is allowed for.
    """
    last = seen[-1]
    if not math.isfinite(analytic):
        return math.isfinite(last.value)
    gap = abs(analytic - last.value)
    if len(seen) < 2 or gap <= atol + rtol * abs(last.value):
        return False
    before = seen[-2]
    change = abs(before.value - last.value)
    if not max(before.spread, last.spread, before.noise, last.noise, change) <= gap / 4:
        return False
    differences = [(abs(e.right - e.left), e.spread) for e in (before, last)] + [(change, before.spread)]
    return all(difference <= max(spread / 4, _hidden_rounding(last)) for difference, spread in differences)


def _unless_contradicted(verdict, analytic, estimate, seen):
    """Return a Judgement with the verdict, unless estimates with longer steps contradict it.

    `seen` lists all estimates, the longest step first, and the verdict is based on `estimate`. Two successive estimates
    with longer steps contradict it if they agree with each other but not with `estimate`. A kink cannot be the reason,
    because a kink between the two steps would change only one of the two. A contradicted verdict becomes CANNOT_TELL,
    except that WRONG is kept if the two estimates also disagree with `analytic`.
    """
    for first, second in itertools.pairwise(seen[: seen.index(estimate)]):
        change = abs(first.value - second.value)
        error = max(first.spread, second.spread, first.noise, second.noise, change)
        gap = min(abs(first.value - estimate.value), abs(second.value - estimate.value))
        if error <= gap / 4 and change <= abs(first.value) / 16:
            if verdict == WRONG and abs(analytic - first.value) > 4 * error:
                return Judgement(WRONG, first.value, error)
            return Judgement(CANNOT_TELL, first.value, math.inf)
    return Judgement(verdict, estimate.value, estimate.uncertainty)


def _is_contradicted(best, seen):
    """Return True if both one-sided derivatives of a finer estimate in the list `seen` contradict `best`."""
    # A jump nearby changes only one of them.
    finer = [(min(abs(e.left - best.left), abs(e.right - best.right)), e) for e in seen[seen.index(best) + 1 :]]
    return any(change > max(4 * best.spread, _hidden_rounding(estimate)) for change, estimate in finer)


def _hidden_rounding(estimate):
    return HIDDEN * (estimate.noise + EPSILON * abs(estimate.value))


def _slopes(seen):
    """Return the estimates in the list `seen` that show a kink, or None if there is no kink.

    At a kink the one-sided derivatives differ by more than rounding, and the difference does not shrink with the step.
    """
    clear = [e for e in seen[1:] if 20 * e.noise <= abs(e.right - e.left)]
    if len(clear) < 2:
        return None
    before, last = clear[-2:]
    change = max(abs(before.left - last.left), abs(before.right - last.right))
    return None if change > abs(last.right - last.left) / 10 else clear


def _between(analytic, clear, rtol, atol):
    """Return True if `analytic` lies between the one-sided slopes of each estimate."""
    for here, neighbour in zip(clear, [*clear[1:], clear[-2]], strict=True):
        low, high = sorted((here.left, here.right))
        drift = abs(here.left - neighbour.left) + abs(here.right - neighbour.right)
        slack = atol + rtol * max(abs(low), abs(high)) + drift
        if not low - slack <= analytic <= high + slack:
            return False
    return True


def estimates(line, y, dy, scale):
    """Yield ever finer estimates of the derivative of ⟨dy, line(t)⟩ at t = 0.

    `scale` is the length over which the function changes; all steps are proportional to it. An output that has changed
    with one step is assumed to change with all shorter steps.
    """
    moved = np.zeros(y.shape, dtype=bool)

    def remembered(t):
        output = line(t)
        np.logical_or(moved, output != y, out=moved)
        return output

    for h in steps(scale):
        yield estimate(remembered, y, dy, h, moved)


def steps(scale):
    return [step_of(scale, REFINEMENT**k) for k in range(ESTIMATES)]


def along_entry(finding, k):
    return estimates(finding.line(k), finding.run.y, finding.run.dy, float(finding.scales[k]))


def along_direction(finding, v):
    return estimates(line_along(finding.run.call, finding.array, v), finding.run.y, finding.run.dy, 1.0)
