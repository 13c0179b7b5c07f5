"""Compute the derivative along a line by central differences of fourth order.

Let y(t) be the output after a perturbation of the input by t along a line (one entry of one argument, or a direction
through all of it), and L(t) = ⟨dy, y(t)⟩ with dy fixed. We need L′(0). The four evaluations y(±h), y(±2h) give two
central differences. The outputs are subtracted before the product with dy, so that the large common part of L cancels
exactly and leaves no rounding error:

    D(h) = ⟨dy, y(h) − y(−h)⟩ / 2h                                  (1)

Taylor's series of an odd difference has only even powers of h,

    D(h) = L′ + h²/6 · L‴ + h⁴/120 · L⁽⁵⁾ + …

and Richardson's extrapolation removes the first of them:

    R(h) = (4 D(h) − D(2h)) / 3 = L′ − h⁴/30 · L⁽⁵⁾ + …              (2)

The step. Each output carries a rounding error of about ε = 2⁻⁵² of its size, so (1) carries about ε Y / h with
Y = Σ |dy · y|, and (2) at most 3/2 of that. If s is the length over which L changes (L⁽⁵⁾ ≈ Y / s⁵), the two errors

    E(h) = Y · (h⁴ / 30 s⁵ + 3ε / 2h)

are least where E′ = 0, at h = s · (45 ε / 4)^(1/5) ≈ 1.2e-3 s, with E ≈ 3.5e-13 Y/s. (Plain central differences reach
at best 4e-11 Y/s, which is too little for a whole model, where some L⁽ⁿ⁾ are hundreds of times larger.) Hence the step,

    h = √3 · 2⁻¹¹ · s ≈ 0.85e-3 s                                   (3)

where s is the scale of the entry: the size of the entry, or the mean size of the argument if that is larger, rounded up
to a power of two. The step is rounded to a multiple of 2⁻⁵¹ s, so that x ± h is nearly always exact. But s is a guess:
near a kink or a pole, or where logits are in the thousands, L changes over a shorter length. Therefore the error of
R(h) is estimated as well. If this error is too large, shorter steps are tried (gradcheck/refine/one_derivative.py,
which also explains the factor √3).

One-sided derivatives are extrapolated from the same evaluations:

    S±(h) = (4 ⟨dy, y(±h) − y(0)⟩ − ⟨dy, y(±2h) − y(0)⟩) / ±2h = L′ − h²/3 · L‴ + …    (4)

S₊ and S₋ have the same h² term, so that for a smooth function S₊ − S₋ = O(h³), which vanishes much faster than either
error. Where the slope jumps, S₊ − S₋ tends to the jump. The distance of S± from R is a rather pessimistic bound on the
error of R:

    spread = max(|S₊ − R|, |S₋ − R|)                                (5)

The spread is of second order and R of fourth, so the spread overestimates the error of R. If the derivatives grow as a
geometric series, L⁽⁵⁾ / L‴ ≈ L‴ / L′, the ratio of the error of R to the spread equals that of the spread to L′. A kink
at a distance c < 2h follows no such series, but it changes S₊ − S₋. The change is at least six times the effect of the
kink on R if c ≥ 4h/5, less if the kink is nearer, and zero if c = 2h/3. Hence, with rounding,

    uncertainty = |S₊ − S₋| + spread² / (spread + |R|) + 3/2 · noise     (6)

This is an estimate, not a bound. For 21,071 entries of layers and models, the median ratio of the true error to the
uncertainty was 2 %. Four errors exceeded the uncertainty, by a factor of at most 1.74.
"""

import math
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

RELATIVE_STEP = 3**0.5 * 2.0**-11
EPSILON = np.finfo(np.float64).eps


class Estimate(NamedTuple):
    """An estimate of the derivative along a line."""

    value: float  # (2)
    left: float  # a one-sided derivative (4)
    right: float
    spread: float  # the largest difference between `value` and a one-sided derivative (5)
    noise: float  # the rounding error of a central difference (1), about ε Y / h

    @property
    def uncertainty(self):
        """The estimated error (6) of `value`, or infinity if the output is not finite."""
        slope = abs(self.value)
        if not math.isfinite(self.spread):
            return math.inf
        bend = self.spread * self.spread / (self.spread + slope) if self.spread else 0.0
        return abs(self.right - self.left) + bend + 1.5 * self.noise  # (6)

    def allows(self, value):
        """Return True if `value` is within ten times the uncertainty, plus rounding."""
        return not abs(value - self.value) > 10 * self.uncertainty + 64 * EPSILON * abs(value)


def estimate(line, y, dy, h, ever_moved=False):
    """Estimate the derivative of ⟨dy, line(t)⟩ at t = 0 with the step h.

    `y` is line(0). The values are NaN if an output is not finite. An entry of the output that does not change is
    assumed to have no rounding error, unless the boolean array `ever_moved` says that it has changed with another step.
    """
    with np.errstate(all="ignore"):
        forth, back, forth2, back2 = line(h), line(-h), line(2 * h), line(-2 * h)
        moved = (forth2 != back2) | ever_moved
        rounding = EPSILON * np.abs(dy * y)
        noise = float(np.sum(rounding, where=moved if moved.any() else True)) / h  # rounding may hide a change
        d1 = _inner(dy, forth - back) / (2 * h)  # (1)
        d2 = _inner(dy, forth2 - back2) / (4 * h)  # (1)
        value = (4 * d1 - d2) / 3  # (2)
        right = (4 * _inner(dy, forth - y) - _inner(dy, forth2 - y)) / (2 * h)  # (4)
        left = (4 * _inner(dy, back - y) - _inner(dy, back2 - y)) / (-2 * h)  # (4)
        spread = max(abs(right - value), abs(left - value))  # (5)
    return Estimate(value, left, right, spread, noise)


def step_of(scale, shortened=1.0):
    return scale * round(2**51 * RELATIVE_STEP * shortened) / 2**51  # (3)


def scales_of(array):
    """Round the size of each entry, or the mean size if larger, up to a power of two."""
    size = np.maximum(np.abs(array), np.mean(np.abs(array))) if array.size else np.abs(array)
    return np.where(size > 0, np.exp2(np.ceil(np.log2(np.where(size > 0, size, 1.0)))), 1.0)


def line_along(call, array, v=1.0, index=...):
    """Return a function of t that evaluates `call` with t · v added to array[index]."""
    here = array[index].copy()

    def line(t):
        array[index] = here + t * v
        try:
            return np.array(call.evaluate()[0], dtype=np.float64)
        finally:
            array[index] = here

    return line


@contextmanager
def displaced(arrays, values):
    """Replace the contents of arrays within a `with` block."""
    before = [array.copy() for array in arrays]
    try:
        for array, value in zip(arrays, values, strict=True):
            array[...] = value
        yield
    finally:
        for array, here in zip(arrays, before, strict=True):
            array[...] = here


def _inner(a, b):
    return float(np.sum(a * b))  # np.dot would start threads, and wait for them ten times as long as they compute
