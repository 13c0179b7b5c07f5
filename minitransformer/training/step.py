"""One training step: the mean gradient of several losses, clipped, and one update of the optimiser.

**Accumulation.** The loss of a step is the mean over all predicted tokens of all its batches. With n_i tokens in batch
i, and L_i the mean over these,

    L = Σ_i (n_i / n) L_i,   n = Σ_i n_i            (1)

and the same holds for its gradient. The backward pass of each batch begins with its share n_i/n, and the Parameters add
up the gradients. Equal factors for all batches are right only if all n_i are equal. With padding they are not, and a
token of a batch with few tokens would count more.

**Divergence.** A step with a loss or gradient that is NaN or infinite makes every weight that it reaches NaN, which
cannot be repaired. A gradient too large to be squared makes AdamW's v infinite, so its weight never changes again. Both
are checked before the step: when TrainingDiverged is raised, the weights are still valid.
"""

import math

import numpy as np

from minitransformer.optim import clipping_scale, grad_norm
from minitransformer.text import IGNORE_INDEX


class TrainingDiverged(ArithmeticError):  # noqa: N818
    """The loss or the gradient is not finite, or the gradient is too large to be squared.

    If a step raises it, the weights are unchanged and the gradients are kept. If it is raised for the validation loss,
    the step has been taken.

    loss        the loss of the step, or on the validation split
    parameter   the name of the parameter with the largest gradient entry (a NaN counts as largest), or None for a
                validation loss
    gradient    that entry, or None
    """

    def __init__(self, message, loss, parameter=None, gradient=None):
        super().__init__(message)
        self.loss, self.parameter, self.gradient = loss, parameter, gradient

    def with_message(self, message):
        """Return a copy with another message, for callers that can add information."""
        return TrainingDiverged(message, self.loss, self.parameter, self.gradient)


def training_step(model, optimizer, batches, *, clip=None, rng=None):
    """Update the parameters once with the mean gradient of `batches`.

    batches   list of (inputs, targets), each (B, T) integers
    clip      largest norm of the gradient, or None for no limit
    rng       a numpy Generator, which turns dropout on

    Returns (loss, norm of the gradient before clipping). Raises TrainingDiverged, before any update, if the loss or the
    norm is not finite or the gradient is too large to be squared, and ValueError for a clip that is not positive.
    """
    counts = [int(np.count_nonzero(targets != IGNORE_INDEX)) for _, targets in batches]
    total = max(sum(counts), 1)

    def losses():
        for (inputs, targets), count in zip(batches, counts, strict=True):
            yield count / total, model.loss(inputs, targets, rng=rng)  # (1)

    return descend(model, optimizer, losses(), clip=clip)


def descend(model, optimizer, losses, *, clip=None):
    """Update the parameters once with the gradient of Σ share · loss.

    losses: pairs (share, (loss, backward)), consumed one at a time. A generator thus keeps the activations of only one
    loss in memory, if its backward releases them, as that of Transformer.loss does.

    Returns (the sum, norm of the gradient before clipping). clip and the exceptions are those of training_step.
    """
    loss = 0.0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # checked below
        for share, (part, backward) in losses:
            backward(share)  # (1)
            loss += float(part) * share  # (1)
        norm = grad_norm(model.parameters())
    scale = 1.0 if clip is None else clipping_scale(norm, clip)
    if not (math.isfinite(loss) and math.isfinite(norm) and can_be_squared(model, norm * scale)):
        parameter, gradient = largest_gradient(model)
        message = f"the loss is {loss:.4g} and the largest gradient {gradient:.4g}, in {parameter}"
        raise TrainingDiverged(message, loss, parameter, gradient)
    optimizer.step(gradient_scale=scale)
    optimizer.zero_grad()
    return loss, norm


def can_be_squared(model, norm) -> bool:
    """Return True if AdamW's v can represent the squares of a gradient of this norm."""
    return norm * norm <= float(np.finfo(model.parameters()[0].data.dtype).max)


def largest_gradient(model):
    """Return (name, entry) of the largest gradient entry; NaN counts as infinite."""
    entries = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            flat = parameter.grad.ravel()
            entries[name] = float(flat[np.argmax(np.abs(flat))])  # argmax returns the first NaN, if any
    return max(entries.items(), key=lambda item: math.inf if math.isnan(item[1]) else abs(item[1]))
