"""Linear map over the last axis.

x has a row of I features for each position: the positions are all axes but the last. The map is the same at each, and
every position adds its part to the gradients of the weights, without a division by their number.

Saved for backward: x (..., I), weight (I, O).
"""

import numpy as np
from numpy.typing import DTypeLike

from minitransformer.layers.checks import check_linear
from minitransformer.module import Array, Arrays, Backward, Module, Parameter, apply


def linear(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Backward[Arrays]]:
    """Map x (..., I) to y (..., O), with weight (I, O) and bias (O,) or None.

    The weight is stored as (in, out), so that the map reads from left to right:

        y = x W + b                                     (1)

    Raises: TypeError for an array that is not floating-point; ValueError if the last axis of x is not I, or the bias is
    not (O,).
    """
    check_linear(x, weight, bias)
    has_bias = bias is not None
    y = x @ weight + bias if has_bias else x @ weight  # (1)

    def backward(dy):
        """By entries, (1) is y_po = Σ_i x_pi W_io + b_o, where p numbers the positions.

        So an entry of x reaches all outputs of the same position, an entry of W or b one output feature of every
        position, and the derivatives that are not zero are

            ∂y_po/∂x_pi = W_io    ∂y_po/∂W_io = x_pi    ∂y_po/∂b_o = 1

        The chain rule adds the paths, over features for x and over positions for W and b:

            dx_pi = Σ_o dy_po W_io    dW_io = Σ_p x_pi dy_po    db_o = Σ_p dy_po

        As products of matrices these are

            dx = dy Wᵀ                                      (2)
            dW = xᵀ dy      (which sums over p)              (3)
            db = Σ_p dy                                     (4)

        The shapes alone almost determine these: dy is (positions, O), W is (I, O), and only dy Wᵀ has the shape of x.
        If I = O, dy W has the shape of x too, and only a check of the values distinguishes the two.
        """
        dx = dy @ weight.T  # (2) ← x W (1)
        dweight = rows(x).T @ rows(dy)  # (3) ← x W (1)
        if not has_bias:
            return dx, dweight
        dbias = rows(dy).sum(axis=0)  # (4) ← + b (1)
        return dx, dweight, dbias

    return y, backward


def rows(x):
    """Return x (..., C) as a matrix (positions, C)."""
    return x.reshape(-1, x.shape[-1])


class Linear(Module):
    """A linear map with a weight (I, O), drawn from N(0, std²), and optionally a bias (O,), initially zero."""

    def __init__(
        self,
        d_in: int,
        d_out: int,
        bias: bool = True,
        *,
        std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ):
        rng = rng if rng is not None else np.random.default_rng(0)
        self.weight = Parameter(rng.normal(0, std, (d_in, d_out)).astype(dtype))
        self.bias = Parameter(np.zeros(d_out, dtype)) if bias else None

    def forward(self, x: Array) -> tuple[Array, Backward[Array]]:
        """Map x (..., I) to (..., O)."""
        return apply(linear, x, self.weight, self.bias)

    def multiplications(self, T: int) -> int:
        """Return the multiplications of one position in matrix products."""
        return self.weight.data.size
