"""Softmax and its logarithm.

**Softmax.** Forward, along one axis, with m the largest entry:

    e = exp(x − m)                                  (1)
    y = e / Σ e                                     (2)

Subtracting m changes nothing, since it cancels in (2), and keeps every exponent at most 0: without it, exp overflows at
x = 89 in float32. As it cancels, m is a constant in the derivative as well.

A row of −∞ alone, which attention makes of a query that may attend to nothing, has no largest entry and a sum of zero.
It is given m = 0 and a divisor of 1, so that y = 0, and by (3) dx = 0.

Backward. An entry x_j reaches y_j through its numerator, and every y_i through the common sum: with
∂y_i/∂x_j = y_i (δ_ij − y_j),

    dx = y · (dy − Σ y · dy)                        (3)

The subtracted sum removes what softmax ignores: a shift of the whole row. So dx sums to zero along the axis, and for
dy = 1, the gradient of a sum that is always 1, dx is zero: under it, a backward that returns zeros passes.

Saved for backward: y.

**Log-softmax.** Taken together, log and softmax need no division and lose no digits where y underflows:

    z = x − m − log Σ exp(x − m)                    (4)

x_j reaches z_j directly and every z_i through the logarithm, whose derivative is softmax(x)_j = exp(z_j). So

    dx = dz − exp(z) · Σ dz                         (5)

Again dx sums to zero. Saved for backward: z.
"""

import numpy as np

from minitransformer.layers.sums import feature_sum
from minitransformer.module import Module, apply, require_floating


def softmax(x, *, axis=-1):
    """Turn x into non-negative weights that sum to 1 along `axis`; a row of −∞ gives zeros. Returns y, of x's shape.

    Raises TypeError for an x that is not floating-point.
    """
    require_floating(x, "softmax")
    y, total = exponentials(x, axis)  # (1)
    y /= total  # (2)

    def backward(dy):
        dx = dy - np.expand_dims(np.vecdot(y, dy, axis=axis), axis)  # (3)
        dx *= y  # (3)
        return dx

    return y, backward


def exponentials(x, axis):
    """Return e of (1) and its sum along `axis`, kept as an axis of length 1; for a row of −∞, zeros and 1.

    Over short rows the largest entry takes longer to find than all the rest, so first the cheap guess m = 0 is tried,
    which is as good as any while no exponential overflows and no row vanishes: attention's softmax over 64 keys is then
    3.4 times as fast. The guess is judged for the array as a whole, so a row with huge entries changes how the others
    are rounded.
    """
    if x.size and x.real.max() < 60:
        e = np.exp(x)
        total = axis_sum(e, axis)
        if total.real.min() > 1e-25:
            return e, total
    e = x - finite_max(x, axis)
    np.exp(e, out=e)
    total = axis_sum(e, axis)
    total[total == 0] = 1
    return e, total


def axis_sum(x, axis):
    """Return x.sum(axis=axis, keepdims=True)."""
    return feature_sum(x.swapaxes(axis, -1)).swapaxes(axis, -1)


def log_softmax(x, *, axis=-1):
    """Return the logarithm of softmax(x) along `axis`, of x's shape; a row of −∞ gives −∞.

    Raises TypeError for an x that is not floating-point.
    """
    require_floating(x, "log_softmax")
    shifted = x - finite_max(x, axis)
    total = np.exp(shifted).sum(axis=axis, keepdims=True)
    total[total == 0] = 1
    z = shifted - np.log(total)  # (4)

    def backward(dz):
        return dz - np.exp(z) * dz.sum(axis=axis, keepdims=True)  # (5)

    return z, backward


def finite_max(x, axis):
    """Return the largest entry along `axis`, kept as an axis of length 1, or 0 for a row that has only −∞."""
    largest = x.real.max(axis=axis, keepdims=True)
    return np.where(largest == -np.inf, 0, largest).astype(x.real.dtype, copy=False)


class Softmax(Module):
    """Softmax along an axis; it has no parameters."""

    def __init__(self, axis: int = -1):
        self.axis = axis

    def forward(self, x):
        """Normalize x along the axis."""
        return apply(softmax, x, axis=self.axis)
