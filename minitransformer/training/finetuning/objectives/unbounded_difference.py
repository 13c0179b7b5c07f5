"""The plain difference: make the safe response likely and the unsafe one unlikely. It destroys the model.

−ℓ_safe is at least 0, but ℓ_unsafe can fall without limit, so L has no minimum. Its gradient does not vanish either.
With p the probability of an unsafe token, the gradient of log p with respect to its logit is 1 − p. It has its maximum,
1, when the token is already impossible: the better the model avoids a token, the harder it is pushed. (For ℓ_safe the
opposite is true, because 1 − p vanishes when p approaches 1.) This destroys everything else that the model has learned.
There are two remedies: unlikelihood.py bounds the second term, and direct_preference.py bounds the whole difference.
"""

from collections.abc import Callable

import numpy as np

from minitransformer.losses import Loss
from minitransformer.module import Array, Arrays
from minitransformer.training.finetuning.objectives.log_likelihood import sequence_log_likelihood


def unbounded_difference(
    safe_logits: Array, safe_targets: Array, unsafe_logits: Array, unsafe_targets: Array
) -> tuple[Loss, Callable[..., Arrays]]:
    """Return the mean over B pairs of log p(unsafe) − log p(safe), and its backward function.

    ℓ is the log-likelihood of a response, which log_likelihood.py calls y:

        L = mean(−ℓ_safe + ℓ_unsafe)                    (1)

    The logits are (B, T, V). The targets (B, T) are integers, which are IGNORE_INDEX outside the response. Raises the
    exceptions of cross_entropy.
    """
    safe, safe_backward = sequence_log_likelihood(safe_logits, safe_targets)
    unsafe, unsafe_backward = sequence_log_likelihood(unsafe_logits, unsafe_targets)
    loss = (unsafe - safe).mean()  # (1)
    shape, pairs = unsafe.shape, unsafe.size

    def backward(dloss=1.0):
        """The mean divides the gradient by B, and the two responses of a pair get opposite signs:

            dℓ_safe = −dL / B    dℓ_unsafe = dL / B         (2)

        These gradients do not depend on the current probabilities of the model.
        """
        dunsafe = np.full(shape, dloss / pairs)  # (2)
        return safe_backward(-dunsafe), unsafe_backward(dunsafe)  # (2)

    return loss, backward
