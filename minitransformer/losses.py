"""Cross-entropy of the next token, fused with the softmax.

At each position the model gives a score, the logit, to every token of the vocabulary. The softmax converts these logits
to probabilities. The loss is the negative logarithm of the probability of the target, the token that really comes next.
It is 0 if this probability is 1, and grows without bound as the probability approaches 0. The probability of a text is
the product of those of its tokens, each given the tokens before it, so the losses of the tokens add. *Fused* means that
one function computes softmax and logarithm, and that one formula is the gradient of both.

The loss is invariant to a shift of the logits: one number added to all logits of a position changes no probability. The
derivative with respect to this number is therefore zero. It is also the sum of the gradients of these logits, so the
gradient sums to zero at every position.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minitransformer.layers.checks import check_cross_entropy
from minitransformer.layers.softmax import log_softmax
from minitransformer.module import Array

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

    One position has logits x (V,) and a target t, one of V tokens, which are the classes. Let a be the true
    distribution, which is 1 for the target and 0 elsewhere, and z the logarithms of the predicted probabilities p:

        a = onehot(t)   (plain)                         (1)
        z = log_softmax(x)                              (2)
        ℓ = −Σ_c a_c · z_c                              (3)
        L = mean(ℓ)   (plain)                           (4)
        p = exp(z)                                      (5)

    *(plain)* means: in a call without options. So the loss ℓ of a position is −z_t, the negative logarithm of its
    target's probability, in nats, because the logarithm is natural. L is the mean over the positions. Backward needs
    the probabilities (5).

    Options change two of these equations. `weight`, `ignore_index` and `label_smoothing` change (1), see
    `coefficients`. `reduction`, the name in parentheses, changes (4), where n numbers the positions that are not
    ignored, and w[c] is the weight of class c, 1 by default:

        share = 1 / Σ_n w[t_n]  (mean)    share = 1  (sum, none)        (6)
        L = share · Σ_n ℓ_n  (mean, sum)    L = ℓ  (none)               (7)

    As in PyTorch, the mean divides by the sum of the weights of the *targets*, w[t_n] at position n, not by the number
    of positions or the sum of all class weights. Without weights this is the number of these positions.
    For "none" the loss is (...), with 0 at ignored positions, and backward takes a dloss (...).

    Saved for backward: p (..., V), a (..., V).

    Raises: TypeError if the logits are not floating-point, or the targets are not integers; ValueError for inconsistent
    shapes, targets out of range, an unknown reduction, or a label smoothing outside 0 … 1.
    """
    check_cross_entropy(logits, targets, weight, ignore_index, label_smoothing, reduction)
    V, dtype = logits.shape[-1], logits.real.dtype
    w = np.ones(V, dtype) if weight is None else np.asarray(weight, dtype)
    a = coefficients(targets, w, float(label_smoothing), ignore_index)  # (1)
    z, _ = log_softmax(logits)  # (2)
    losses = (a * np.where(a == 0, 0, -z)).sum(axis=-1)  # (3), where 0 · ∞ is 0
    share = share_of_a_position(targets, w, ignore_index, reduction)
    loss = losses if reduction == "none" else share * losses.sum()  # (4) (7)
    p = np.exp(z)  # (5)

    def backward(dloss=1.0):
        """By (7) each position gets its share of dL, where the argument dloss is dL, which is 1 if L is the final loss:

            dℓ = share · dL  (plain, mean, sum)    dℓ = dL  (none)          (8)

        By (2), see softmax.py, z_c is x_c minus the logarithm of Σ exp(x). So a logit x_j reaches z_j directly, and
        every z_c through this common logarithm. Its derivative with respect to x_j is exp(x_j) / Σ exp(x), or p_j.
        Together, ∂z_c/∂x_j = δ_cj − p_j, where δ_cj is 1 for c = j and 0 otherwise. By (3) dz_c = −a_c dℓ. In the sum
        over c, δ_cj leaves only the term with a_j:

            dx_j = Σ_c dz_c ∂z_c/∂x_j = −dℓ Σ_c a_c (δ_cj − p_j) = dℓ (p_j Σ_c a_c − a_j)

        The a_c of onehot(t) sum to 1. So without options

            dx = (p − onehot(t)) · dℓ   (plain)             (9)

        the predicted distribution minus the true one. With options, the sum of the coefficients gets a name:

            A = Σ_c a_c    dx_j = (A p_j − a_j) · dℓ        (10)

        Because the two functions are fused, no division is needed. With separate backward passes of log and softmax,
        the first step would be −a/p. This is 0/0 if the p of another class underflows to 0, and −∞ if the target's p
        does, where the model is most wrong.

        At an ignored position a and A are zero, and so is the gradient if its logits are finite; with a NaN among them,
        p is NaN, and so is its product with 0. The position must not be counted in the mean either. Division by the
        number of all positions would scale the gradient by a wrong factor, and a check without ignored positions would
        not find this mistake.
        """
        dlosses = np.broadcast_to(share * np.asarray(dloss, dtype), a.shape[:-1])  # (8) ← share · Σ_n ℓ_n (7)
        A = a.sum(axis=-1, keepdims=True)  # (10)
        dlogits = (A * p - a) * dlosses[..., None]  # (9) (10) ← −Σ_c a_c · z_c (3), log_softmax(x) (2)
        return dlogits

    return loss, backward


def coefficients(targets, w, smooth, ignore_index):
    """Return a (..., V) for targets t (...): onehot(t) after the three options that change it.

    [c = t] is 1 for the target and 0 for other classes, so these are the entries of onehot(t). Label smoothing ε takes
    the share ε from the target and distributes it evenly over all V classes, so that the model does not learn to be
    certain:

        smoothed_c = (1 − ε) [c = t] + ε / V            (11)

    A class weight says how much a target of this class counts. `w` (V,) contains one for each class, 1 by default.
    Positions without a next token, such as the padding that makes the texts of a batch equally long, have the target
    `ignore_index`, which may lie outside the vocabulary, and do not count:

        a_c = 0 where t = ignored, else w_c · smoothed_c      (12)
    """
    V = len(w)
    onehot = np.equal(targets[..., None], np.arange(V)).astype(w.dtype)
    smoothed = (1 - smooth) * onehot + smooth / V  # (11)
    ignored = (targets == ignore_index)[..., None]
    return np.where(ignored, 0, w * smoothed)  # (12)


def share_of_a_position(targets, w, ignore_index, reduction):
    """Return the factor of each loss in L, a float.

    If all positions are ignored or have weight 0, the sum of the mean's weights is 0, and PyTorch returns NaN. Here the
    factor is 0, so that a batch of padding does not end a training run.
    """
    if reduction != "mean":
        return 1.0  # (6)
    weight_sum = float(w[targets[targets != ignore_index]].sum())
    return 1 / weight_sum if weight_sum else 0.0  # (6)
