"""Root-mean-square normalization over the feature axis (Zhang and Sennrich, 2019).

It is layer normalization without centring and without a shift. It costs less and, as its authors found, trains equally
well. Llama uses it. As ε → 0, it is invariant to a multiplication of x by a positive factor.

Saved for backward: x̂ (..., C), r (..., 1), γ (C,).
"""

import numpy as np
from numpy.typing import DTypeLike

from minitransformer.layers.checks import check_rms_norm
from minitransformer.module import Array, Arrays, Backward, Module, Parameter, apply


def rms_norm(x: Array, gamma: Array, *, eps: float = 1e-5) -> tuple[Array, Backward[Arrays]]:
    """Divide x (..., C) by its root mean square over the last axis, then scale by gamma (C,). Returns y (..., C).

    For each position separately; the mean runs over the C features:

        r = 1 / √(mean(x²) + ε)                         (1)
        x̂ = x · r                                       (2)
        y = γ · x̂                                       (3)

    Raises: TypeError for an array that is not floating-point; ValueError if x has no features, or gamma does not have
    one entry for each feature.
    """
    check_rms_norm(x, gamma)
    mean_square = (x**2).mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt(mean_square + float(eps))  # (1) (..., 1)
    x_hat = x * r  # (2) (..., C)
    y = gamma * x_hat  # (3)

    def backward(dy):
        """From (3), where each sum runs over every position p,

            dγ = Σ_p dy · x̂    dx̂ = dy · γ                  (4)

        as each entry of γ is read at every position. x_i reaches x̂ along two paths, directly and through r:

            ∂r/∂x_i = −½ (mean(x²) + ε)^(−3/2) · 2 x_i/C = −r³ x_i/C = −r² x̂_i/C
            ∂x̂_j/∂x_i = r δ_ij + x̂_j/r · ∂r/∂x_i = r (δ_ij − x̂_j x̂_i/C)

        with δ_ij being 1 for i = j and 0 otherwise. That is the Jacobian J = r (I − x̂ x̂ᵀ/C), with I
        the identity matrix, and as J = Jᵀ, Jᵀ dx̂ is

            dx = r · (dx̂ − x̂ · mean(dx̂ · x̂))                (5)

        The subtracted mean removes the component of dx̂ along x̂. The layer does not change with the length of x as ε →
        0, and dx is then orthogonal to x. Unlike layer normalization, it is not invariant to a shift, so dx does not
        sum to zero. The first mean in the backward pass of layer normalization would be wrong here.
        """
        dgamma = (dy * x_hat).sum(axis=tuple(range(dy.ndim - 1)))  # (4) ← γ · x̂ (3)
        dx_hat = dy * gamma  # (4) ← γ · x̂ (3)
        scale = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
        dx = r * (dx_hat - x_hat * scale)  # (5) ← x · r (2), r (1)
        return dx, dgamma

    return y, backward


class RMSNorm(Module):
    """Root-mean-square normalization with learned gain γ."""

    def __init__(self, d_model: int, eps: float = 1e-5, dtype: DTypeLike = np.float32):
        self.gamma = Parameter(np.ones(d_model, dtype))
        self.eps = eps

    def forward(self, x: Array) -> tuple[Array, Backward[Array]]:
        """Normalize x (..., C)."""
        return apply(rms_norm, x, self.gamma, eps=self.eps)
