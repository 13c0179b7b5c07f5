"""TracIn: how much a training passage pushed the model to its answer (Pruthi, Liu, Kale and Sundararajan, 2020).

One step of gradient descent on passage z, of learning rate η, moves the parameters to θ − η g(z), with g(z) = ∇ℓ(z; θ).
To first order in η the loss of the answer z′ falls by η g(z) · g(z′). Of all steps that training took, add up those on
z: the fall of the answer's loss for which z is responsible. Checkpoints c stand for the steps around them (TracInCP):

    g(z) · g(z′) = Σ over parameters of Σ g_p(z) g_p(z′)            (1)
    influence of z on z′ = Σ_c η_c g_c(z) · g_c(z′)                 (2)

Positive: a **proponent**, a step on it makes the answer likelier. Negative: an **opponent**. A passage's influence on
itself is a sum of squares. Both losses are means over tokens, in nats.

The product is large where g(z) is long, whatever its direction; and g is long where the loss is high: what the model
has not learned, typos and oddities, comes up as a proponent or opponent of everything (Barshan et al., 2020; Hammoudeh
and Lowd, 2022). What is left without the lengths is the angle,

    cosine of z and z′ = Σ_c η_c g_c(z) · g_c(z′) / (‖g_c(z)‖ ‖g_c(z′)‖) / Σ_c η_c         (3)

from −1 to 1, which prefers what pushes in this answer's direction and in few others.

The gradients are those of `model.loss`, one passage at a time, without dropout; a frozen parameter has no part. Kept
are those of the answers alone, one copy of the parameters for each, while the passages stream by: a forward and a
backward pass for each of them and each checkpoint.

**One checkpoint, the end of training, is not enough where the model has memorised**: what it knows by heart has next to
no gradient left, whoever taught it. A model of two layers and width 32 learned 30 facts, each from two passages out of
60, in 400 steps of AdamW, and answered all 30 with a confidence of 99 %. For how many of them one of their own two
passages came first, and the mean place of the two (the best is 0.5, chance 29.5):

    checkpoints    by influence    by cosine    place by influence    place by cosine
    1              4 of 30         7 of 30      18.3                  18.2
    4              18              22           4.5                   3.0
    10             20              21           2.9                   2.4
    20             23              26           3.6                   2.8

What it does not show. It is a correlation of gradients at a few points, linear and local: what passages do together, or
would do in more than a small step, is not in it. AdamW does not step along g but along g divided by its own running
size, entry by entry, with momentum; (1) knows nothing of that. And it can rank only the passages that it is given. So a
ranking is a hypothesis, and retraining.py the test of it.
"""

import math
from contextlib import contextmanager

import numpy as np

from minitransformer.optim import squared_norm


@contextmanager
def gradients_apart(model):
    """Let gradients accumulate from None during a `with` block, and put those that were there back afterwards."""
    parameters = model.parameters()
    before = [parameter.grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.grad = None
        yield [parameter for parameter in parameters if parameter.requires_grad]
    finally:
        for parameter, grad in zip(parameters, before, strict=True):
            parameter.grad = grad


def loss_gradient(model, example) -> list:
    """Return ∇ℓ of an Example, one array for each parameter that is not frozen, in the order of model.parameters()."""
    with gradients_apart(model) as trained:
        _, backward = model.loss(example.inputs[None], example.targets[None])
        backward()
        return [parameter.grad for parameter in trained]


def inner_product(first, second) -> float:
    """Return the inner product of two gradients, each a list of arrays."""
    return sum(float(np.vdot(a, b)) for a, b in zip(first, second, strict=True))  # (1)


def gradient_length(gradient) -> float:
    """Return the length of a gradient."""
    return math.sqrt(sum(squared_norm(array) for array in gradient))


def influences(checkpoints, answers, examples, passage_done):
    """Return (influence, cosine), each (A, N), of N training Examples on A answers, Examples too.

    checkpoints   an iterable of (model, learning rate), one after the other in memory
    passage_done  called after each passage at each checkpoint

    The influence is in nats, for learning rates of gradient descent. Raises ValueError for a model that is all frozen.
    """
    influence, cosine = np.zeros((2, len(answers), len(examples)))
    total = 0.0
    for model, learning_rate in checkpoints:
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError("every parameter of the model is frozen, so no passage can move it")
        total += learning_rate
        of_answers = [loss_gradient(model, answer) for answer in answers]
        lengths = [gradient_length(gradient) for gradient in of_answers]
        for z, example in enumerate(examples):
            gradient = loss_gradient(model, example)
            length = gradient_length(gradient)
            for a, (of_answer, answer_length) in enumerate(zip(of_answers, lengths, strict=True)):
                product = inner_product(gradient, of_answer)
                influence[a, z] += learning_rate * product  # (2)
                both = length * answer_length
                cosine[a, z] += learning_rate * product / both if both else 0.0  # (3)
            passage_done()
    return influence, cosine / total
