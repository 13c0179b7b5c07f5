"""Whether one derivative is right, wrong, or at a kink.

A backward pass claims that the derivative along a line is a. An oracle yields estimates of it, ever finer. Most often
the first one agrees and that is all. If it does not, either a is wrong, or the estimate is: the step may reach across a
kink of a ReLU nearby, or be too long for the function. Finer estimates tell which.

- **Right**: an estimate n agrees, |a − n| ≤ atol + rtol |n|. A finer estimate, where rounding grows, must besides
  be good enough for its agreement to mean something.
- **Wrong**: two estimates in a row agree with each other, each knows itself well (its spread is small against the gap
  to a), and neither agrees with a. The function is smooth here and its derivative is not a.
- **At a kink**: the two one-sided derivatives keep differing, by the same amount, down to the shortest step that
  rounding allows, and a lies between them, the ends included. Any such a is a subgradient of a convex kink:
  frameworks differ in which they return at ReLU's 0, and none is wrong.
- Otherwise wrong: also at a kink, when a lies outside.

A smooth function is never taken for a kink: the difference of its one-sided derivatives falls as h³, a factor of
32,768 from one estimate to the next, until it is rounding noise, which grows instead.
"""

import math

RIGHT, WRONG, KINK = "right", "wrong", "at a kink"


def judge(analytic, estimates, rtol, atol):
    """Return (verdict, numeric value): the verdict on `analytic`, and what the oracle gives instead."""
    seen = []
    for estimate in estimates:
        tolerance = atol + rtol * abs(estimate.value)
        known_well = not seen or estimate.spread <= 100 * tolerance
        if known_well and abs(analytic - estimate.value) <= tolerance:
            return RIGHT, estimate.value
        seen.append(estimate)
        if _settled(analytic, seen):
            return WRONG, estimate.value
    best = min(seen, key=lambda estimate: estimate.spread if math.isfinite(estimate.spread) else math.inf)
    return (KINK if _between_slopes(analytic, seen, rtol, atol) else WRONG), best.value


def _settled(analytic, seen):
    """Whether more estimates cannot help: the last two are sure of themselves, of each other, and of the gap."""
    if not math.isfinite(analytic):
        return math.isfinite(seen[-1].value)
    if len(seen) < 2:
        return False
    before, last = seen[-2:]
    gap = abs(analytic - last.value)
    return max(before.spread, last.spread, abs(before.value - last.value)) <= gap / 4


def _between_slopes(analytic, seen, rtol, atol):
    """Whether the one-sided derivatives keep differing as the step shrinks, with `analytic` between them."""
    clear = [e for e in seen[1:] if 20 * e.noise <= abs(e.right - e.left)]
    if len(clear) < 2:
        return False
    before, last = clear[-2:]
    jump = abs(last.right - last.left)
    if max(abs(before.left - last.left), abs(before.right - last.right)) > jump / 10:
        return False
    for estimate, neighbour in zip(clear, [*clear[1:], before], strict=True):
        low, high = sorted((estimate.left, estimate.right))
        drift = abs(estimate.left - neighbour.left) + abs(estimate.right - neighbour.right)
        slack = atol + rtol * max(abs(low), abs(high)) + drift
        if not low - slack <= analytic <= high + slack:
            return False
    return True
