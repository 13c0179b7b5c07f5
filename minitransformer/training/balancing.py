"""Balance the experts of a model during training, by a bias of the choice, by a loss, or by both.

The bias (layers/modern/balancing_bias.py) is moved after each step by `rate`, against the sign of its gradient, which
is the share of the expert in all choices of the step, minus 1/E. The loss (layers/modern/load_balance.py) is added to
that of the model with the factor `weight`. It is computed for each sequence, and is a mean over the sequences, as in
DeepSeek-V3. Both are therefore means over the tokens of the step. So the gradients of several batches, replicas and
ranks are added as those of all other parameters (see step.py), and give the same steps as one process.
"""

from functools import partial

import numpy as np

from minitransformer.layers.modern.balancing_bias import balancing_bias
from minitransformer.layers.modern.load_balance import load_balance
from minitransformer.layers.modern.mixture_of_experts import MixtureOfExperts
from minitransformer.module import Module
from minitransformer.muon import Together
from minitransformer.optim import Optimizer
from minitransformer.system.validation import number

ROUNDING = 1e-6  # an error of a share, relative to 1/E, that counts as zero


def mixtures(model) -> dict[str, MixtureOfExperts]:
    return {name: module for name, module in model.named_modules() if isinstance(module, MixtureOfExperts)}


class BalancedModel(Module):
    """A model with experts, whose loss includes their balance. It can be passed to training_step.

    With `moves_biases`, the gradient of each bias is that of balancing_bias, and not of this loss.
    """

    def __init__(self, model, weight: float, *, moves_biases: bool = False):
        self.model, self.weight, self.moves_biases = model, weight, moves_biases

    def named_parameters(self):
        return self.model.named_parameters()

    def loss(self, ids, targets, *, rng=None):
        """Return Transformer.loss plus `weight` times the sum over the layers of their balance, and its backward."""
        balances, upstream = [], []
        hooks = {
            f"{name}.logits": partial(self.balance, mixture=mixture, balances=balances, upstream=upstream)
            for name, mixture in mixtures(self.model).items()
        }
        with self.model.hooked(hooks):
            loss, model_backward = self.model.loss(ids, targets, rng=rng)

        def backward(dloss=1.0):
            upstream.append(dloss)  # read by the backward passes of the hooks
            model_backward(dloss)

        return loss + self.weight * sum(balances), backward

    def balance(self, logits, backward, *, mixture, balances, upstream):
        """Add the balance of a layer to `balances`. This is a hook of the router's logits (..., T, E)."""
        _, bias_backward = balancing_bias(mixture.balance.data, logits=logits, k=mixture.n_active)
        value, value_backward = balance_of_sequences(logits, mixture.n_active) if self.weight else (0.0, None)
        balances.append(value)

        def balanced_backward(dlogits):
            (dloss,) = upstream
            if self.moves_biases:
                mixture.balance.accumulate(bias_backward(dloss))
            if value_backward is None:
                return backward(dlogits)
            return backward(dlogits + value_backward(self.weight * dloss))

        return logits, balanced_backward


def balanced(model, optimizer, settings):
    """Return the model that takes the steps, and its optimizer, with the parts that balance its experts, if any."""
    biases = [mixture.balance for mixture in mixtures(model).values()]
    if not biases or not (settings.balance_rate or settings.balance_weight):
        return model, optimizer
    if settings.balance_rate:
        for bias in biases:
            bias.requires_grad = True
        optimizer = Together(*optimizer.parts, Balancing(biases, lr=settings.balance_rate))
    return BalancedModel(model, settings.balance_weight, moves_biases=settings.balance_rate > 0), optimizer


def balance_of_sequences(logits, k: int):
    """Return the mean of load_balance over the sequences of logits (..., T, E), and its backward(dloss)."""
    shape, sequences = logits.shape, logits.reshape(-1, *logits.shape[-2:])
    pairs = [load_balance(sequence, k=k) for sequence in sequences]

    def backward(dloss):
        dsequences = [sequence_backward(dloss / len(pairs)) for _, sequence_backward in pairs]
        return np.stack(dsequences).reshape(shape)

    return sum(value for value, _ in pairs) / len(pairs), backward


class Balancing(Optimizer):
    """Steps of size lr against the sign of the gradient, for the biases of choices.

    The gradient is the error of a share. An error of less than ROUNDING / E is a rounding error, and its sign is 0.
    """

    is_clipped = False

    def __init__(self, params, lr: float):
        super().__init__(params, {"lr": lr})

    def check_group(self, group) -> None:
        group["lr"] = number("Balancing: lr", group["lr"], minimum=0)

    def step(self, gradient_scale: float = 1.0) -> None:
        """Update in place every bias that has a gradient. `gradient_scale` does not change a sign."""
        for theta, g, _, settings in self.moving():
            theta[...] -= settings["lr"] * np.where(np.abs(g) * len(g) > ROUNDING, np.sign(g), 0).astype(theta.dtype)
