"""Unlikelihood: raise the probability of each safe token, and of something other than each unsafe one (Welleck et al.,
2019).

Forward, for one position of the unsafe response with logits x (V,) and token t, whose probability is p:

    o = log Σ_{c ≠ t} exp(x_c)                      (1)
    u = −log(1 − p) = softplus(x_t − o)             (2)

and for B pairs of responses, ℓ being the log-likelihood (see log_likelihood.py) and Σ running over positions:

    L = mean(−ℓ_safe + Σ u)                         (3)

Neither term can fall below 0, where p = 1 for every safe and p = 0 for every unsafe token.

Computed as log(1 − p), a token that the model is sure of would be log 0: the very one that most needs to be unlearned.
x_t − o = log p/(1 − p) is the token's own logit against all others together, and softplus of it is exact at both ends.

Backward. u sees x_t directly, and every other logit through o, whose gradient is the softmax q over the others alone:

    dx_t = dz,   dx_c = −q_c dz  for c ≠ t,   dz = σ(x_t − o) · du = p du       (4)

Σ_c dx_c = 0, as must be for what ignores a shift. The push is p itself: none on a token that has become impossible,
where the plain difference pushes hardest.

Saved for backward: exp(x) of the others and its sum, and what softplus and sequence_log_likelihood save.
"""

import numpy as np

from minitransformer.layers.softmax import finite_max
from minitransformer.losses import check_arguments
from minitransformer.text import IGNORE_INDEX
from minitransformer.training.finetuning.objectives.log_likelihood import sequence_log_likelihood
from minitransformer.training.finetuning.objectives.softplus import softplus


def unlikelihood(safe_logits, safe_targets, unsafe_logits, unsafe_targets):
    """Return the mean over B pairs of −log p(safe) − Σ log(1 − p(unsafe token)), and its backward(dloss=1.0).

    Logits (B, T, V) with integer targets (B, T), IGNORE_INDEX outside the response. Raises what cross_entropy raises.
    """
    safe, safe_backward = sequence_log_likelihood(safe_logits, safe_targets)
    unsafe, unsafe_backward = sequence_unlikelihood(unsafe_logits, unsafe_targets)
    loss = (unsafe - safe).mean()  # (3)

    def backward(dloss=1.0):
        dunsafe = np.full(unsafe.shape, dloss / unsafe.size)  # (3)
        return safe_backward(-dunsafe), unsafe_backward(dunsafe)  # (3)

    return loss, backward


def sequence_unlikelihood(logits, targets, *, ignore_index=IGNORE_INDEX):
    """Return −Σ log(1 − p) in nats (...) of the tokens targets (..., T) under logits (..., T, V), summed over T.

    Positions whose target is `ignore_index` count for nothing. Raises what cross_entropy raises.
    """
    check_arguments(logits, targets, None, ignore_index, 0.0, "none")
    kept = targets.reshape(-1) != ignore_index
    rows = logits.reshape(-1, logits.shape[-1])
    at_target = (np.arange(len(rows)), np.where(kept, targets.reshape(-1), 0))
    others = rows.copy()
    others[at_target] = -np.inf
    largest = finite_max(others, -1)
    e = np.exp(others - largest)
    total = e.sum(axis=-1)
    o = largest[:, 0] + np.log(total)  # (1)
    u, softplus_backward = softplus(rows[at_target] - o)  # (2)
    y = np.where(kept, u, 0).reshape(targets.shape).sum(axis=-1)  # (3)

    def backward(dy):
        du = np.broadcast_to(np.asarray(dy)[..., None], targets.shape).reshape(-1) * kept
        dz = softplus_backward(du).astype(e.dtype, copy=False)  # (4)
        dlogits = e * (-dz / total)[:, None]  # (4)
        dlogits[at_target] = dz  # (4)
        return dlogits.reshape(logits.shape)

    return y, backward
