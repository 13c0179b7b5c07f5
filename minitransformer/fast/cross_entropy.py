"""Cross-entropy without an array of coefficients: the target's is taken out of the row, and the rest is one number.

Of the arrays as large as the logits, which at a vocabulary of 50,257 outweigh a small model, there are two: the
exponentials, and the gradient.
"""

import numpy as np

from minitransformer import losses as textbook
from minitransformer.layers.softmax import finite_max
from minitransformer.module import twin_of


@twin_of(textbook.cross_entropy)
def cross_entropy(logits, targets, *, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """Return the cross-entropy in nats of logits (..., V) with integer targets (...), and its backward(dloss=1.0).

    Saved for backward, of P positions: e (P, V) = exp(x − m), total (P,) its sum, from which p = e / total, at_target
    (P,), kept (P,), target_weight (P,), and smoothing (V,) where there is some.
    """
    textbook.check_arguments(logits, targets, weight, ignore_index, label_smoothing, reduction)
    shape, V = logits.shape, logits.shape[-1]
    label_smoothing = float(label_smoothing)
    real = logits.dtype
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
        dlogits = e * (coefficient_sum / total)[:, None]  # (5) (6)
        if smoothing is not None:
            dlogits -= (kept * per_position)[:, None] * smoothing  # (6)
        dlogits[at_target] -= at_target_coefficient  # (6)
        return dlogits.reshape(shape)

    return loss, backward
