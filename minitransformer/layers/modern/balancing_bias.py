"""The bias that balances a router without a loss of the model (Wang et al., 2024; DeepSeek-V3, 2024).

The gradient of load_balance.py changes the router, also where the model's own loss would not. Here the router keeps its
gradient. A number b_e for each expert is added to its logit, only for the choice of the k largest; the gates are still
those of the logits. After each step, the trainer lowers b_e by a small amount if the expert was chosen too often, and
raises it otherwise (training/balancing.py).

Why this step is right. It descends along the gradient of the function below, which the equal shares make smallest.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minitransformer.layers.modern.checks import check_balancing_bias
from minitransformer.layers.modern.top_k_gates import largest
from minitransformer.module import Array, Parameter


def balancing_bias(balance: Array, *, logits: Array, k: int) -> tuple[np.floating[Any], Callable[..., Array]]:
    """Return a loss of the bias b, `balance` (E,), for constant `logits` (..., E), and its backward(dloss=1.0).

    For each position, among the E experts, with means over all positions t:

        x = logits + b                                  (1)
        top_t = Σ_i chosen_ti · x_ti                    (2)
        L = mean_t(top_t) / k − Σ_i b_i / E             (3)
        f = mean_t(chosen) / k                          (4)

    `chosen` is True for the k largest entries of x at a position. Their sum (2) is the largest one that k entries have,
    and a maximum of functions that are linear in b is convex. So is L, which therefore is smallest where its gradient
    is zero. f is the share of an expert in the choices, as in load_balance.py; only backward reads it. A constant added
    to all entries of b changes nothing.

    Saved for backward: f (E,).

    Raises: TypeError if an array is not floating-point, or k is not an integer; ValueError for inconsistent shapes, or
    a k that is not from 1 to E.
    """
    check_balancing_bias(balance, logits, k)
    E, positions = len(balance), tuple(range(logits.ndim - 1))
    x = np.asarray(logits, balance.dtype) + balance  # (1)
    chosen = largest(x, k)
    top = np.where(chosen, x, 0).sum(axis=-1)  # (2)
    loss = top.mean() / int(k) - balance.sum() / E  # (3)
    f = np.asarray(chosen.mean(axis=positions) / int(k), balance.real.dtype)  # (4)

    def backward(dloss=1.0):
        """The choice does not change if b changes a little, so ∂top_t/∂b_i is 1 if i is chosen at t, and otherwise 0:

            db = (f − 1/E) · dL                             (5)

        The gradient is zero if all shares are 1/E.
        The trainer follows only its sign, so that an expert that is hardly chosen does not change faster than others.
        The entries of the gradient sum to zero, so a wrong factor of f alone is noticed, but a wrong sign has the same
        sum. With the wrong sign, one expert soon does everything.
        """
        dbalance = (f - 1 / E) * dloss  # (5) ← mean_t(top_t) / k − Σ_i b_i / E (3)
        return dbalance

    return loss, backward


class ChoiceBias(Parameter):
    """The bias (E,) of a choice. It is frozen, unless a training run balances the experts, and never decays."""

    def __init__(self, data: Array):
        super().__init__(data)
        self.requires_grad = False
