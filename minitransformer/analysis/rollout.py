"""Attention rollout (Abnar and Zuidema, 2020): attention followed through the layers.

A position of layer l holds what it attended to in layer l − 1, whose positions hold what they attended to in layer
l − 2, and so on down to the tokens. With Ā_l the heads' mean weights, and half of each position's stream counted as its
own residual path,

    A_l = ½ Ā_l + ½ I                               (1)
    R   = A_L ⋯ A_2 A_1                             (2)

R[i, j] is then the share of token j in position i, and every row sums to 1. It is a bookkeeping of weights alone: it
does not show what was moved along them. Values, W_o, feed-forward layers and the true size of the residual path do not
enter, and no share can be negative; ablation says how far it is to be believed (see contributions.py).
"""

import numpy as np


def attention_rollout(weights):
    """Return R (T, T) of attention weights (L, H, T, T), as from `attention_weights`."""
    identity = np.eye(weights.shape[-1], dtype=weights.dtype)
    rollout = identity
    for layer in weights.mean(axis=1):
        with_residual = 0.5 * layer + 0.5 * identity  # (1)
        rollout = with_residual @ rollout  # (2)
    return rollout
