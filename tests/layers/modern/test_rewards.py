"""REINFORCE and GRPO."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import rngs
from torch_gradients import torch_gradients

from minitransformer import grpo, reinforce, softmax


def drawn(rng, B=3, T=4):
    """Return logp, and the options of grpo; the first token of a response counts."""
    options = {"advantages": rng.normal(size=B), "mask": np.arange(T) < rng.integers(1, T + 1, (B, 1))}
    logp, old, reference = -rng.random((3, B, T)) * 3
    return logp, options | {"old": old, "reference": reference}


def of_reinforce(options):
    return {name: options[name] for name in ("advantages", "mask")}


@given(rng=rngs)
def test_reinforce_is_a_mean_over_tokens_in_loops(rng):
    logp, options = drawn(rng)
    loss, backward = reinforce(logp, **of_reinforce(options))
    A, mask = options["advantages"], options["mask"]
    terms = [A[b] * logp[b, t] for b, t in np.argwhere(mask)]
    assert loss == pytest.approx(-np.mean(terms))
    assert np.allclose(backward(), mask * -A[:, None] / mask.sum())
    assert np.allclose(backward(2.5), 2.5 * backward())


def test_reinforce_estimates_the_gradient_of_the_expected_reward(rng):
    x, reward = rng.normal(size=5), rng.normal(size=5)
    p, p_backward = softmax(x)
    exact = p_backward(reward)  # of J = Σ p · reward
    # Every response once, with its probability in place of a sample: the expectation itself.
    _, backward = reinforce(np.log(p)[:, None], advantages=reward * p * 5, mask=np.ones((5, 1), bool))
    dlogp = backward()[:, 0]
    estimated = dlogp - p * dlogp.sum()  # through log_softmax
    assert np.allclose(estimated, -exact, rtol=1e-12)
    _, backward = reinforce(np.log(p)[:, None], advantages=(reward - 100) * p * 5, mask=np.ones((5, 1), bool))
    dlogp = backward()[:, 0]
    assert np.allclose(dlogp - p * dlogp.sum(), -exact, rtol=1e-9)  # a baseline changes nothing


def grpo_in_loops(logp, *, old, advantages, reference, mask, clip=0.2, beta=0.04):
    """Return the loss by the cases of a clipped token."""
    losses = []
    for b, t in np.argwhere(mask):
        A, r = advantages[b], np.exp(logp[b, t] - old[b, t])
        if A > 0:
            gain = A * min(r, 1 + clip)
        else:
            gain = A * max(r, 1 - clip)
        difference = reference[b, t] - logp[b, t]
        losses.append(-gain + beta * (np.exp(difference) - difference - 1))
    return np.mean(losses)


@given(rng=rngs, clip=st.floats(0, 0.9), beta=st.floats(0, 2))
def test_grpo_is_the_mean_of_its_cases_in_loops(rng, clip, beta):
    logp, options = drawn(rng)
    loss, _ = grpo(logp, **options, clip=clip, beta=beta)
    assert loss == pytest.approx(grpo_in_loops(logp, **options, clip=clip, beta=beta), rel=1e-10, abs=1e-12)


@given(rng=rngs)
def test_exactly_the_tokens_that_moved_far_in_the_direction_of_their_advantage_have_no_gradient(rng):
    logp, options = drawn(rng)
    dlogp = grpo(logp, **options, beta=0.0)[1]()
    r, A = np.exp(logp - options["old"]), options["advantages"][:, None]
    clipped = ((A > 0) & (r > 1.2)) | ((A < 0) & (r < 0.8))
    assert np.array_equal(dlogp == 0, clipped | ~options["mask"])


@given(rng=rngs)
def test_the_first_step_has_the_gradient_of_reinforce(rng):
    logp, options = drawn(rng)
    dlogp = grpo(logp, **options | {"old": logp, "reference": logp})[1]()
    assert np.allclose(dlogp, reinforce(logp, **of_reinforce(options))[1](), rtol=1e-12)


@given(rng=rngs)
def test_the_divergence_is_positive_and_zero_with_its_gradient_at_the_reference(rng):
    logp, options = drawn(rng)
    options |= {"advantages": np.zeros(3)}
    assert grpo(logp, **options)[0] > 0
    loss, backward = grpo(logp, **options | {"reference": logp})
    assert loss == 0 and not backward().any()


def test_the_estimator_has_the_expectation_of_the_divergence(rng):
    p, reference = (softmax(rng.normal(size=7))[0] for _ in range(2))
    logp = np.log(p)[None]
    options = {"old": logp, "reference": np.log(reference)[None], "mask": p[None]}  # each token with its probability
    loss, _ = grpo(logp, advantages=np.zeros(1), **options, beta=1.0)
    assert loss == pytest.approx((p * np.log(p / reference)).sum())


@pytest.mark.parametrize("function", [reinforce, lambda *a, **o: grpo(*a, **o, old=np.zeros((2, 3)), reference=a[0])])
def test_a_batch_in_which_no_token_counts_has_the_loss_zero(function):
    loss, backward = function(np.ones((2, 3)), advantages=np.ones(2), mask=np.zeros((2, 3), bool))
    assert loss == 0 and not backward().any()


def test_grpo_equals_pytorch(torch, rng):
    logp, options = drawn(rng, B=6, T=5)
    tensors = {name: torch.tensor(value) for name, value in options.items()}

    def function(logp):
        ratio, A = torch.exp(logp - tensors["old"]), tensors["advantages"][:, None]
        gain = torch.minimum(ratio * A, torch.clamp(ratio, 0.8, 1.2) * A)
        difference = tensors["reference"] - logp
        losses = -gain + 0.04 * (torch.exp(difference) - difference - 1)
        return (losses * tensors["mask"]).sum() / tensors["mask"].sum()

    loss, (dlogp,) = torch_gradients(torch, function, [logp])
    found, backward = grpo(logp, **options)
    assert found == pytest.approx(float(loss), rel=1e-12)
    assert np.allclose(backward(), dlogp, rtol=1e-10, atol=1e-14)


ONES, PAIR = np.ones((2, 3)), np.ones(2)
REFUSED = [
    ("advantages (3,) must have B entries", lambda: reinforce(ONES, advantages=np.ones(3), mask=ONES)),
    ("must have logp's shape (2, 3), not (3,)", lambda: reinforce(ONES, advantages=PAIR, mask=np.ones(3))),
    (
        "grpo: clip must be at least 0, not -0.1",
        lambda: grpo(ONES, old=ONES, advantages=PAIR, reference=ONES, mask=ONES, clip=-0.1),
    ),
]


@pytest.mark.parametrize("words, call", REFUSED, ids=[words for words, _ in REFUSED])
def test_what_does_not_fit_is_refused(words, call):
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)
