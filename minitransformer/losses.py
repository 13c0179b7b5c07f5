"""Cross-entropy of the next token, fused with the softmax.

At each position the model gives a score, the logit, to every token of the vocabulary. The softmax converts these logits
to probabilities. The loss is the negative logarithm of the probability of the target, the token that really comes next.
It is 0 if this probability is 1, and grows without bound as the probability approaches 0. The probability of a text is
the product of those of its tokens, each given the tokens before it, so the losses of the tokens add. *Fused* means that
one function computes softmax and logarithm, and that one formula is the gradient of both.

The loss is invariant to a shift of the logits: one number added to all logits of a position changes no probability. The
derivative with respect to this number is therefore zero. It is also the sum of the gradients of these logits, so the
gradient sums to zero at every position.

Positions without a next token, such as the padding that makes the texts of a batch equally long, have the target
`ignore_index` and do not count. This index may lie outside the vocabulary. Conventions differ in one case. If all
positions are ignored or have weight 0, PyTorch returns NaN. Here the mean is 0, with a zero gradient, so that a batch
of padding does not end a training run.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minitransformer.layers.softmax import log_softmax
from minitransformer.module import Array, require_floating

REDUCTIONS = ("mean", "sum", "none")
Loss = np.floating[Any] | Array  # a scalar, or an array with one loss per position for reduction "none"


def cross_entropy(
    logits: Array,
    targets: Array,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> tuple[Loss, Callable[..., Array]]:
    """Return the cross-entropy in nats of logits (..., V) with integer targets (...), and its backward(dloss=1.0).

    The classes are the V tokens. One position has logits x (V,), a target t, class weights w and label smoothing ε.
    [c = t] is 1 for the target and 0 for other classes. The weight of a class, 1 by default, says how much a target of
    this class counts. Label smoothing, 0 by default, takes the share ε from the target and distributes it evenly over
    all classes, so that the model does not learn to be certain. With a_c, the coefficient of class c, and z, the
    logarithms of the probabilities, the loss ℓ is

        a_c = w_c ((1 − ε) [c = t] + ε / V)             (1)
        z = log_softmax(x)                              (2)
        ℓ = 0 where t = ignored, else −Σ_c a_c · z_c    (3)

    Without options, a_c is [c = t], so ℓ is the negative logarithm of the target's probability. Over the positions n
    that are not ignored the losses are reduced as PyTorch does. The name in parentheses is the argument `reduction`:

        L = Σ_n ℓ_n / Σ_n w[t_n]  (mean)    L = Σ_n ℓ_n  (sum)    L = ℓ  (none)      (4)

    The mean divides by the sum of the weights of the *targets*, w[t_n] at position n, not by the number of positions or
    the sum of all class weights. The divisor does not depend on label smoothing. Backward needs the probabilities:

        p = exp(z)                                      (5)

    The unit is the nat, because the logarithm is natural. The loss is a scalar. For reduction "none" it is (...),
    with 0 at ignored positions, and backward takes a dloss (...). `weight` (V,) contains one weight for each class.
    `kept` is False at ignored positions. Raises TypeError if the logits are not floating-point or the targets are not
    integers. Raises ValueError for inconsistent shapes, targets out of range, an unknown reduction, or a label
    smoothing outside 0 … 1. Saved for backward: p (..., V), a (..., V), kept (...).
    """
    check_arguments(logits, targets, weight, ignore_index, label_smoothing, reduction)
    V, dtype = logits.shape[-1], logits.real.dtype
    smooth, kept = float(label_smoothing), targets != ignore_index
    w = np.ones(V, dtype) if weight is None else np.asarray(weight, dtype)

    a = np.where(targets[..., None] == np.arange(V), w * (1 - smooth + smooth / V), w * (smooth / V))  # (1)
    z, _ = log_softmax(logits)  # (2)
    losses = np.where(kept, -(a * np.where(a == 0, 0, z)).sum(axis=-1), 0)  # (3), where 0 · ∞ is 0
    weight_sum = float((w.take(targets, mode="clip") * kept).sum())
    share = (1 / weight_sum if weight_sum else 0.0) if reduction == "mean" else 1.0
    loss = losses if reduction == "none" else losses.sum() * share  # (4)
    p = np.exp(z)  # (5)

    def backward(dloss=1.0):
        """By (4) each position that is not ignored gets its share of dL.

        The argument dloss is dL, which is 1 if L is the final loss:

            dℓ = dL / Σ_n w[t_n]  (mean)    dℓ = dL  (sum, none)        (6)

        By (2), see softmax.py, z_c is x_c minus the logarithm of Σ exp(x). So a logit x_j reaches z_j directly, and
        every z_c through this common logarithm. Its derivative with respect to x_j is exp(x_j) / Σ exp(x), or p_j.
        Together, ∂z_c/∂x_j = δ_cj − p_j, where δ_cj is 1 for c = j and 0 otherwise. By (3) dz_c = −a_c dℓ. In the sum
        over c, δ_cj leaves only the term with a_j:

            dx_j = Σ_c dz_c ∂z_c/∂x_j = −dℓ Σ_c a_c (δ_cj − p_j) = dℓ (p_j Σ_c a_c − a_j)

        With a name for the sum of the coefficients, this is

            A = Σ_c a_c    dx_j = (A p_j − a_j) · dℓ        (7)

        Without options, p A − a is p − onehot(t): the predicted distribution minus the true one, which is 1 at the
        target and 0 elsewhere. Because the two functions are fused, no division is needed. With separate backward
        passes of log and softmax, the first step would be −a/p. This is 0/0 if the p of another class underflows to 0,
        and −∞ if the target's p does, where the model is most wrong.

        The gradient of an ignored position is zero if its logits are finite; with a NaN among them, p is NaN, and so is
        its product with 0. The position must not be counted in the mean either. Division by the number of all positions
        would scale the gradient by a wrong factor, and a check without ignored positions would not find this mistake.
        """
        dlosses = np.where(kept, np.asarray(dloss, dtype) * share, 0)  # (6) ← Σ_n ℓ_n (4)
        A = a.sum(axis=-1, keepdims=True)  # (7)
        dlogits = (A * p - a) * dlosses[..., None]  # (7) ← −Σ_c a_c · z_c (3), log_softmax(x) (2)
        return dlogits

    return loss, backward


def check_arguments(logits, targets, weight, ignore_index, label_smoothing, reduction):
    if not isinstance(targets, np.ndarray) or targets.dtype.kind not in "iu":
        kind = f"dtype {targets.dtype}" if isinstance(targets, np.ndarray) else type(targets).__name__
        raise TypeError(f"cross_entropy: targets must be an array of integers, not {kind}")
    require_floating("cross_entropy", logits=logits)
    if logits.ndim == 0 or logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"cross_entropy: targets must have shape {logits.shape[:-1]} for logits {logits.shape}, not {targets.shape}"
        )
    V = logits.shape[-1]
    wrong = (targets != ignore_index) & ((targets < 0) | (targets >= V))
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"cross_entropy: targets must be from 0 to {V - 1}, or {ignore_index} to ignore a position, not "
            f"{targets[where]} (at position {where})"
        )
    if weight is not None and np.shape(weight) != (V,):
        raise ValueError(f"cross_entropy: weight must have shape ({V},), one entry per class, not {np.shape(weight)}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be from 0 to 1, not {label_smoothing}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"cross_entropy: unknown reduction {reduction!r}; choose from {', '.join(REDUCTIONS)}")
