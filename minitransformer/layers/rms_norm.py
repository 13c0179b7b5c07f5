"""Root-mean-square normalization over the feature axis (Zhang and Sennrich, 2019).

Forward, for each position separately; the mean runs over the C features:

    r = 1 / √(mean(x²) + ε)                         (1)
    x̂ = x · r                                       (2)
    y = γ · x̂                                       (3)

It is layer normalization without the centring and without a shift: Llama uses it because it costs less and trains
as well.

Backward. From (3), where Σ runs over every position,

    dγ = Σ dy · x̂    dx̂ = dy · γ                    (4)

x reaches x̂ along two paths: directly, and through r, with ∂r/∂x_i = −r³ x_i / C = −r² x̂_i / C. So

    dx = r · (dx̂ − x̂ · mean(dx̂ · x̂))                (5)

The subtracted mean removes what the layer ignores: as ε → 0, a change of the scale of x, so that dx is orthogonal to
x. Unlike layer normalization it does not ignore a shift, so dx does not sum to zero; a backward copied from there, with
its first mean, is wrong here.

Saved for backward: x̂ (..., C), r (..., 1), γ (C,).
"""

import numpy as np

from minitransformer.layers.sums import feature_mean, position_sum
from minitransformer.module import Module, Parameter, apply, require_floating


def rms_norm(x, gamma, *, eps=1e-5):
    """Divide x (..., C) by its root mean square over the last axis, then scale by gamma (C,). Returns y (..., C).

    Raises TypeError for an x that is not floating-point, ValueError where gamma is not one number for each feature.
    """
    require_floating(x, "rms_norm")
    if x.ndim == 0 or gamma.shape != x.shape[-1:]:
        raise ValueError(f"rms_norm: gamma {gamma.shape} must be one number for each feature of x {x.shape}")
    r = 1 / np.sqrt(feature_mean(x * x) + float(eps))  # (1)
    x_hat = x * r  # (2)
    y = gamma * x_hat  # (3)

    def backward(dy):
        dgamma = position_sum(dy * x_hat)  # (4)
        dx_hat = dy * gamma  # (4)
        dx = dx_hat - x_hat * feature_mean(dx_hat * x_hat)  # (5)
        dx *= r  # (5)
        return dx, dgamma

    return y, backward


class RMSNorm(Module):
    """Root-mean-square normalization with learned gain γ."""

    def __init__(self, d_model: int, eps: float = 1e-5, dtype=np.float32):
        self.gamma = Parameter(np.ones(d_model, dtype))
        self.eps = eps

    def forward(self, x):
        """Normalize x (..., C)."""
        return apply(rms_norm, x, self.gamma, eps=self.eps)
