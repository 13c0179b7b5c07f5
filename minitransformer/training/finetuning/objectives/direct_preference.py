"""Direct preference optimisation: prefer the safe response more than the reference model does (Rafailov et al., 2023).

The objective follows from reinforcement learning from human feedback by eliminating the reward. In reinforcement
learning, a model p maximises the reward but should stay near the reference pʳ. It maximises Σ p · (reward − β
log(p/pʳ)) over all responses. Under the constraint Σ p = 1, the derivative with respect to each p, reward − β log(p/pʳ)
− β, is the same for every response. Therefore reward = β log(p/pʳ) + constant, and σ(z) of (1) is the probability that
the safe response is preferred (Bradley and Terry, 1952). β is the penalty for differences from the reference.

Only the difference of differences counts. A change of both log-likelihoods by the same amount, or of both references,
has no effect. L may thus fall while *both* responses become less likely, so reports give both log-likelihoods.
"""

from collections.abc import Callable

import numpy as np

from minitransformer.losses import Loss
from minitransformer.module import Array, Arrays
from minitransformer.training.finetuning.objectives.log_likelihood import sequence_log_likelihood
from minitransformer.training.finetuning.objectives.softplus import softplus


def direct_preference(
    safe_logits: Array,
    safe_targets: Array,
    unsafe_logits: Array,
    unsafe_targets: Array,
    *,
    reference_safe: Array,
    reference_unsafe: Array,
    beta: float = 0.1,
) -> tuple[Loss, Callable[..., Arrays]]:
    """Return the mean over B pairs of −log σ(z), and its backward function.

    ℓ is a log-likelihood under the model. ℓʳ is the same under the reference, which is the model before training:

        z = β · ((ℓ_safe − ℓ_unsafe) − (ℓʳ_safe − ℓʳ_unsafe))        (1)
        L = mean(−log σ(z)) = mean(softplus(−z))        (2)

    The logits are (B, T, V). The targets (B, T) are integers, which are IGNORE_INDEX outside the response.
    `reference_safe` and `reference_unsafe` (B,) are the log-likelihoods of the reference in nats. Raises the exceptions
    of cross_entropy.
    """
    b = float(beta)
    safe, safe_backward = sequence_log_likelihood(safe_logits, safe_targets)
    unsafe, unsafe_backward = sequence_log_likelihood(unsafe_logits, unsafe_targets)
    reference = np.asarray(reference_safe - reference_unsafe, safe.real.dtype)
    z = b * ((safe - unsafe) - reference)  # (1)
    losses, softplus_backward = softplus(-z)  # (2)
    loss = losses.mean()  # (2)
    shape, pairs = z.shape, z.size

    def backward(dloss=1.0):
        """The gradient is one number for each pair, with opposite signs for its two responses:

            dz = −σ(−z) · dL / B                            (3)
            dℓ_safe = β dz    dℓ_unsafe = −β dz             (4)

        σ(−z) is the probability that the model gives to the wrong preference: 1/2 at the start, where z = 0 and
        L = log 2, and nearly 0 when the margin z/β is much larger than 1/β. The gradient then vanishes, unlike that of
        the plain difference, and L is never negative.
        """
        dz = -softplus_backward(np.full(shape, dloss / pairs))  # (3)
        return safe_backward(b * dz), unsafe_backward(-b * dz)  # (4)

    return loss, backward
