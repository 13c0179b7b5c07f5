"""The objectives of fine-tuning on pairs: against loops over probabilities, PyTorch, and closed forms at the ends."""

import math

import numpy as np
import pytest
from hypothesis import strategies as st

from minitransformer.training.finetuning.objectives import (
    OBJECTIVES,
    direct_preference,
    sequence_unlikelihood,
    softplus,
    unbounded_difference,
    unlikelihood,
)

B, T, V = 3, 5, 7
seeds = st.integers(0, 2**32 - 1)


def batch(rng):
    """Draw logits (B, T, V) and targets (B, T): a prompt that is ignored, a response, and padding."""
    targets = rng.integers(0, V, (B, T))
    targets[:, 0] = -100
    targets[1, 3:] = -100
    return rng.normal(size=(B, T, V)) * 2, targets


def probabilities(logits, targets):
    rows = []
    for row, wanted in zip(logits, targets, strict=True):
        chances = [math.exp(z[t]) / sum(map(math.exp, z)) for z, t in zip(row, wanted, strict=True) if t != -100]
        rows.append(chances)
    return rows


def pairs(rng):
    return *batch(rng), *batch(rng)


def reference(rng):
    return {"reference_safe": rng.normal(size=B) - 9, "reference_unsafe": rng.normal(size=B) - 9}


def test_each_objective_is_what_its_name_says(rng):
    arguments, options = pairs(rng), reference(rng)
    safe, unsafe = probabilities(*arguments[:2]), probabilities(*arguments[2:])
    log = [math.log(math.prod(s)) for s in safe], [math.log(math.prod(u)) for u in unsafe]
    others = [sum(math.log(1 - p) for p in u) for u in unsafe]
    assert unbounded_difference(*arguments)[0] == pytest.approx(np.mean(log[1]) - np.mean(log[0]), rel=1e-10)
    assert unlikelihood(*arguments)[0] == pytest.approx(-np.mean(log[0]) - np.mean(others), rel=1e-10)
    z = [
        0.3 * ((s - rs) - (u - ru))
        for s, u, rs, ru in zip(*log, options["reference_safe"], options["reference_unsafe"], strict=True)
    ]
    expected = -np.mean([math.log(1 / (1 + math.exp(-x))) for x in z])
    assert direct_preference(*arguments, **options, beta=0.3)[0] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradients_are_those_of_pytorch(rng, torch, name):
    arguments = pairs(rng)
    options = reference(rng) | {"beta": 0.4} if name == "dpo" else {}
    loss, backward = OBJECTIVES[name](*arguments, **options)
    safe_logits, unsafe_logits = (torch.tensor(arguments[i], requires_grad=True) for i in (0, 2))

    def tokens(logits, targets):
        kept = torch.tensor(targets) != -100
        log_p = torch.log_softmax(logits, -1).gather(-1, torch.tensor(targets).clamp(min=0)[..., None])[..., 0]
        return torch.where(kept, log_p, 0), kept

    safe, _ = tokens(safe_logits, arguments[1])
    unsafe, kept = tokens(unsafe_logits, arguments[3])
    if name == "dpo":
        margins = safe.sum(-1) - unsafe.sum(-1) - torch.tensor(options["reference_safe"] - options["reference_unsafe"])
        expected = -torch.nn.functional.logsigmoid(0.4 * margins).mean()
    elif name == "unlikelihood":
        expected = (-safe.sum(-1) - torch.where(kept, torch.log1p(-unsafe.exp()), 0).sum(-1)).mean()
    else:
        expected = (unsafe.sum(-1) - safe.sum(-1)).mean()
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    for mine, theirs in zip(backward(), (safe_logits.grad, unsafe_logits.grad), strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-9, atol=1e-12)


def push(objective, logit, **options):
    """Return the loss, and the gradient of the logit of the unsafe token, where that is all there is to learn.

    One pair of one token each, of a vocabulary of two, in float32; the safe token is certain.
    """
    safe, unsafe = (np.array([[[x, 0.0]]], np.float32) for x in (50.0, logit))
    target = np.zeros((1, 1), int)
    loss, backward = objective(safe, target, unsafe, target, **options)
    return float(loss), float(backward()[1][0, 0, 0])


def test_the_bounded_objectives_stop_at_zero_and_their_push_dies_away():
    at_zero = {"reference_safe": np.zeros(1), "reference_unsafe": np.zeros(1), "beta": 0.1}
    for objective, options in ((unlikelihood, {}), (direct_preference, at_zero)):
        losses, gradients = zip(*(push(objective, -x, **options) for x in (0.0, 10.0, 100.0, 10000.0)), strict=True)
        assert sorted(losses, reverse=True) == list(losses) and losses[-1] == pytest.approx(0, abs=1e-6)
        assert all(gradient >= 0 for gradient in gradients) and gradients[-1] == pytest.approx(0, abs=1e-6)


def test_targets_that_do_not_fit_are_refused(rng):
    logits, targets = batch(rng)
    with pytest.raises(ValueError, match=r"targets must be from 0 to .*, not 7"):
        sequence_unlikelihood(logits, np.full_like(targets, V))
    with pytest.raises(TypeError, match="softplus: x must be floating-point"):
        softplus(np.arange(3))
