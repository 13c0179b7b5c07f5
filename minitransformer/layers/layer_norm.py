"""Layer normalization over the feature axis (Ba, Kiros and Hinton, 2016).

It keeps the entries of every position at one size, however many layers have added their outputs (block.py); γ and β let
training choose another size and mean. It is invariant to a shift of x and, as ε → 0, to a multiplication of x by a
positive factor.

Saved for backward: x̂ (..., C), r (..., 1), γ (C,).
"""

import numpy as np
from numpy.typing import DTypeLike

from minitransformer.layers.checks import check_layer_norm
from minitransformer.module import Array, Arrays, Backward, Module, Parameter, apply


def layer_norm(x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5) -> tuple[Array, Backward[Arrays]]:
    """Normalize x (..., C) over its last axis, then multiply by gamma (C,) and add beta (C,). Returns y (..., C).

    For each position separately; means run over the C features:

        μ  = mean(x)                                    (1)
        σ² = mean((x − μ)²)                             (2)
        r  = 1 / √(σ² + ε)                              (3)
        x̂  = (x − μ) · r                                (4)
        y  = γ · x̂ + β                                  (5)

    Raises: TypeError for an array that is not floating-point; ValueError if x has no features, or if gamma or beta does
    not have one entry for each feature.
    """
    check_layer_norm(x, gamma, beta)
    mu = x.mean(axis=-1, keepdims=True)  # (1) (..., 1)
    variance = ((x - mu) ** 2).mean(axis=-1, keepdims=True)  # (2)
    r = 1 / np.sqrt(variance + float(eps))  # (3)
    x_hat = (x - mu) * r  # (4) (..., C)
    y = gamma * x_hat + beta  # (5)

    def backward(dy):
        """From (5), where each sum runs over every position p,

            dβ = Σ_p dy    dγ = Σ_p dy · x̂    dx̂ = dy · γ   (6)

        as each entry of γ and β is read at every position. x_i reaches x̂ along three paths: directly, through μ, and
        through r. For the second ∂μ/∂x_i = 1/C. The third begins with σ² = Σ_j (x_j − μ)² / C, where x_i stands in one
        term directly, and in all of them through μ:

            ∂σ²/∂x_i = 2 (x_i − μ)/C − 2/C · Σ_j (x_j − μ) · 1/C = 2 (x_i − μ)/C

        because deviations from the mean sum to zero: the path through the μ inside σ² vanishes. By (3), and with x_i −
        μ = x̂_i/r, which is (4),

            ∂r/∂x_i = −½ (σ² + ε)^(−3/2) · ∂σ²/∂x_i = −r³ (x_i − μ)/C = −r² x̂_i/C
            ∂x̂_j/∂x_i = r δ_ij − r/C + x̂_j/r · ∂r/∂x_i = r (δ_ij − 1/C − x̂_j x̂_i/C)

        with δ_ij being 1 for i = j and 0 otherwise. That is the Jacobian J = r (I − e eᵀ/C − x̂ x̂ᵀ/C), one term for
        each path, with I the identity matrix and e a column of C ones. As J = Jᵀ and eᵀ dx̂/C = mean(dx̂), Jᵀ dx̂ is

            dx = r · (dx̂ − mean(dx̂) − x̂ · mean(dx̂ · x̂))     (7)

        A shift of x does not change x̂, so J maps e to 0. The product of e and dx = Jᵀ dx̂ is that of this 0 and dx̂,
        so dx has no component along e: the first mean, `shift`, removes that of dx̂. A scaling of x does not change x̂
        either, as ε → 0, so dx has none along x. As x is x̂/r plus μ times e, it has none along x̂: the second,
        `scale`, removes it. As mean(x̂) = 0, the sum of y over the features is constant for γ = 1, which is the start
        of training. For γ = 1 and dy = 1, dx is therefore zero, and a check does not detect a backward pass that
        returns zeros or omits the second mean.
        """
        positions = tuple(range(dy.ndim - 1))
        dbeta = dy.sum(axis=positions)  # (6) ← + β (5)
        dgamma = (dy * x_hat).sum(axis=positions)  # (6) ← γ · x̂ (5)
        dx_hat = dy * gamma  # (6) ← γ · x̂ (5)
        shift = dx_hat.mean(axis=-1, keepdims=True)
        scale = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
        dx = r * (dx_hat - shift - x_hat * scale)  # (7) ← (x − μ) · r (4), r (3), σ² (2), μ (1)
        return dx, dgamma, dbeta

    return y, backward


class LayerNorm(Module):
    """Layer normalization with learned gain γ and bias β."""

    def __init__(self, d_model: int, eps: float = 1e-5, dtype: DTypeLike = np.float32):
        self.gamma = Parameter(np.ones(d_model, dtype))
        self.beta = Parameter(np.zeros(d_model, dtype))
        self.eps = eps

    def forward(self, x: Array) -> tuple[Array, Backward[Array]]:
        """Normalize x (..., C)."""
        return apply(layer_norm, x, self.gamma, self.beta, eps=self.eps)
