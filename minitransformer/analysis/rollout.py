"""Attention rollout (Abnar and Zuidema, 2020): attention followed through the layers.

A position of layer l combines the positions of layer l − 1 that it attends to, these combine positions of layer l − 2,
and so on down to the tokens. Let Ā_l be the mean weights of layer l's heads. If the residual path is counted as half of
each position's stream, then

    A_l = ½ Ā_l + ½ I                               (1)
    R   = A_L ⋯ A_2 A_1                             (2)

and R[i, j] is the share of token j in position i. Every row sums to 1.

Limits: only weights are counted. Values, W_o, feed-forward layers and the true size of the residual path are ignored,
and no share can be negative. Compare the shares with ablation (see contributions.py).
"""

import numpy as np


def attention_rollout(weights):
    """Return the rollout R (T, T) of attention weights (L, H, T, T)."""
    identity = np.eye(weights.shape[-1], dtype=weights.dtype)
    rollout = identity
    for layer in weights.mean(axis=1):
        with_residual = 0.5 * layer + 0.5 * identity  # (1)
        rollout = with_residual @ rollout  # (2)
    return rollout
