"""Gates of a mixture of experts: a softmax over the k largest router logits (Shazeer et al., 2017).

Every position has a logit for each of E experts, and uses the k experts whose logits are largest. The choice is not
differentiable: between two ties it is constant, so its derivative is zero, and at a tie the gates jump. A check must
therefore draw logits that differ by more than its step. What is learned are the gates of the chosen experts.

The gates are invariant to a shift of all logits of a position, so their gradients sum to zero, as those of a softmax.
"""

import numpy as np

from minitransformer.layers.modern.checks import check_router_logits
from minitransformer.layers.softmax import softmax
from minitransformer.module import Array, Backward


def top_k_gates(x: Array, *, k: int, balance: Array | None = None) -> tuple[Array, Backward[Array]]:
    """Return gates y (..., E) for router logits x (..., E): k of each position are positive and sum to 1.

        masked = x where chosen, else −∞                (1)
        y = softmax(masked)                             (2)

    `chosen` is True for the k largest logits of a position. Of equal logits, those of lower index are chosen first. A
    `balance` (E,) is added to the logits only for this choice (see balancing_bias.py).

    Saved for backward: the arrays that softmax saves.

    Raises: TypeError if x is not floating-point, or k is not an integer; ValueError if k is not from 1 to E.
    """
    check_router_logits("top_k_gates", x, k)
    chosen = largest(x if balance is None else x + balance, k)
    masked = np.where(chosen, x, -np.inf)  # (1)
    y, softmax_backward = softmax(masked)  # (2)

    def backward(dy):
        """The backward of softmax, see softmax.py, is

            dx = y · (dy − Σ y · dy)                        (3)

        An expert that was not chosen has the gate 0, hence by (3) no gradient, so (1) needs no line in backward: no
        gradient says that another expert would have been better.

        For k = 1 the only gate is 1, whatever its logit, and dx is zero: such a router never learns. For this reason k
        is at least 2 here, or the gate is the probability among all experts, as in the Switch Transformer. A check with
        k = 1 passes a backward that returns zeros. One with k = E tests a plain softmax, and not the choice.
        """
        dx = softmax_backward(dy)  # (3) ← softmax(masked) (2), x where chosen, else −∞ (1)
        return dx

    return y, backward


def largest(x, k):
    """Return a boolean array of x's shape that is True for the k largest entries of each row."""
    order = np.argsort(-x.real, axis=-1, kind="stable")
    chosen = np.zeros(x.shape, bool)
    np.put_along_axis(chosen, order[..., :k], True, axis=-1)
    return chosen
