"""The gated delta rule."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import batch_shapes, rngs, sizes
from torch_gradients import torch_gradients

from minitransformer import delta_rule
from minitransformer.layers.modern.delta_rule import delta_step


def drawn(rng, batch=(2,), T=4, D=3, Dv=2):
    """Return q, k, v, beta and gate; beta and gate lie between 0 and 1."""
    vectors = [rng.normal(size=(*batch, T, width)) for width in (D, D, Dv)]
    return [*vectors, *rng.random((2, *batch, T))]


def by_the_formula(q, k, v, beta, gate):
    """Return y of one sequence from S_t = gate_t S_{t−1} (I − beta_t k_t k_tᵀ) + beta_t v_t k_tᵀ."""
    S, y = np.zeros((v.shape[-1], k.shape[-1])), []
    for t in range(len(q)):
        S = gate[t] * S @ (np.eye(len(k[t])) - beta[t] * np.outer(k[t], k[t])) + beta[t] * np.outer(v[t], k[t])
        y.append(S @ q[t])
    return np.stack(y)


@given(rng=rngs, batch=batch_shapes, T=sizes, D=sizes, Dv=sizes)
def test_it_is_the_recurrence_of_the_paper_for_every_sequence(rng, batch, T, D, Dv):
    arrays = drawn(rng, batch, T, D, Dv)
    y, _ = delta_rule(*arrays)
    for place in np.ndindex(batch):
        assert np.allclose(y[place], by_the_formula(*(array[place] for array in arrays)), rtol=1e-9, atol=1e-10)


@given(rng=rngs, at=st.integers(0, 4))
def test_a_later_position_changes_no_earlier_output_and_gets_no_gradient_from_it(rng, at):
    arrays = drawn(rng, T=5)
    y, backward = delta_rule(*arrays)
    changed = [array.copy() for array in arrays]
    for array in changed:
        array[:, at] += 1
    assert np.array_equal(delta_rule(*changed)[0][:, :at], y[:, :at])
    dy = np.zeros_like(y)
    dy[:, :at] = rng.normal(size=dy[:, :at].shape)
    assert not any(gradient[:, at:].any() for gradient in backward(dy))


@given(rng=rngs)
def test_a_unit_key_and_beta_one_return_the_value_and_give_the_old_state_no_gradient_along_the_key(rng):
    S, q, v, dstate, dy = rng.normal(size=(2, 3)), *rng.normal(size=(1, 3)), *rng.normal(size=(1, 2)), None, None
    k = q / np.linalg.norm(q)
    (state, y), backward = delta_step(S, k, k, v, np.array(1.0), np.array(0.7))
    assert np.allclose(y, v) and np.allclose(state @ k, v)
    dstate, dy = rng.normal(size=(2, 3)), rng.normal(size=2)
    dS = backward(dstate, dy)[0]
    assert np.allclose(dS @ k, 0, atol=1e-12) and abs(dS).max() > 1e-6


@given(rng=rngs)
def test_with_gate_zero_a_position_sees_only_itself(rng):
    q, k, v, beta, gate = drawn(rng)
    y, _ = delta_rule(q, k, v, beta, 0 * gate)
    assert np.allclose(y, beta[..., None] * v * (k * q).sum(axis=-1, keepdims=True))


@given(rng=rngs)
def test_orthonormal_keys_without_decay_make_it_linear_attention(rng):
    q, v, beta = rng.normal(size=(3, 4)), rng.normal(size=(3, 2)), rng.random(3)
    k = np.linalg.qr(rng.normal(size=(4, 4)))[0][:3]
    y, _ = delta_rule(q, k, v, beta, np.ones(3))
    assert np.allclose(y, np.tril(q @ k.T) @ (beta[:, None] * v), atol=1e-12)


@given(rng=rngs)
def test_the_opposite_key_and_value_write_the_same(rng):
    q, k, v, beta, gate = drawn(rng)
    y, backward = delta_rule(q, k, v, beta, gate)
    opposite, opposite_backward = delta_rule(q, -k, -v, beta, gate)
    assert np.allclose(opposite, y, atol=1e-13)
    dy = rng.normal(size=y.shape)
    for sign, gradient, other in zip((1, -1, -1, 1, 1), backward(dy), opposite_backward(dy), strict=True):
        assert np.allclose(sign * other, gradient, atol=1e-12)


def test_the_error_before_the_decay_is_another_function_unless_the_gate_is_one(rng):
    S, q, k, v = rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=3), rng.normal(size=2)

    def before_the_decay(gate):
        return gate * S + 0.5 * np.outer(v - S @ k, k)

    for gate, is_same in ((1.0, True), (0.7, False)):
        (state, _), _ = delta_step(S, q, k, v, np.array(0.5), np.array(gate))
        assert np.allclose(state, before_the_decay(gate)) == is_same


def test_a_whole_sequence_is_its_two_halves_with_the_state_passed_on(rng):
    arrays = drawn(rng, T=4)
    S, outputs = np.zeros((2, 2, 3)), []
    for t in range(4):
        (S, y), _ = delta_step(S, *(array[:, t] for array in arrays))
        outputs.append(y)
    assert np.allclose(np.stack(outputs, axis=1), delta_rule(*arrays)[0])


def test_the_recurrence_equals_pytorch(torch, rng):
    arrays = drawn(rng, (2, 3), T=5)
    dy = rng.normal(size=(2, 3, 5, 2))

    def function(q, k, v, beta, gate):
        S, y = torch.zeros(2, 3, 2, 3, dtype=q.dtype), []
        for t in range(5):
            key = k[..., t, :]
            keep = torch.eye(3, dtype=q.dtype) - beta[..., t, None, None] * key[..., :, None] * key[..., None, :]
            S = gate[..., t, None, None] * S @ keep
            S = S + beta[..., t, None, None] * v[..., t, :, None] * key[..., None, :]
            y.append(torch.einsum("abij,abj->abi", S, q[..., t, :]))
        return torch.stack(y, -2)

    y, gradients = torch_gradients(torch, function, arrays, dy)
    found, backward = delta_rule(*arrays)
    assert np.allclose(found, y, rtol=1e-11, atol=1e-13)
    for gradient, expected in zip(backward(dy), gradients, strict=True):
        assert np.allclose(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "k, beta, words",
    [
        ((4, 2), (4,), "q (4, 3) and k (4, 2) must have the same shape"),
        ((4, 3), (3,), "beta must have shape (4,), one entry per position, not (3,)"),
    ],
)
def test_what_does_not_fit_is_refused(k, beta, words):
    with pytest.raises(ValueError) as caught:
        delta_rule(np.ones((4, 3)), np.ones(k), np.ones((4, 2)), np.ones(beta), np.ones(4))
    assert words in str(caught.value)
