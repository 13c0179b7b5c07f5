"""Layer normalization over the feature axis (Ba, Kiros and Hinton, 2016).

Forward, for each position separately; means run over the C features:

    μ  = mean(x)                                    (1)
    σ² = mean((x − μ)²)                             (2)
    r  = 1 / √(σ² + ε)                              (3)
    x̂  = (x − μ) · r                                (4)
    y  = γ · x̂ + β                                  (5)

Backward. Write dx for ∂L/∂x; it has the shape of x. From (5),

    dβ = Σ dy    dγ = Σ dy · x̂    dx̂ = dy · γ       (6)

where Σ runs over every position. x reaches x̂ along three paths: directly, through μ, and through r.
With ∂μ/∂x_i = 1/C and ∂r/∂x_i = −r² x̂_i / C,

    dx = r · (dx̂ − mean(dx̂) − x̂ · mean(dx̂ · x̂))     (7)

The two means remove what the layer ignores: a shift of x and, as ε → 0, a change of its scale. Hence
for γ = 1 the gradient of Σ y is zero, and a check with dy = 1 would test nothing.

Saved for backward: x̂ (..., C), r (..., 1), γ (C,).
"""

import numpy as np

from minitransformer.layers.sums import feature_mean, position_sum
from minitransformer.module import Module, Parameter, apply, require_floating


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """Normalize x (..., C) over its last axis, then scale by gamma (C,) and shift by beta (C,). Returns y (..., C).

    Raises TypeError for an x that is not floating-point, ValueError where gamma or beta is not one number for each
    feature.
    """
    require_floating(x, "layer_norm")
    if x.ndim == 0 or gamma.shape != x.shape[-1:] or beta.shape != x.shape[-1:]:
        raise ValueError(
            f"layer_norm: gamma {gamma.shape} and beta {beta.shape} must be one number for each feature of x {x.shape}"
        )
    centred = x - feature_mean(x)  # (1)
    variance = feature_mean(centred * centred)  # (2)
    r = 1 / np.sqrt(variance + float(eps))  # (3)
    x_hat = centred
    x_hat *= r  # (4)
    y = gamma * x_hat  # (5)
    y += beta  # (5)

    def backward(dy):
        dbeta = position_sum(dy)  # (6)
        dgamma = position_sum(dy * x_hat)  # (6)
        dx_hat = dy * gamma  # (6)
        dx = dx_hat - feature_mean(dx_hat)  # (7)
        dx -= x_hat * feature_mean(dx_hat * x_hat)  # (7)
        dx *= r  # (7)
        return dx, dgamma, dbeta

    return y, backward


class LayerNorm(Module):
    """Layer normalization with learned gain γ and bias β."""

    def __init__(self, d_model: int, eps: float = 1e-5, dtype=np.float32):
        self.gamma = Parameter(np.ones(d_model, dtype))
        self.beta = Parameter(np.zeros(d_model, dtype))
        self.eps = eps

    def forward(self, x):
        """Normalize x (..., C)."""
        return apply(layer_norm, x, self.gamma, self.beta, eps=self.eps)
