"""The derivative of a function along a line, by central differences extrapolated to fourth order.

Let y(t) be the output when the input has moved by t along a line (one entry of one argument, or a direction through
all of it), and L(t) = ⟨dy, y(t)⟩ with dy fixed. Wanted is L′(0). The four evaluations y(±h), y(±2h) give two central
differences. The outputs are subtracted before the product with dy, so that the large common part of L cancels exactly
instead of leaving its rounding errors behind:

    D(h) = ⟨dy, y(h) − y(−h)⟩ / 2h                                  (1)

Taylor's series of an odd difference has only even powers of h,

    D(h) = L′ + h²/6 · L‴ + h⁴/120 · L⁽⁵⁾ + …

and Richardson's extrapolation removes the first of them:

    R(h) = (4 D(h) − D(2h)) / 3 = L′ − h⁴/30 · L⁽⁵⁾ + …              (2)

The step. Each output carries a rounding error of about ε = 2⁻⁵² of its size, so (1) carries about ε Y / h with
Y = Σ |dy · y|, and (2) at most 3/2 of that. If s is the length over which L changes (L⁽⁵⁾ ≈ Y / s⁵), the two errors

    E(h) = Y · (h⁴ / 30 s⁵ + 3ε / 2h)

are least where E′ = 0, at h = s · (45 ε / 4)^(1/5) ≈ 1.2e-3 s, with E ≈ 3.5e-13 Y/s. Plain central differences,
with E(h) = Y (h² / 6 s³ + ε / h), get no lower than 4e-11 Y/s: in a whole model, where some L⁽ⁿ⁾ are hundreds of times
larger than this estimate of them, that is the difference between a check at 1e-6 and none. Hence the step,

    h = √3 · 2⁻¹¹ · s ≈ 0.85e-3 s                                   (3)

with s the scale of the entry: its own size, or the mean size of its argument if that is larger, rounded up to a power
of two, and h to a multiple of 2⁻⁵¹ s, so that x ± h is nearly always exact. But s is a guess: near a kink, beside a
pole, or where logits are in the thousands, the length is shorter. So an estimate has to know how far it may be from the
truth. Where that is too far, shorter steps are tried (gradcheck/closer/estimates.py, which also says why √3).

One-sided derivatives come from the same evaluations, extrapolated likewise:

    S±(h) = (4 ⟨dy, y(±h) − y(0)⟩ − ⟨dy, y(±2h) − y(0)⟩) / ±2h = L′ − h²/3 · L‴ + …    (4)

Both carry the same h² term, so that for a smooth function S₊ − S₋ = O(h³), which vanishes much faster than either
error; where the slope jumps, S₊ − S₋ tends to the jump. How far they lie from R is an honest, rather pessimistic
bound on R's own error:

    spread = max(|S₊ − R|, |S₋ − R|)                                (5)

It covers the distance of D from R too: the mean of S₊ and S₋ is 2 D(h) − D(2h), twice as far from R as D(h) is.

The spread is of second order, R of fourth, so a sharper measure is wanted where R is to be trusted to all its digits.
If the derivatives grow as a geometric series, L⁽⁵⁾ / L‴ ≈ L‴ / L′, the error of R is to the spread as the spread is
to L′. A kink within reach of the step follows no series, but shows in S₊ − S₋: at six times its effect on R if it lies
between h and 2h, at less if it is nearer, and at 2h/3 not at all. Hence, with rounding,

    uncertainty = |S₊ − S₋| + spread² / (spread + |R|) + 3/2 · noise     (6)

That is an estimate, not a bound. Measured against the complex step on 21,071 entries of 109 layers and models, the true
error was 2 % of it in the median, 28 % at the 99th percentile, and exceeded it in four entries, by 1.74 times at most.
"""

import math
from dataclasses import dataclass

import numpy as np

RELATIVE_STEP = 3**0.5 * 2.0**-11
EPSILON = np.finfo(np.float64).eps


@dataclass(frozen=True)
class Estimate:
    """One estimate of the derivative along a line.

    `value` is the derivative, `left` and `right` the one-sided derivatives, `spread` a bound on the error of all
    three as they show it themselves, `noise` what rounding alone may contribute to it.
    """

    value: float
    left: float
    right: float
    spread: float
    noise: float

    @property
    def uncertainty(self):
        """How far `value` may lie from the truth; infinite where the output is not finite."""
        slope = abs(self.value)
        if not math.isfinite(self.spread):
            return math.inf
        bend = self.spread * self.spread / (self.spread + slope) if self.spread else 0.0
        return abs(self.right - self.left) + bend + 1.5 * self.noise  # (6)

    def allows(self, value):
        """Whether another oracle's value is within ten times the uncertainty, or rounding: it is not contradicted."""
        return not abs(value - self.value) > 10 * self.uncertainty + 64 * EPSILON * abs(value)


def estimate(line, y, dy, h, ever_moved=False):
    """Return the Estimate of the derivative of ⟨dy, line(t)⟩ at t = 0 with the step h; NaN where that is not finite.

    `line(t)` is the output (..., ) after a move by t, and `y` = line(0). Outputs that have not moved have no rounding
    errors; `ever_moved` marks those that did with other steps.
    """
    with np.errstate(all="ignore"):
        forth, back, forth2, back2 = line(h), line(-h), line(2 * h), line(-2 * h)
        moved = (forth2 != back2) | ever_moved
        rounding = EPSILON * np.abs(dy * y)
        noise = float(np.sum(rounding, where=moved if moved.any() else True)) / h  # if none has, all may be drowned
        d1 = _inner(dy, forth - back) / (2 * h)  # (1)
        d2 = _inner(dy, forth2 - back2) / (4 * h)  # (1)
        value = (4 * d1 - d2) / 3  # (2)
        right = (4 * _inner(dy, forth - y) - _inner(dy, forth2 - y)) / (2 * h)  # (4)
        left = (4 * _inner(dy, back - y) - _inner(dy, back2 - y)) / (-2 * h)  # (4)
        spread = max(abs(right - value), abs(left - value))  # (5)
    return Estimate(value, left, right, spread, noise)


def step_of(scale, shortened=1.0):
    """Return h for an entry of that scale, or one that is shorter by a factor."""
    return scale * round(2**51 * RELATIVE_STEP * shortened) / 2**51  # (3)


def scales_of(array):
    """The length over which each entry matters, a power of two: its own size, or the array's mean if that is larger."""
    size = np.maximum(np.abs(array), np.mean(np.abs(array))) if array.size else np.abs(array)
    return np.where(size > 0, np.exp2(np.ceil(np.log2(np.where(size > 0, size, 1.0)))), 1.0)


def line_along_entry(call, array, index):
    """Return line(t): the output of a call, as a copy, after the entry `index` of one of its arrays has moved by t."""
    return line_along(call, array, 1.0, index)


def line_along(call, array, v, index=...):
    """Return line(t) likewise: after all entries of the array have moved by t v."""
    here = array[index].copy()

    def line(t):
        array[index] = here + t * v
        try:
            return np.array(call.evaluate()[0], dtype=np.float64)
        finally:
            array[index] = here

    return line


def _inner(a, b):
    return float(np.dot(a.ravel(), b.ravel()))
