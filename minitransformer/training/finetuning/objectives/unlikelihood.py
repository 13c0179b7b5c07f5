"""Unlikelihood (Welleck et al., 2019): make each safe token likely and each unsafe one unlikely."""

from collections.abc import Callable

import numpy as np

from minitransformer.layers.checks import check_cross_entropy
from minitransformer.layers.softmax import finite_max
from minitransformer.losses import Loss
from minitransformer.module import Array, Arrays
from minitransformer.text import IGNORE_INDEX
from minitransformer.training.finetuning.objectives.log_likelihood import sequence_log_likelihood
from minitransformer.training.finetuning.objectives.softplus import softplus


def unlikelihood(
    safe_logits: Array, safe_targets: Array, unsafe_logits: Array, unsafe_targets: Array
) -> tuple[Loss, Callable[..., Arrays]]:
    """Return the mean over B pairs of −log p(safe) − Σ log(1 − p(unsafe token)), and its backward function.

    ℓ is the log-likelihood of a response, which log_likelihood.py calls y. u = −log(1 − p) is the penalty of an unsafe
    token, equation (4) in this file. The sum runs over positions:

        L = mean(−ℓ_safe + Σ u)                         (1)

    Both terms are at least 0. They are 0 if p = 1 for every safe token and p = 0 for every unsafe token.

    The logits are (B, T, V). The targets (B, T) are integers, which are IGNORE_INDEX outside the response. Raises the
    exceptions of cross_entropy.
    """
    safe, safe_backward = sequence_log_likelihood(safe_logits, safe_targets)
    unsafe, unsafe_backward = sequence_unlikelihood(unsafe_logits, unsafe_targets)
    loss = (unsafe - safe).mean()  # (1)
    shape, pairs = unsafe.shape, unsafe.size

    def backward(dloss=1.0):
        """The mean divides the gradient by B, and the two responses of a pair get opposite signs.

        With unsafe = Σ u,

            dℓ_safe = −dL / B    dunsafe = dL / B           (2)
        """
        dunsafe = np.full(shape, dloss / pairs)  # (2)
        return safe_backward(-dunsafe), unsafe_backward(dunsafe)  # (2)

    return loss, backward


def sequence_unlikelihood(logits, targets, *, ignore_index=IGNORE_INDEX):
    """Return −Σ log(1 − p) in nats (...), where p is the probability of each target.

    The targets are (..., T), the logits are (..., T, V), and the sum runs over T. At one position, let x (V,) be the
    logits, t the target and p its probability:

        o = log Σ_{c ≠ t} exp(x_c)                      (3)
        u = −log(1 − p) = softplus(z),   z = x_t − o    (4)

    A direct computation of log(1 − p) would be log 0 when p rounds to 1, which happens for the tokens that most need to
    be unlearned. z = log(p / (1 − p)) is the log-odds of the token, and softplus(z) is accurate for all z.

    Positions whose target is `ignore_index` are ignored. Raises the exceptions of cross_entropy.

    Saved for backward: e (..., T, V), total (..., T, 1), token (..., T, 1), kept (..., T), and the arrays of softplus.
    For the logits other than x_t, e is exp(x − m), where m is the largest of them, and total is the sum of e.
    """
    check_cross_entropy(logits, targets, None, ignore_index, 0.0, "none")
    shape, dtype = targets.shape, logits.real.dtype
    kept = targets != ignore_index
    token = np.where(kept, targets, 0)[..., None]
    own = np.take_along_axis(logits, token, axis=-1)
    others = logits.copy()
    np.put_along_axis(others, token, -np.inf, axis=-1)
    m = finite_max(others, -1)
    e = np.exp(others - m)
    total = e.sum(axis=-1, keepdims=True)
    o = m + np.log(total)  # (3)
    z = (own - o)[..., 0]
    u, softplus_backward = softplus(z)  # (4)
    y = np.where(kept, u, 0).sum(axis=-1)

    def backward(dy):
        """x_t reaches u directly, and every other logit reaches u through o.

        The gradient of o is q = e / Σ e, the softmax over the other logits:

            dz = σ(z) · du = p du                           (5)
            dx_t = dz,   dx_c = −q_c dz  for c ≠ t          (6)

        Σ_c dx_c = 0, as for every function that ignores a shift of x. The gradient is proportional to p: zero for a
        token that has become impossible, where the gradient of the plain difference is largest.
        """
        du = np.broadcast_to(np.asarray(dy)[..., None], shape) * kept
        dz = softplus_backward(du).astype(dtype, copy=False)  # (5)
        dlogits = e * (-dz[..., None] / total)  # (6)
        np.put_along_axis(dlogits, token, dz[..., None], axis=-1)  # (6)
        return dlogits

    return y, backward
