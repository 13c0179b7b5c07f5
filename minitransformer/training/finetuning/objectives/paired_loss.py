"""An objective applied to a model, with both responses of every pair in one batch."""

import numpy as np

from minitransformer.module import Module, apply


class PairedLoss(Module):
    """An objective of this folder, applied to the logits of `model` for pairs of sequences."""

    def __init__(self, model: Module, objective):
        self.model = model
        self.objective = objective

    def forward(self, inputs, targets, *, rng=None, **options):
        """Return the loss of inputs and targets (2B, T), and its backward function.

        The first B rows contain the safe responses, and the other rows the unsafe responses. If `rng` is given, dropout
        is applied. `options` are passed to the objective.
        """
        B = len(inputs) // 2
        logits, model_backward = self.model(inputs, rng=rng)
        loss, objective_backward = apply(self.objective, logits[:B], targets[:B], logits[B:], targets[B:], **options)

        def backward(dloss=1.0):
            model_backward(np.concatenate(objective_backward(dloss)))

        return loss, backward
