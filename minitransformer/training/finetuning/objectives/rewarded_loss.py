"""The objective of learning from rewards, applied to a model and the responses that it wrote earlier."""

from minitransformer.layers.modern.grpo import grpo
from minitransformer.losses import cross_entropy
from minitransformer.module import Module, apply
from minitransformer.text import IGNORE_INDEX


class RewardedLoss(Module):
    """The loss of `grpo` for the tokens of responses under `model`."""

    def __init__(self, model: Module):
        self.model = model

    def forward(self, inputs, targets, **options):
        """Return the loss of inputs and targets (B, T), and its backward function. `options` are those of grpo.

        The cross-entropy of a token is minus its log-probability. Where a target is IGNORE_INDEX, both are 0, and the
        token does not count. No dropout is applied, so that a ratio compares two sets of weights and nothing else.
        """
        logits, model_backward = self.model(inputs)
        losses, losses_backward = apply(cross_entropy, logits, targets, reduction="none")
        loss, grpo_backward = apply(grpo, -losses, mask=targets != IGNORE_INDEX, **options)

        def backward(dloss=1.0):
            model_backward(losses_backward(-grpo_backward(dloss)))

        return loss, backward
