"""The norm of the queries or keys of all heads of a position together (OLMo et al., 2024).

The norm of each head alone (see multi_head_attention.py) gives all heads queries of the same length. The joint norm
fixes only the length of all heads together, so one head may attend more sharply than another. Every channel of every
head has its own gain.
"""

import numpy as np
from numpy.typing import DTypeLike

from minitransformer.layers.rms_norm import RMSNorm, rms_norm
from minitransformer.module import Array, Arrays, Backward, apply, faster


def joint_norm(x: Array, gamma: Array, *, eps: float) -> tuple[Array, Backward[Arrays]]:
    """Normalize x (..., H, T, D) over the H · D channels of each position, then scale by gamma (H · D,).

    Saved for backward: the arrays that rms_norm saves.
    """
    by_position = x.swapaxes(-2, -3)
    apart, together = by_position.shape, (*by_position.shape[:-2], -1)
    y, rms_norm_backward = faster(rms_norm)(by_position.reshape(together), gamma, eps=eps)

    def backward(dy):
        """The channels are only arranged in another way, and those of the gradient are arranged back."""
        dby_position, dgamma = rms_norm_backward(dy.swapaxes(-2, -3).reshape(together))
        dx = dby_position.reshape(apart).swapaxes(-2, -3)
        return dx, dgamma

    return y.reshape(apart).swapaxes(-2, -3), backward


class JointNorm(RMSNorm):
    """RMS normalization of H heads of D channels together, with a learned gain γ (H · D,)."""

    def __init__(self, n_heads: int, d_head: int, eps: float = 1e-5, dtype: DTypeLike = np.float32):
        super().__init__(n_heads * d_head, eps, dtype)

    def forward(self, x: Array) -> tuple[Array, Backward[Array]]:
        """Normalize x (..., H, T, D) by joint_norm."""
        return apply(joint_norm, x, self.gamma, eps=self.eps)


def norm_of_each(n_heads, d_head, eps, dtype):
    """Return the norm of each head alone, whose gain (D,) all heads share."""
    return RMSNorm(d_head, eps, dtype)


QK_NORMS = {"head": norm_of_each, "projection": JointNorm}  # the values of Config.qk_norm_over
