"""Cross-entropy of the next token, fused with the softmax.

What it ignores: a shift of the logits, so that its gradient sums to zero at every position.

Decided where conventions differ: the mean over no position at all (all ignored, or of weight 0) is 0 with a zero
gradient, where PyTorch gives NaN: an all-padding batch should not end a training run. The ignored index may lie outside
the vocabulary.
"""

import numpy as np

from minitransformer.layers.softmax import log_softmax

REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(logits, targets, *, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """Return the cross-entropy in nats of logits (..., V) with integer targets (...), and its backward(dloss=1.0).

    For one position with target t, class weights w and label smoothing ε; without options the coefficients a are 1 at t
    and 0 elsewhere, and at an ignored position all are 0:

        z = log_softmax(logits)                         (1)
        a_c = w_c ((1 − ε) [c = t] + ε / V)             (2)
        ℓ = −Σ_c a_c z_c                                (3)

    Over the positions that are not ignored the losses are reduced as PyTorch does:

        L = Σ ℓ / Σ w_t  (mean)    L = Σ ℓ  (sum)    L = ℓ  (none)          (4)

    The mean divides by the weights of the *targets*, not by Σ w, and label smoothing changes nothing in that. Backward
    needs the probabilities:

        p = exp(z)                                      (5)

    The loss is a scalar, or (...) for reduction "none", where ignored positions have 0 and dloss is (...).
    `weight` (V,) holds one weight for each class.
    Raises TypeError for logits that are not floating-point or targets that are not integers, ValueError for shapes that
    do not fit, targets out of range, an unknown reduction, or a label smoothing outside 0 … 1.
    Saved for backward: p (..., V), a (..., V).
    """
    check_arguments(logits, targets, weight, ignore_index, label_smoothing, reduction)
    V, dtype = logits.shape[-1], logits.real.dtype
    smooth, positions = float(label_smoothing), targets.shape
    kept = (targets != ignore_index).astype(dtype)[..., None]
    w = np.ones(V, dtype) if weight is None else np.asarray(weight, dtype)

    z, _ = log_softmax(logits)  # (1)
    a = w * ((1 - smooth) * onehot(targets, V, dtype) + smooth / V) * kept  # (2)
    losses = -(a * np.where(a == 0, 0, z)).sum(axis=-1)  # (3), where 0 · ∞ is 0
    weight_sum = float((w.take(targets, mode="clip") * kept[..., 0]).sum())
    share = (1 / weight_sum if weight_sum else 0.0) if reduction == "mean" else 1.0
    loss = losses if reduction == "none" else losses.sum() * share  # (4)
    p = np.exp(z)  # (5)

    def backward(dloss=1.0):
        """Each logit x_j is reached through its own z_j and through the common logarithm.

        With ∂z_c/∂x_j = δ_cj − p_j,

            A = Σ_c a_c    dx_j = (A p_j − a_j) · dℓ        (6)

        Without options this is p − onehot(t): what the model said minus what was true. Fusing the two functions gives
        this cancellation exactly; through log and softmax apart, it is a difference of two large numbers or 0/0.

        The gradient of an ignored position is zero, but it must not count in the mean either: dividing by all positions
        scales the gradient by a factor that a check without ignored positions never sees.
        """
        dlosses = np.broadcast_to(np.asarray(dloss, dtype) * share, positions)
        A = a.sum(axis=-1, keepdims=True)  # (6)
        dlogits = (A * p - a) * dlosses[..., None]  # (6)
        return dlogits

    return loss, backward


def onehot(targets, V, dtype):
    """Return an array (..., V) with 1 in the place of each target (...) and 0 elsewhere."""
    return (targets[..., None] == np.arange(V)).astype(dtype)


def check_arguments(logits, targets, weight, ignore_index, label_smoothing, reduction):
    """Raise TypeError or ValueError, naming the argument, unless the arguments of cross_entropy fit together."""
    if not isinstance(targets, np.ndarray) or targets.dtype.kind not in "iu":
        kind = f"dtype {targets.dtype}" if isinstance(targets, np.ndarray) else type(targets).__name__
        raise TypeError(f"cross_entropy: targets must be an array of integers, not {kind}")
    if logits.dtype.kind not in "fc":
        raise TypeError(f"cross_entropy: logits must be floating-point, not {logits.dtype}")
    if logits.ndim == 0 or logits.shape[:-1] != targets.shape:
        raise ValueError(f"cross_entropy: targets {targets.shape} must be logits {logits.shape} without the last axis")
    V = logits.shape[-1]
    wrong = (targets != ignore_index) & ((targets < 0) | (targets >= V))
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"cross_entropy: target {targets[where]} at position {where} is out of range: the classes are 0 … {V - 1}, "
            f"and {ignore_index} for a position to ignore"
        )
    if weight is not None and np.shape(weight) != (V,):
        raise ValueError(f"cross_entropy: weight {np.shape(weight)} must be ({V},), one for each class")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be between 0 and 1, not {label_smoothing}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"cross_entropy: unknown reduction {reduction!r}; known are {', '.join(REDUCTIONS)}")
