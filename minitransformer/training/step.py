"""One training step: the mean gradient of several losses, clipped, and one update of the optimiser.

**Accumulation.** The loss of a step is the mean over all predicted tokens of all its batches. With n_i tokens in batch
i, and L_i the mean over these tokens,

    L = Σ_i (n_i / n) L_i,   n = Σ_i n_i            (1)

and the same holds for its gradient. The backward pass of each batch begins with its share n_i/n, and the Parameters sum
the gradients. Equal factors for all batches are right only if all n_i are equal. With padding the n_i differ, and a
token would count more in a batch with few tokens.

**Divergence.** If a loss or a gradient is NaN or infinite, the step changes the affected weights to NaN, which cannot
be undone. A gradient too large to be squared makes AdamW's v infinite, so the weight never changes again. Both cases
are detected before the step, so the weights are still valid when TrainingDiverged is raised.
"""

import math

import numpy as np

from minitransformer.optim import clipping_scale, grad_norm
from minitransformer.text import IGNORE_INDEX


class TrainingDiverged(ArithmeticError):  # noqa: N818
    """Raised if the loss or gradient is not finite, or the gradient is too large to be squared.

    The weights are unchanged. `loss` is the loss of the step. `parameter` is the name of the parameter with the largest
    gradient entry, and `gradient` is this entry; NaN counts as the largest. Both are None for a validation loss.
    """

    def __init__(self, message, loss, parameter=None, gradient=None):
        super().__init__(message)
        self.loss, self.parameter, self.gradient = loss, parameter, gradient

    def with_message(self, message):
        return TrainingDiverged(message, self.loss, self.parameter, self.gradient)


def training_step(model, optimizer, batches, *, clip=None, rng=None):
    """Update the parameters once with the mean gradient of `batches`.

    batches   list of (inputs, targets), each (B, T) integers
    clip      largest norm of the gradient, or None for no limit
    rng       a numpy Generator for dropout, or None for no dropout

    Returns the loss, and the norm of the gradient before clipping. Raises TrainingDiverged, before any update, if the
    loss or the norm is not finite or the gradient is too large to be squared, and ValueError if `clip` is not positive.
    """
    return descend(model, optimizer, losses_of_batches(model, batches, rng), clip=clip)


def losses_of_batches(model, batches, rng=None):
    """Yield n_i / n of (1), and the loss with its backward function, for each batch (inputs, targets)."""
    for share, batch in zip(token_shares([targets for _, targets in batches]), batches, strict=True):
        yield share, model.loss(*batch, rng=rng)


def token_shares(targets) -> list[float]:
    """Return the factors n_i / n of (1) for a list of arrays of targets."""
    counts = [int(np.count_nonzero(array != IGNORE_INDEX)) for array in targets]
    return [count / max(sum(counts), 1) for count in counts]


def descend(model, optimizer, losses, *, clip=None):
    """Update the parameters once with the gradient of the weighted sum Σ share · loss.

    `losses` yields pairs (share, (loss, backward)). Each backward function is called before the next pair is requested.
    If `losses` is a generator, and each backward function releases its activations, as that of Transformer.loss does,
    then the activations of only one loss are in memory.

    Returns the weighted sum, and the norm of the gradient before clipping. Raises the exceptions of training_step.
    """
    loss = 0.0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # checked below
        for share, (part, backward) in losses:
            backward(share)  # (1)
            loss += float(part) * share  # (1)
        norm = grad_norm(p for part in optimizer.parts if part.is_clipped for p in part.parameters())
    scale = 1.0 if clip is None else clipping_scale(norm, clip)
    clipped, most = norm * scale, float(np.finfo(model.parameters()[0].data.dtype).max)
    if not (math.isfinite(loss) and math.isfinite(norm) and clipped * clipped <= most):
        parameter, gradient = largest_gradient(model)
        message = f"the loss is {loss:.4g} and the largest gradient {gradient:.4g}, in {parameter}"
        raise TrainingDiverged(message, loss, parameter, gradient)
    optimizer.step(gradient_scale=scale)
    optimizer.zero_grad()
    return loss, norm


def largest_gradient(model):
    """Return the parameter name and the value of the largest gradient entry. NaN counts as infinite."""
    entries = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            flat = parameter.grad.ravel()
            entries[name] = float(flat[np.argmax(np.abs(flat))])  # argmax returns the first NaN, if any
    return max(entries.items(), key=lambda item: math.inf if math.isnan(item[1]) else abs(item[1]))
