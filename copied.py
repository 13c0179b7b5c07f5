"""Softmax and its logarithm.

Both are invariant to a shift of all entries along the axis, from x to x + h. The result does not depend on h, so the
derivative with respect to h is zero. As h is added to every entry, this derivative is also Σ dx: the gradients sum to
zero along the axis (except for the logarithm of a row of −∞, see log_softmax).
"""

import numpy as np

from minitransformer.module import Array, Backward, Module, apply, require_floating


def softmax(x: Array, *, axis: int = -1) -> tuple[Array, Backward[Array]]:
    """Return weights y, of x's shape, that are not negative and sum to 1 along `axis`, an integer.

    Along the axis, with m the largest entry:

        e = exp(x − m)                                  (1)
        y = e / Σ e                                     (2)

    Subtracting m does not change y, since it cancels in (2), and keeps every exponent at most 0. Without it, exp
    overflows at x = 89 in float32. Because m cancels, y does not depend on it: ∂y/∂m = 0. So the path from x to y
    through m adds nothing, and the derivative may treat m as a constant.

    A row of −∞, the scores of a query that may attend to no key, has no finite m and, with any other m, a sum of zero.
    For such a row, m is 0 and the divisor is 1, so that y = 0, and by (3) dx = 0.

    Saved for backward: y (...).

    Raises: TypeError for an x that is not floating-point.
    """
    require_floating("softmax", x=x)
    e = np.exp(x - finite_max(x, axis))  # (1)
    y = e / sum_or_one(e, axis)  # (2)

    def backward(dy):
        """An entry x_j reaches y_j through its numerator, and every y_i through the common sum.

        By the quotient rule, with ∂e_i/∂x_j = e_i δ_ij, where δ_ij is 1 for i = j and 0 otherwise,

            ∂y_i/∂x_j = e_i δ_ij / Σ e − e_i e_j / (Σ e)² = y_i (δ_ij − y_j)

        so that Σ_i dy_i ∂y_i/∂x_j = y_j dy_j − y_j Σ_i y_i dy_i, or

            dx = y · (dy − Σ y · dy)                        (3)

        The subtracted sum removes what softmax ignores: as Σ y = 1, it makes Σ dx zero. With dy = 1, L is Σ y, which is
        always 1, so dx is zero. A check with this dy does not detect a backward pass that returns zeros.
        """
        weighted_sum = (y * dy).sum(axis=axis, keepdims=True)
        dx = y * (dy - weighted_sum)  # (3) ← e / Σ e (2), e (1)
        return dx

    return y, backward


def log_softmax(x: Array, *, axis: int = -1) -> tuple[Array, Backward[Array]]:
    """Return the logarithm z of softmax(x) along `axis`. It has x's shape, and a row of −∞ gives −∞.

    Computed together, log and softmax require no division and lose no digits where the softmax underflows:

        z = x − m − log Σ exp(x − m)                    (4)

    Saved for backward: z (...).

    Raises: TypeError for an x that is not floating-point.
    """
    require_floating("log_softmax", x=x)
    shifted = x - finite_max(x, axis)
    z = shifted - np.log(sum_or_one(np.exp(shifted), axis))  # (4)

    def backward(dz):
        """An entry x_j reaches z_j directly, and every z_i through the logarithm.

        In (4) m cancels, as in softmax. The derivative of log Σ exp(x) with respect to x_j is exp(x_j) / Σ exp(x) =
        exp(z_j), so ∂z_i/∂x_j = δ_ij − exp(z_j) and

            dx = dz − exp(z) · Σ dz                         (5)

        For a row of −∞, exp(z) is 0, so dx is dz, whose sum need not be zero.
        """
        dx = dz - np.exp(z) * dz.sum(axis=axis, keepdims=True)  # (5) ← x − m − log Σ exp(x − m) (4)
        return dx

    return z, backward


def finite_max(x, axis):
    """Return the largest entry along `axis`, or 0 for a row of −∞. The axis is kept with length 1."""
    largest = x.real.max(axis=axis, keepdims=True)  # a check also calls with complex x (chapter zero)
    return np.where(largest == -np.inf, 0, largest)


def sum_or_one(e, axis):
    """Return the sum along `axis`, or 1 if it is 0. The axis is kept with length 1."""
    total = e.sum(axis=axis, keepdims=True)
    return np.where(total == 0, 1, total)


class Softmax(Module):
    """Softmax along an axis, without parameters."""

    def __init__(self, axis: int = -1):
        self.axis = axis

    def forward(self, x: Array) -> tuple[Array, Backward[Array]]:
        """Normalize x along the axis."""
        return apply(softmax, x, axis=self.axis)
