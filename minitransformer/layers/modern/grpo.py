"""GRPO: many steps on the same responses, within a trusted range (Schulman et al., 2017; Shao et al., 2024).

Responses are expensive. REINFORCE may use them for one step only, since afterwards they are samples of an *old* model.
The ratio r of the new probability of a token to its old one corrects for this, and clipping stops the correction where
the two differ too much: a token whose probability has already moved by more than the factor 1 ± clip in the direction
of its advantage gets no further gradient.

The second term keeps the model near a reference, usually the model before training. It estimates the Kullback–Leibler
divergence of the model from the reference, the expectation of log P − log Pʳ under the model, from the sampled tokens.

In GRPO the advantages of the responses to one prompt are their rewards minus the mean, divided by the deviation.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minitransformer.layers.modern.checks import check_grpo
from minitransformer.layers.modern.reinforce import weights_of_tokens
from minitransformer.module import Array


def grpo(
    logp: Array, *, old: Array, advantages: Array, reference: Array, mask: Array, clip: float = 0.2, beta: float = 0.04
) -> tuple[np.floating[Any], Callable[..., Array]]:
    """Return the loss of logp (B, T), and its backward(dloss=1.0). advantages are (B,), the other arrays (B, T).

    `logp`, `old` and `reference` are the log-probabilities of the tokens of B responses under the model, under the one
    that wrote them, and under the reference. `mask` is True for the tokens that count, with weights w as in
    reinforce.py. For each token, with the advantage A of its response and the range ε, which is `clip`:

        r = exp(logp − old)                             (1)
        c = min(max(r, 1 − ε), 1 + ε)                   (2)
        s = min(r · A, c · A)                           (3)
        ρ = exp(reference − logp)                       (4)
        kl = ρ − log ρ − 1                              (5)
        L = Σ_ot w_ot (β kl_ot − s_ot)                  (6)

    The smaller of the two in (3) is a lower bound of the gain, so that clipping never makes a step look better than it
    is. (5) is the estimator k3 (Schulman, 2020). It is never negative, and 0 only for ρ = 1. Under the model, the
    expectation of ρ is Σ P · Pʳ/P, which is Σ Pʳ, or 1. So the expectation of (5) is that of −log ρ, the divergence.

    Saved for backward: w (B, T), A (B, 1), r (B, T), rho (B, T), clipped (B, T).

    Raises: TypeError if logp or advantages are not floating-point; ValueError for inconsistent shapes, or if clip or
    beta is negative.
    """
    check_grpo(logp, old, advantages, reference, mask, clip, beta)
    dtype, epsilon, b = logp.real.dtype, float(clip), float(beta)
    w, A = weights_of_tokens(mask, dtype), advantages.astype(dtype)[:, None]
    r = np.exp(logp - np.asarray(old, dtype))  # (1)
    at_least = np.where(r.real < 1 - epsilon, 1 - epsilon, r)
    c = np.where(r.real > 1 + epsilon, 1 + epsilon, at_least)  # (2)
    clipped = (r * A).real > (c * A).real
    s = np.where(clipped, c * A, r * A)  # (3)
    log_rho = np.asarray(reference, dtype) - logp
    rho = np.exp(log_rho)  # (4)
    kl = rho - log_rho - 1  # (5)
    loss = (w * (b * kl - s)).sum()  # (6)

    def backward(dloss=1.0):
        """By (6),

            ds = −w · dL    dkl = β w · dL                  (7)

        A log-probability reaches s through r, with ∂r/∂logp = r. The second argument of (3) is the smaller one for a
        positive advantage if r is above 1 + ε, and for a negative one if r is below 1 − ε. There s is a constant, and
        the token has no gradient from it:

            dr = 0 where clipped, else A · ds               (8)

        A token that has moved the wrong way, such as one with a positive advantage and an r below 1 − ε, is not
        clipped: it must be able to return. So the condition depends on the sign of A. One that tests only whether r
        lies between 1 − ε and 1 + ε is wrong for these tokens. Where r crosses a bound there is a kink, and a check
        must treat it separately.

        With ∂ρ/∂logp = −ρ, and log ρ = reference − logp, ∂kl/∂logp = −ρ + 1. Together

            dlogp = r · dr + (1 − ρ) · dkl                  (9)

        In the first step on new responses every r is 1, and if the reference is the model, so is every ρ. Then nothing
        is clipped, the second term is zero, and the gradient is that of REINFORCE. A check at this point does not
        detect a lost factor r, a lost divergence or a wrong condition: old and reference must differ from logp, by more
        than ε.
        """
        ds, dkl = -w * dloss, b * w * dloss  # (7) ← Σ_ot w_ot (β kl_ot − s_ot) (6)
        dr = np.where(clipped, 0, A * ds)  # (8) ← min(r · A, c · A) (3), min(max(r, 1 − ε), 1 + ε) (2)
        dlogp = r * dr + (1 - rho) * dkl  # (9) ← exp(logp − old) (1), ρ − log ρ − 1 (5), exp(reference − logp) (4)
        return dlogp

    return loss, backward
