"""Cross-entropy of the next token, fused with the softmax.

Forward, for one position with logits x (V,) and target t; without options the coefficients a are 1 at t and 0
elsewhere:

    z = x − m − log Σ exp(x − m),  m = max x        (1)
    a_c = (1 − ε) w_t [c = t] + ε w_c / V           (2)
    ℓ = −Σ_c a_c z_c                                (3)

z is the log-softmax (see softmax.py), w the class weights and ε the label smoothing; at an ignored position every a_c
is 0. Over the positions that are not ignored the losses are reduced as PyTorch does:

    L = Σ ℓ / Σ w_t  (mean)    L = Σ ℓ  (sum)    L = ℓ  (none)          (4)

Backward. With ∂z_c/∂x_j = δ_cj − p_j, p = softmax(x), each x_j is reached through its own z_j and through the common
logarithm:

    dx_j = A p_j − a_j,   A = Σ_c a_c               (5)

times dL/dℓ of (4). Without options this is p − onehot(t): what the model said minus what was true. Fusing the two
functions gives this cancellation exactly; through log and softmax apart, it is a difference of two large numbers or
0/0.

The loss ignores a shift of the logits, so Σ_j dx_j = A − A = 0 at every position. The gradient of an ignored position
is zero, but it must not count in the mean either: dividing by all positions scales the gradient by a factor that a
check without ignored positions never sees. The mean divides by the weights of the *targets*, not by Σ w, and label
smoothing changes nothing in that.

Decided where conventions differ: the mean over no position at all (all ignored, or of weight 0) is 0 with a zero
gradient, where PyTorch gives NaN: an all-padding batch should not end a training run. The ignored index may lie
outside the vocabulary.

Saved for backward: e = exp(x − m) and its sum, from which p = e / Σ e; the targets.
"""

import numpy as np

from minitransformer.layers.softmax import finite_max

REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(logits, targets, *, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """Return the cross-entropy in nats of logits (..., V) with integer targets (...), and its backward(dloss=1.0).

    The loss is a scalar, or (...) for reduction "none", where ignored positions have 0 and dloss is (...).
    `weight` (V,) holds one weight for each class.
    Raises TypeError for logits that are not floating-point or targets that are not integers, ValueError for shapes that
    do not fit, targets out of range, an unknown reduction, or a label smoothing outside 0 … 1.
    """
    check_arguments(logits, targets, weight, ignore_index, label_smoothing, reduction)
    V = logits.shape[-1]
    label_smoothing = float(label_smoothing)
    real = logits.real.dtype
    rows = logits.reshape(-1, V)
    flat = targets.reshape(-1)
    kept = flat != ignore_index
    target = np.where(kept, flat, 0)
    at_target = (np.arange(flat.size), target)
    class_weight = np.ones(V, real) if weight is None else np.asarray(weight, real)
    target_weight = class_weight[target] * kept

    shifted = rows - finite_max(rows, -1)
    # An ignored position counts as 0 whatever its logits are: 0 · ∞ would be NaN.
    at_target_shifted = np.where(kept, shifted[at_target], 0)
    smoothing = class_weight * (label_smoothing / V) if label_smoothing else None  # (2)
    smoothed_shifted = np.where(kept, shifted @ smoothing, 0) if label_smoothing else None
    e = np.exp(shifted, out=shifted)
    total = e.sum(axis=-1)
    total[total == 0] = 1  # a row of −∞: see softmax.py
    losses = -(1 - label_smoothing) * target_weight * (at_target_shifted - np.log(total))  # (1) (3)
    if label_smoothing:
        losses -= kept * (smoothed_shifted - np.log(total) * smoothing.sum())  # (1) (3)

    share = 1.0
    if reduction == "mean":
        weight_sum = float(target_weight.sum())
        share = 1 / weight_sum if weight_sum else 0.0
    loss = losses.reshape(targets.shape) if reduction == "none" else losses.sum() * share  # (4)

    def backward(dloss=1.0):
        per_position = np.asarray(dloss, real).reshape(-1) * share  # one for each position, or one for all
        at_target_coefficient = (1 - label_smoothing) * target_weight * per_position  # (2)
        coefficient_sum = at_target_coefficient
        if smoothing is not None:
            coefficient_sum = coefficient_sum + smoothing.sum() * kept * per_position
        dlogits = e * (coefficient_sum / total)[:, None]  # (5), with p = e / total
        if smoothing is not None:
            dlogits -= (kept * per_position)[:, None] * smoothing  # (5)
        dlogits[at_target] -= at_target_coefficient  # (5)
        return dlogits.reshape(logits.shape)

    return loss, backward


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
