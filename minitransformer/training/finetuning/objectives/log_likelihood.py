"""The log-likelihood of a response: how probable a model finds a whole answer, given what came before it.

A sequence is a prompt and a response; the targets are the response's tokens, and ignored elsewhere: nobody is taught to
ask. The log-likelihood is a sum, not a mean: a longer response is less probable, and a difference of two also compares
lengths. That is why reports give the mean per token as well.
"""

import numpy as np

from minitransformer.losses import cross_entropy
from minitransformer.module import Array, Backward, apply
from minitransformer.text import IGNORE_INDEX


def sequence_log_likelihood(
    logits: Array, targets: Array, *, ignore_index: int = IGNORE_INDEX
) -> tuple[Array, Backward[Array]]:
    """Return the log-likelihoods in nats (...) of targets (..., T) under logits (..., T, V), summed over T.

    With logits x and targets t, and ℓ_i the cross-entropy of position i (see losses.py), as a response's probability is
    the product of its tokens', each given those before it:

        ℓ_i = −log softmax(x_i)[t_i],  0 where t_i is ignored        (1)
        y = log p(response | prompt) = −Σ_i ℓ_i         (2)

    Positions whose target is `ignore_index` count for nothing. Raises what cross_entropy raises.
    """
    losses, losses_backward = apply(cross_entropy, logits, targets, ignore_index=ignore_index, reduction="none")  # (1)
    y = -losses.sum(axis=-1)  # (2)
    shape = targets.shape

    def backward(dy):
        """Each response's value is a sum over its own positions, so dy, one number a response, reaches each of them:

            dℓ_i = −dy                                      (3)

        and by cross_entropy's backward an ignored one not at all.
        """
        dlosses = np.broadcast_to(-np.asarray(dy)[..., None], shape)  # (3)
        return losses_backward(dlosses)

    return y, backward
