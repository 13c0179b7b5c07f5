"""One training step: the mean gradient of some losses, clipped, and one move of the optimiser.

**Accumulation.** The loss of a step is the mean over all predicted tokens of all its batches i, n_i of them in batch i,
where L_i is the mean over those:

    L = Σ_i (n_i / n) L_i,   n = Σ_i n_i            (1)

and so is its gradient. Each batch's backward begins with its share n_i/n, and the Parameters add up. Weighting all
batches alike is right only when all n_i are equal: with padding they are not, and a token of a short batch would count
for more.

**Divergence.** One step with a loss or gradient that is NaN or infinite makes every weight that it reaches NaN, which
never comes right again; one too large to be squared leaves AdamW's v infinite, and that weight learns no more. So they
are looked for before the step is taken: when TrainingDiverged is raised, the weights are still good.
"""

import math

import numpy as np

from minitransformer.optim import clipping_scale, grad_norm
from minitransformer.text import IGNORE_INDEX


class TrainingDiverged(ArithmeticError):  # noqa: N818
    """The loss or the gradient is not finite, or the gradient too large to be squared.

    Raised by a step, it leaves the weights as they were before, and keeps the gradients; raised for the validation
    loss, the step has been taken.

    loss        the loss of the step, or on the validation split
    parameter   the name of the parameter with the largest gradient, one that is not finite first; None for the latter
    gradient    that gradient's largest entry by magnitude
    """

    def __init__(self, message, loss, parameter=None, gradient=None):
        super().__init__(message)
        self.loss, self.parameter, self.gradient = loss, parameter, gradient

    def with_message(self, message):
        """Return the same with another message: who catches it knows more."""
        return TrainingDiverged(message, self.loss, self.parameter, self.gradient)


def training_step(model, optimizer, batches, *, clip=None, rng=None):
    """Move the model's parameters once, by the mean gradient of `batches`. Returns (loss, norm of the gradient).

    batches: a list of (inputs, targets), each (B, T) integers. clip: the largest norm of the gradient, or None for no
    limit; the norm returned is the one before. rng: a numpy Generator turns dropout on.
    Raises TrainingDiverged, before any parameter is moved, if the loss or the norm is not finite or the gradient too
    large to be squared, and ValueError for a clip that is not positive.
    """
    counts = [int(np.count_nonzero(targets != IGNORE_INDEX)) for _, targets in batches]
    total = max(sum(counts), 1)

    def losses():
        for (inputs, targets), count in zip(batches, counts, strict=True):
            yield count / total, model.loss(inputs, targets, rng=rng)  # (1)

    return descend(model, optimizer, losses(), clip=clip)


def descend(model, optimizer, losses, *, clip=None):
    """Move the model's parameters once, by the gradient of Σ share · loss. Returns (that sum, norm of the gradient).

    losses: pairs (share, (loss, backward)). Each is asked for when the one before is done with, so that a generator
    keeps the activations of one alone, if its backward frees them as it goes, as that of Transformer.loss does. clip,
    the norm and what is raised are those of training_step.
    """
    loss = 0.0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # looked for below, and named
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
    """Whether AdamW's v can hold the squares of a gradient of this norm: an infinite v moves nothing."""
    return norm * norm <= float(np.finfo(model.parameters()[0].data.dtype).max)


def largest_gradient(model):
    """Return (name, entry) of the parameter whose gradient has the largest entry; a NaN counts as infinite."""
    entries = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            flat = parameter.grad.ravel()
            entries[name] = float(flat[np.argmax(np.abs(flat))])  # argmax takes the first NaN, if there is one
    return max(entries.items(), key=lambda item: math.inf if math.isnan(item[1]) else abs(item[1]))
