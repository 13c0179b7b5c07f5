"""The plain difference: make the safe response likely and the unsafe one unlikely. It destroys the model.

−ℓ_safe is at least 0, but ℓ_unsafe can fall without limit, so L has no minimum. Its gradient does not vanish either.
With p the probability of an unsafe token, the gradient of log p with respect to its logit is 1 − p. It is largest, 1,
when the token is already impossible: the better the model avoids a token, the harder it is pushed. (For ℓ_safe the
opposite is true: there 1 − p vanishes when the goal is reached.) This destroys everything else that the model has
learned. There are two remedies: unlikelihood.py bounds the second term, direct_preference.py the whole difference.
"""

from collections.abc import Callable

import numpy as np

from minitransformer.losses import Loss
from minitransformer.module import Array, Arrays
from minitransformer.training.finetuning.objectives.log_likelihood import sequence_log_likelihood


def unbounded_difference(
    safe_logits: Array, safe_targets: Array, unsafe_logits: Array, unsafe_targets: Array
) -> tuple[Loss, Callable[..., Arrays]]:
    """Return the mean over B pairs of log p(unsafe) − log p(safe), and its backward.

    With ℓ the log-likelihood of a response, the y of log_likelihood.py:

        L = mean(−ℓ_safe + ℓ_unsafe)                    (1)

    Logits (B, T, V) with integer targets (B, T), IGNORE_INDEX outside the response. Raises the exceptions of
    cross_entropy.
    """
    safe, safe_backward = sequence_log_likelihood(safe_logits, safe_targets)
    unsafe, unsafe_backward = sequence_log_likelihood(unsafe_logits, unsafe_targets)
    loss = (unsafe - safe).mean()  # (1)
    shape, pairs = unsafe.shape, unsafe.size

    def backward(dloss=1.0):
        """The mean gives each of B pairs its share, with opposite signs for its two responses:

            dℓ_safe = −dL / B    dℓ_unsafe = dL / B         (2)

        independently of the model's current probabilities.
        """
        dunsafe = np.full(shape, dloss / pairs)  # (2)
        return safe_backward(-dunsafe), unsafe_backward(dunsafe)  # (2)

    return loss, backward
