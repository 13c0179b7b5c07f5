"""Whether one derivative is right, wrong, or at a kink, or whether central differences cannot tell.

A backward pass claims that the derivative along a line is a. An oracle yields estimates n of it, ever finer, and each
knows how far it may be from the truth. Most often the first one is sure of itself, agrees, and that is all. If not,
either a is wrong, or the estimate is: the step may reach across a kink of a ReLU nearby, or be too long for the
function. Finer estimates tell which.

- **Right**: an estimate agrees, |a − n| ≤ atol + rtol |n|, and its own uncertainty is no larger than that. Should
  none be so sure, the surest has to agree, and its uncertainty to be at most a hundred times larger.
- **Wrong**: two estimates in a row agree with each other, each knows itself well (its spread is small against the gap
  to a), and neither agrees with a. They are such as a smooth function gives: their values and one-sided derivatives
  differ by far less than the spread, or by rounding alone. The function is smooth here and its derivative is not a.
- **At a kink**: the two one-sided derivatives keep differing, by the same amount, down to the shortest step that
  rounding allows, and a lies between them, the ends included. Any such a is a subgradient of a convex kink:
  frameworks differ in which they return at ReLU's 0, and none is wrong. If a lies outside, it is wrong.
- **Cannot tell**: no estimate is surer than the gap between it and a. The output jumps here, is not finite beside the
  input, or its rounding errors drown the change. Or finer estimates deny the surest one: the output has detail finer
  than the steps, of which a coarse one sees the mean. Nothing is said against the gradient then, nor for it.

A smooth function is never taken for a kink: the difference of its one-sided derivatives falls as h³, a factor of
32,000 from one estimate to the next, until it is rounding noise, which grows instead.
"""

import math
from typing import NamedTuple

from gradcheck.central_differences import EPSILON
from gradcheck.judgement import CANNOT_TELL, KINK, RIGHT, WRONG

HIDDEN = 2.0**16  # a function's own rounding errors may be so many times that of y, which is all that noise counts


class Judgement(NamedTuple):
    """The verdict on one derivative, what the oracle gives instead, and how far that may lie from the truth."""

    verdict: str
    numeric: float
    uncertainty: float


def judge(analytic, estimates, rtol, atol, *, is_one_entry=True):
    """Return the Judgement on `analytic`, after as few of the estimates as it takes.

    A direction through several entries, each at a kink of its own, has slopes between which no choice of backward's has
    to lie: there a kink is all that can be said.
    """
    seen = []
    for estimate in estimates:
        seen.append(estimate)
        tolerance = atol + rtol * abs(estimate.value)
        if abs(analytic - estimate.value) <= tolerance and estimate.uncertainty <= tolerance:
            return _judgement(RIGHT, estimate)
        if _settled(analytic, seen, rtol, atol):
            return _judgement(WRONG, estimate)
    best = min(seen, key=lambda estimate: estimate.uncertainty)
    slopes = _slopes(seen)
    if slopes is not None:
        is_allowed = not is_one_entry or _between(analytic, slopes, rtol, atol)
        return _judgement(KINK if is_allowed else WRONG, best)
    if _is_denied(best, seen):
        return Judgement(CANNOT_TELL, best.value, math.inf)
    gap = abs(analytic - best.value)
    tolerance = atol + rtol * abs(best.value)
    if gap <= tolerance and best.uncertainty <= 100 * tolerance:
        return _judgement(RIGHT, best)
    if math.isfinite(best.value) and not gap <= max(tolerance, 4 * best.spread, 4 * best.noise):
        return _judgement(WRONG, best)
    return _judgement(CANNOT_TELL, best)


def _judgement(verdict, estimate):
    return Judgement(verdict, estimate.value, estimate.uncertainty)


def _settled(analytic, seen, rtol, atol):
    """Whether more estimates cannot help: the last two are sure of themselves, of each other, and of the gap."""
    last = seen[-1]
    if not math.isfinite(analytic):
        return math.isfinite(last.value)
    gap = abs(analytic - last.value)
    if len(seen) < 2 or gap <= atol + rtol * abs(last.value):
        return False
    before = seen[-2]
    noise = max(before.noise, last.noise)
    if not max(before.spread, last.spread, noise, abs(before.value - last.value)) <= gap / 4:
        return False
    return _are_smooth(before, last)


def _are_smooth(before, last):
    """Whether two estimates in a row are such as a smooth function gives, but for rounding.

    Its spread is of second order in the step, what its one-sided derivatives differ by of third, its values of fourth.
    """
    hidden = _hidden(last)
    differences = [(abs(e.right - e.left), e.spread) for e in (before, last)]
    differences.append((abs(before.value - last.value), before.spread))
    return all(difference <= max(spread / 4, hidden) for difference, spread in differences)


def _is_denied(best, seen):
    """Whether both one-sided derivatives of a finer estimate are others than the best's, and not for rounding."""
    for finer in seen[seen.index(best) + 1 :]:
        change = min(abs(finer.left - best.left), abs(finer.right - best.right))  # a jump nearby moves one of them
        if change > max(4 * best.spread, _hidden(finer)):
            return True
    return False


def _hidden(estimate):
    """Return what may be rounding in the changes of an estimate: that of y, and as much as HIDDEN times that within."""
    return HIDDEN * (estimate.noise + EPSILON * abs(estimate.value))


def _slopes(seen):
    """Return the estimates whose one-sided derivatives differ clearly, if they keep differing as the step shrinks."""
    clear = [e for e in seen[1:] if 20 * e.noise <= abs(e.right - e.left)]
    if len(clear) < 2:
        return None
    before, last = clear[-2:]
    jump = abs(last.right - last.left)
    if max(abs(before.left - last.left), abs(before.right - last.right)) > jump / 10:
        return None
    return clear


def _between(analytic, clear, rtol, atol):
    """Whether `analytic` lies between the one-sided derivatives of each of these estimates."""
    before = clear[-2]
    for estimate, neighbour in zip(clear, [*clear[1:], before], strict=True):
        low, high = sorted((estimate.left, estimate.right))
        drift = abs(estimate.left - neighbour.left) + abs(estimate.right - neighbour.right)
        slack = atol + rtol * max(abs(low), abs(high)) + drift
        if not low - slack <= analytic <= high + slack:
            return False
    return True
