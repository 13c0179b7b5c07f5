"""Direct preference optimisation: prefer the safe response more than the model did before (Rafailov et al., 2023).

It is what is left of reinforcement learning from human feedback when the reward is solved for. There a model p is to
have a high reward, but to stay near the reference pʳ: Σ p · (reward − β log(p/pʳ)), over all responses, is to be
largest. With Σ p = 1 fixed, its derivative by p, reward − β log(p/pʳ) − β, is the same number for every response, so
that reward = β log(p/pʳ) + constant, and σ(z) of (1) is then the probability that the safe response is the preferred
one (Bradley and Terry, 1952). β is the price of leaving the reference.

Only the difference of differences counts: whatever moves both responses alike, and any constant added to both
references, changes nothing. So L may fall while *both* responses become less likely; reports give each by itself.
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
    """Return the mean over B pairs of −log σ(z), and its backward(dloss=1.0).

    With log-likelihoods ℓ under the model and ℓʳ under the reference, the model as it was before training, which is a
    constant:

        z = β · ((ℓ_safe − ℓ_unsafe) − (ℓʳ_safe − ℓʳ_unsafe))        (1)
        L = mean(−log σ(z)) = mean(softplus(−z))        (2)

    Logits (B, T, V) with integer targets (B, T), IGNORE_INDEX outside the response; `reference_safe` and
    `reference_unsafe` (B,) are the reference's log-likelihoods in nats. Raises what cross_entropy raises.
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
        """One number for each pair, with opposite signs for its two responses:

            dz = −σ(−z) · dL / B                            (3)
            dℓ_safe = β dz    dℓ_unsafe = −β dz             (4)

        σ(−z) is how wrong the model is about the pair: 1/2 at the start, where z = 0 and L = log 2, and 0 once the
        margin z/β has grown well beyond 1/β. L is at least 0 and the pushing ends, which the plain difference never
        does.
        """
        dz = -softplus_backward(np.full(shape, dloss / pairs))  # (3)
        return safe_backward(b * dz), unsafe_backward(-b * dz)  # (4)

    return loss, backward
