"""The gates of a router, the loss that balances it, and a mixture of experts."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import batch_shapes, rngs
from torch_gradients import torch_gradients

from minitransformer import balancing_bias, load_balance, mixture_of_experts, softmax, top_k_gates


def logits(rng, *shape):
    """Return logits without ties: every two of a position differ by at least 0.1."""
    return rng.permuted(np.broadcast_to(np.arange(shape[-1]) / 2, shape), axis=-1) + 0.4 * rng.random(shape)


@given(rng=rngs, batch=batch_shapes, E=st.integers(1, 6), data=st.data())
def test_k_gates_are_positive_those_of_the_largest_logits_and_sum_to_one(rng, batch, E, data):
    k = data.draw(st.integers(1, E))
    x = logits(rng, *batch, E)
    y, _ = top_k_gates(x, k=k)
    assert ((y > 0).sum(axis=-1) == k).all() and np.allclose(y.sum(axis=-1), 1)
    assert np.array_equal(y > 0, x >= np.sort(x, axis=-1)[..., -k, None])


@given(rng=rngs, k=st.integers(1, 4))
def test_gates_are_probabilities_among_all_experts_divided_by_their_sum(rng, k):
    x = logits(rng, 3, 5)
    p = softmax(x)[0] * (top_k_gates(x, k=k)[0] > 0)
    assert np.allclose(top_k_gates(x, k=k)[0], p / p.sum(axis=-1, keepdims=True), rtol=1e-12)


@given(rng=rngs, k=st.integers(2, 4))
def test_only_chosen_logits_have_a_gradient_and_it_sums_to_zero(rng, k):
    x, dy = logits(rng, 3, 5), rng.normal(size=(3, 5))
    y, backward = top_k_gates(x, k=k)
    dx = backward(dy)
    assert np.array_equal(dx != 0, y > 0)
    assert np.allclose(dx.sum(axis=-1), 0, atol=1e-14)


def test_a_softmax_over_one_chosen_expert_has_the_gate_one_and_no_gradient(rng):
    y, backward = top_k_gates(logits(rng, 3, 5), k=1)
    assert set(y.flat) == {0, 1}
    assert not backward(rng.normal(size=(3, 5))).any()


def test_of_equal_logits_those_of_lower_index_are_chosen():
    y, _ = top_k_gates(np.array([[1.0, 2, 2, 2], [0, 0, 0, 0]]), k=2)
    assert np.array_equal(y, [[0, 0.5, 0.5, 0], [0.5, 0.5, 0, 0]])


def test_gates_equal_pytorch(torch, rng):
    x, dy = logits(rng, 2, 3, 5), rng.normal(size=(2, 3, 5))

    def function(x):
        values, places = torch.topk(x, 3, -1)
        return torch.zeros_like(x).scatter(-1, places, torch.softmax(values, -1))

    y, (dx,) = torch_gradients(torch, function, [x], dy)
    assert np.allclose(top_k_gates(x, k=3)[0], y, rtol=1e-12)
    assert np.allclose(top_k_gates(x, k=3)[1](dy), dx, rtol=1e-10, atol=1e-14)


def balance_by_counting(x, k):
    """Return the loss and its gradient by loops over positions and experts."""
    rows, E = x.reshape(-1, x.shape[-1]), x.shape[-1]
    chosen, p = np.zeros(E), []
    for row in rows:
        p.append(np.exp(row) / np.exp(row).sum())
        chosen[sorted(range(E), key=lambda e: (-row[e], e))[:k]] += 1
    f = chosen / (k * len(rows))
    dx = [E * q * (f - f @ q) / len(rows) for q in p]
    return E * f @ np.mean(p, axis=0), np.reshape(dx, x.shape)


@given(rng=rngs, batch=batch_shapes, k=st.integers(1, 4))
def test_the_balance_is_that_of_counting_in_loops(rng, batch, k):
    x = logits(rng, *batch, 5)
    loss, backward = load_balance(x, k=k)
    expected, gradient = balance_by_counting(x, k)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert np.allclose(backward(), gradient, rtol=1e-10, atol=1e-15)
    assert np.allclose(backward(-3.0), -3 * gradient, rtol=1e-10, atol=1e-15)
    assert np.allclose(backward().sum(axis=-1), 0, atol=1e-15)


def test_the_balance_is_one_and_its_gradient_zero_if_all_experts_are_chosen_equally_often(rng):
    x = np.stack([np.roll(np.linspace(2, 0, 5), shift) for shift in range(5)]) + rng.normal(size=(5, 1))
    loss, backward = load_balance(x, k=2)
    assert loss == pytest.approx(1) and np.allclose(backward(), 0, atol=1e-15)


def test_the_balance_is_the_number_of_experts_if_all_choose_one(rng):
    x = rng.normal(size=(7, 5)) + np.array([0, 0, 100, 0, 0])
    assert load_balance(x, k=1)[0] == pytest.approx(5)


def test_steps_against_the_gradient_of_the_balance_spread_the_choices(rng):
    x = rng.normal(size=(200, 5)) + np.array([3, 1, 0, 0, 0])
    before = load_balance(x, k=1)[0]
    for _ in range(300):
        x = x - 20 * load_balance(x, k=1)[1]()
    shares = (top_k_gates(x, k=1)[0] > 0).mean(axis=0)
    assert before > 2.5 and load_balance(x, k=1)[0] < 1.3
    assert shares.min() > 0.05


@given(rng=rngs, k=st.integers(1, 4))
def test_a_bias_changes_the_choice_and_not_the_gates_of_the_chosen(rng, k):
    x, b = rng.normal(size=(3, 5)), rng.normal(size=5)
    y, _ = top_k_gates(x, k=k, balance=b)
    chosen = x + b >= np.sort(x + b, axis=-1)[..., -k, None]
    expected = softmax(np.where(chosen, x, -np.inf))[0]
    assert np.array_equal(y > 0, chosen) and np.allclose(y, expected, rtol=1e-12)


@given(rng=rngs, batch=batch_shapes, k=st.integers(1, 4))
def test_the_gradient_of_the_bias_is_the_error_of_the_shares_and_its_loss_convex(rng, batch, k):
    x, b, other = logits(rng, *batch, 5), *rng.normal(size=(2, 5))
    loss, backward = balancing_bias(b, logits=x, k=k)
    shares = (top_k_gates(x, k=k, balance=b)[0] > 0).reshape(-1, 5).mean(axis=0) / k
    assert np.allclose(backward(2.0), 2 * (shares - 1 / 5), atol=1e-15)
    assert balancing_bias(other, logits=x, k=k)[0] >= loss + backward() @ (other - b) - 1e-12  # above its tangent


def test_steps_against_the_sign_of_the_gradient_equalize_the_shares(rng):
    x, b = rng.normal(size=(500, 5)) + np.array([3, 1, 0, 0, -1]), np.zeros(5)
    assert np.abs(balancing_bias(b, logits=x, k=2)[1]()).max() > 0.1
    for _ in range(600):
        b = b - 0.01 * np.sign(balancing_bias(b, logits=x, k=2)[1]())
    assert np.abs(balancing_bias(b, logits=x, k=2)[1]()).max() < 0.02


def experts(rng, batch=(2, 3), C=4, E=5, F=3):
    shapes = [(*batch, C), (C, E), (E, C, F), (E, C, F), (E, F, C)]
    return [rng.normal(size=shape) for shape in shapes]


def mixture_by_loops(x, router, w_gate, w_up, w_down, k):
    """Return the mixture of one position at a time, in which only the chosen experts are computed."""
    y = np.zeros_like(x)
    for place in np.ndindex(x.shape[:-1]):
        row = x[place]
        scores = row @ router
        chosen = np.argsort(-scores)[:k]
        gates = np.exp(scores[chosen]) / np.exp(scores[chosen]).sum()
        for gate, e in zip(gates, chosen, strict=True):
            g = row @ w_gate[e]
            y[place] += gate * (g / (1 + np.exp(-g)) * (row @ w_up[e])) @ w_down[e]
    return y


@given(rng=rngs, batch=batch_shapes, k=st.integers(1, 5))
def test_a_mixture_is_that_of_the_chosen_experts_alone(rng, batch, k):
    arrays = experts(rng, batch)
    assert np.allclose(mixture_of_experts(*arrays, k=k)[0], mixture_by_loops(*arrays, k), rtol=1e-9, atol=1e-12)


def test_an_expert_that_no_position_chose_has_no_gradient_and_the_others_have_one(rng):
    x, router, *weights = experts(rng, (3,))
    _, backward = mixture_of_experts(x, router, *weights, k=2)
    _, drouter, *dweights = backward(rng.normal(size=x.shape))
    used = (top_k_gates(x @ router, k=2)[0] > 0).any(axis=0)
    assert not used.all()
    for gradient in dweights:
        assert np.array_equal((gradient != 0).any(axis=(1, 2)), used)
    assert np.array_equal((drouter != 0).any(axis=0), used)


def test_with_one_choice_the_router_has_no_gradient(rng):
    arrays = experts(rng)
    _, backward = mixture_of_experts(*arrays, k=1)
    dx, drouter, *_ = backward(rng.normal(size=arrays[0].shape))
    assert np.allclose(drouter, 0, atol=1e-15) and abs(dx).max() > 0.01


def test_experts_that_are_alike_make_the_router_irrelevant(rng):
    x, router, *weights = experts(rng)
    alike = [np.broadcast_to(weight[:1], weight.shape) for weight in weights]
    y, backward = mixture_of_experts(x, router, *alike, k=2)
    assert np.allclose(mixture_of_experts(x, 0 * router, *alike, k=3)[0], y, rtol=1e-12)
    assert np.allclose(backward(rng.normal(size=x.shape))[1], 0, atol=1e-12)


def test_a_mixture_equals_pytorch(torch, rng):
    arrays = experts(rng)
    dy = rng.normal(size=arrays[0].shape)

    def function(x, router, w_gate, w_up, w_down):
        values, places = torch.topk(x @ router, 2, -1)
        gates = torch.zeros(*x.shape[:-1], 5, dtype=x.dtype).scatter(-1, places, torch.softmax(values, -1))
        g, u = (torch.einsum("btc,ecf->btef", x, w) for w in (w_gate, w_up))
        return torch.einsum("bte,btef,efc->btc", gates, torch.nn.functional.silu(g) * u, w_down)

    y, gradients = torch_gradients(torch, function, arrays, dy)
    found, backward = mixture_of_experts(*arrays, k=2)
    assert np.allclose(found, y, rtol=1e-11, atol=1e-12)
    for gradient, expected in zip(backward(dy), gradients, strict=True):
        assert np.allclose(gradient, expected, rtol=1e-9, atol=1e-11)


REFUSED = [
    (
        "balancing_bias: balance (4,) must have one entry for each of the experts of logits (2, 5)",
        lambda: balancing_bias(np.ones(4), logits=np.ones((2, 5)), k=1),
    ),
    ("top_k_gates: k must be at most 5, not 6", lambda: top_k_gates(np.ones(5), k=6)),
    ("top_k_gates: x () must be (..., experts)", lambda: top_k_gates(np.ones(()), k=1)),
    ("load_balance: k must be at least 1, not 0", lambda: load_balance(np.ones(5), k=0)),
    (
        "router (3, 5) must have a row for each channel of x (2, 4)",
        lambda: mixture_of_experts(np.ones((2, 4)), np.ones((3, 5)), *[np.ones((5, 3, 2))] * 3, k=1),
    ),
    (
        "w_down must have shape (5, 2, 4), not (5, 4, 2)",
        lambda: mixture_of_experts(np.ones((2, 4)), np.ones((4, 5)), *[np.ones((5, 4, 2))] * 3, k=1),
    ),
]


@pytest.mark.parametrize("words, call", REFUSED, ids=[words for words, _ in REFUSED])
def test_what_does_not_fit_is_refused(words, call):
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)
