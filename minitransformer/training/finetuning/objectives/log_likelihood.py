"""The log-likelihood of a response: the log-probability of a whole answer after its prompt.

A sequence is a prompt and a response. The targets are the response's tokens, and IGNORE_INDEX elsewhere, so the model
is not trained to write prompts. The log-likelihood is a sum, not a mean, so a longer response is usually less probable,
and the difference of two log-likelihoods depends on their lengths. For this reason, reports also give the mean per
token.
"""

import numpy as np

from minitransformer.losses import cross_entropy
from minitransformer.module import Array, Backward, apply
from minitransformer.text import IGNORE_INDEX


def sequence_log_likelihood(
    logits: Array, targets: Array, *, ignore_index: int = IGNORE_INDEX
) -> tuple[Array, Backward[Array]]:
    """Return the log-likelihoods in nats (...) of targets (..., T), summed over T.

    The logits are (..., T, V). The probability of a response is the product of the probabilities of its tokens, each
    after the tokens before it. With logits x, targets t, and the cross-entropy ℓ_i of position i (see losses.py):

        ℓ_i = −log softmax(x_i)[t_i],  0 where t_i is ignored        (1)
        y = log p(response | prompt) = −Σ_i ℓ_i         (2)

    Positions whose target is `ignore_index` are ignored. Raises the exceptions of cross_entropy.
    """
    losses, losses_backward = apply(cross_entropy, logits, targets, ignore_index=ignore_index, reduction="none")  # (1)
    y = -losses.sum(axis=-1)  # (2)
    shape = targets.shape

    def backward(dy):
        """The value of a response is a sum over its positions, so its gradient dy reaches each of them:

            dℓ_i = −dy                                      (3)

        and the backward pass of cross_entropy sets the gradient of an ignored position to zero.
        """
        dlosses = np.broadcast_to(-np.asarray(dy)[..., None], shape)  # (3)
        return losses_backward(dlosses)

    return y, backward
