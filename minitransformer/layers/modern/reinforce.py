"""REINFORCE: the gradient of an expected reward, from samples (Williams, 1992).

A model writes responses, and each gets a reward, a number that may come from anywhere: a program, a person, another
model. The aim is a larger expected reward, J = Σ P · reward over all responses, where P is the probability of a
response under the model. Its derivative with respect to a parameter θ does not need that of the reward. As ∂P/∂θ = P
∂(log P)/∂θ,

    ∂J/∂θ = Σ P · reward · ∂(log P)/∂θ

is an expectation under the model, so the mean of reward · ∂(log P)/∂θ over sampled responses estimates it. The gradient
of the loss below is minus this mean. The loss itself is no measure of success: it may rise or fall while the rewards
rise.

**Advantages.** Since all P sum to 1, the expectation of ∂(log P)/∂θ is zero. So a constant that is subtracted from all
rewards does not change the expectation of the gradient, but its noise: with rewards of 100 and 101, nearly all of the
gradient is noise. An advantage is a reward minus such a baseline, for example the mean reward of all responses to the
same prompt.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minitransformer.layers.modern.checks import check_rewards
from minitransformer.module import Array


def reinforce(logp: Array, *, advantages: Array, mask: Array) -> tuple[np.floating[Any], Callable[..., Array]]:
    """Return the loss of logp (B, T) with advantages (B,) and a mask (B, T), and its backward(dloss=1.0).

    `logp` are the log-probabilities of the tokens of B responses, and `mask` is True for the tokens that count: those
    of the responses, without prompts and padding. With b for a response and t for a token:

        w = mask / Σ_ot mask_ot                         (1)
        L = −Σ_ot w_ot advantages_o logp_ot             (2)

    This is a mean over tokens. log P of a response is the sum over its tokens, and each of them gets its advantage. If
    no token counts, w and L are 0, as in cross_entropy.

    Saved for backward: w (B, T), A (B, 1), the advantages.

    Raises: TypeError if logp or advantages are not floating-point; ValueError for inconsistent shapes.
    """
    check_rewards("reinforce", logp, advantages, mask)
    w, A = weights_of_tokens(mask, logp.real.dtype), advantages.astype(logp.real.dtype)[:, None]  # (1)
    loss = -(w * A * logp).sum()  # (2)

    def backward(dloss=1.0):
        """L is linear in logp, and advantages and mask are constants:

            dlogp_ot = −w_ot advantages_o dL                (3)

        A step against this gradient makes the tokens of responses with a positive advantage more likely, and those with
        a negative one less. If all advantages are equal, every token is pushed alike, and a check does not notice that
        they were assigned to the wrong responses.
        """
        dlogp = -w * A * dloss  # (3) ← −Σ_ot w_ot advantages_o logp_ot (2)
        return dlogp

    return loss, backward


def weights_of_tokens(mask, dtype):
    """Return mask / Σ mask, the weight of each token in a mean, or zeros if no token counts."""
    counted = np.asarray(mask, dtype)
    return counted / (float(counted.sum()) or 1.0)
