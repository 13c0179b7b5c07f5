"""Load balancing: a loss that makes a router use all of its experts (Fedus, Zoph and Shazeer, 2021).

A router that prefers an expert trains it more, and so prefers it even more. In the end a few experts do everything.
This loss is added to that of the model, times a small factor such as 0.01. Its gradient lowers the probability of an
expert the more, the more often the expert is chosen.

The loss is invariant to a shift of all logits of a position, so the gradients of each position sum to zero.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minitransformer.layers.modern.checks import check_router_logits
from minitransformer.layers.modern.top_k_gates import largest
from minitransformer.layers.softmax import softmax
from minitransformer.module import Array


def load_balance(x: Array, *, k: int) -> tuple[np.floating[Any], Callable[..., Array]]:
    """Return E · Σ f · P for router logits x (..., E) and k choices of each position, and its backward(dloss=1.0).

    For each of the E experts, with means over the N positions:

        f = mean_t(chosen) / k                          (1)
        p = softmax(x)                                  (2)
        P = mean_t(p)                                   (3)
        L = E Σ f · P                                   (4)

    `chosen` is True for the k largest logits of a position (see top_k_gates.py). f is the share of an expert in the k N
    choices, and P its mean probability among all experts. Both sum to 1 over the experts. L is 1 if one of them is 1/E
    for all experts, and E if all positions choose the same one, for k = 1, with probability 1.

    Saved for backward: f (E,), and the arrays that softmax saves.

    Raises: TypeError if x is not floating-point, or k is not an integer; ValueError if k is not from 1 to E.
    """
    check_router_logits("load_balance", x, k)
    shape, E, positions = x.shape, x.shape[-1], tuple(range(x.ndim - 1))
    N = x.size // E
    chosen = largest(x, k)
    f = np.asarray(chosen.sum(axis=positions), x.real.dtype) / (int(k) * N)  # (1)
    p, softmax_backward = softmax(x)  # (2)
    P = p.mean(axis=positions)  # (3)
    loss = E * (f * P).sum()  # (4)

    def backward(dloss=1.0):
        """The shares f are counts. They do not change if the logits change a little, so P is the only path:

            dP = E f · dL                                   (5)
            dp_ti = dP_i / N                                (6)
            dx = p · (dp − Σ p · dp)                        (7)

        A position lowers the logit of an expert with a share f above the mean of f under its own probabilities, Σ f ·
        p, and raises the others, also of experts that it has not chosen: this is how an expert without positions gets
        its first. The size is proportional to p. If all shares are 1/E, dx is zero, so a check needs unequal ones.

        The gradient reaches the router only if the caller adds dx to that of the gates: a loss that is printed, but
        whose backward is never called, changes nothing, and the model's own loss falls as well without it.
        """
        dP = E * f * dloss  # (5) ← E Σ f · P (4)
        dp = np.broadcast_to(dP / N, shape)  # (6) ← mean_t(p) (3)
        dx = softmax_backward(dp)  # (7) ← softmax(x) (2)
        return dx

    return loss, backward
