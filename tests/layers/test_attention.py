"""Scaled dot-product attention."""

import math

import numpy as np
import pytest
from attention_calls import calls
from hypothesis import given, strategies as st
from strategies import sizes

from minitransformer import attention, causal_mask, fast, softmax


def by_loops(q, k, v, mask, scale):
    """Attention, head by head and query by query."""
    H, Tq, Tk = q.shape[-3], q.shape[-2], k.shape[-2]
    group = H // k.shape[-3]
    mask = np.broadcast_to(True if mask is None else mask, (*q.shape[:-1], Tk))
    y = np.zeros((*q.shape[:-1], v.shape[-1]))
    for i in np.ndindex(*q.shape[:-3], H, Tq):
        *batch, h, _ = i
        keys, values = k[*batch, h // group], v[*batch, h // group]
        exps = [math.exp(scale * (q[i] @ keys[j])) if mask[*i, j] else 0.0 for j in range(Tk)]
        y[i] = sum(e * value for e, value in zip(exps, values, strict=True)) / (sum(exps) or 1)
    return y


@given(calls(), st.sampled_from([None, 0.3]))
def test_it_equals_a_loop_over_heads_and_queries(call, scale):
    _, q, k, v, mask = call
    expected = by_loops(q, k, v, mask, 1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    assert np.allclose(attention(q, k, v, mask=mask, scale=scale)[0], expected, rtol=1e-10)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("masking", ["none", "causal", "random"])
@pytest.mark.parametrize("scale", [None, 0.4])
def test_it_equals_pytorch(rng, torch, kv_heads, masking, scale):
    arrays = (rng.normal(size=(2, heads, T, 6)) for heads, T in [(4, 3), (kv_heads, 5), (kv_heads, 5)])
    q, k, v = tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    random = rng.random((2, 4, 3, 5)) < 0.6
    random[..., 0] = True
    mask = {"none": None, "causal": causal_mask(3, 5), "random": random}[masking]
    expected = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, None if mask is None else torch.tensor(mask), scale=scale, enable_gqa=True
    )
    y, backward = attention(*(tensor.detach().numpy() for tensor in tensors), mask=mask, scale=scale)
    dy = rng.normal(size=y.shape)
    expected.backward(torch.tensor(dy))
    assert np.allclose(y, expected.detach().numpy(), rtol=1e-11)
    for ours, tensor in zip(backward(dy), tensors, strict=True):
        assert np.allclose(ours, tensor.grad.numpy(), rtol=1e-10, atol=1e-13)


@given(calls())
def test_grouped_heads_equal_repeated_keys_and_values(call):
    rng, q, k, v, mask = call
    group, batch = q.shape[-3] // k.shape[-3], q.shape[:-3]
    y, backward = attention(q, k, v, mask=mask)
    repeated, repeated_backward = attention(q, k.repeat(group, axis=-3), v.repeat(group, axis=-3), mask=mask)
    assert np.allclose(y, repeated)
    dy = rng.normal(size=y.shape)
    (dq, dk, dv), (dq_repeated, dk_repeated, dv_repeated) = backward(dy), repeated_backward(dy)
    assert np.allclose(dq, dq_repeated)
    assert np.allclose(dk, dk_repeated.reshape(*batch, -1, group, *k.shape[-2:]).sum(axis=-3))
    assert np.allclose(dv, dv_repeated.reshape(*batch, -1, group, *v.shape[-2:]).sum(axis=-3))


@given(calls())
def test_it_permutes_with_its_keys_and_with_its_queries(call):
    rng, q, k, v, mask = call
    mask = np.broadcast_to(True if mask is None else mask, (*q.shape[:-1], k.shape[-2]))
    y = attention(q, k, v, mask=mask)[0]
    keys, queries = rng.permutation(k.shape[-2]), rng.permutation(q.shape[-2])
    permuted_keys = attention(q, k[..., keys, :], v[..., keys, :], mask=mask[..., keys])[0]
    permuted_queries = attention(q[..., queries, :], k, v, mask=mask[..., queries, :])[0]
    assert np.allclose(permuted_keys, y)
    assert np.allclose(permuted_queries, y[..., queries, :])


@given(calls())
def test_a_bias_on_every_key_changes_nothing_and_has_gradient_zero(call):
    rng, q, k, v, mask = call
    y, backward = attention(q, k, v, mask=mask)
    assert np.allclose(attention(q, k + rng.normal(size=k.shape[-1]), v, mask=mask)[0], y)
    dk = backward(rng.normal(size=y.shape))[1]
    assert np.allclose(dk.sum(axis=-2), 0, atol=1e-12)


@given(calls())
def test_a_key_that_no_query_may_see_has_no_influence_and_no_gradient(call):
    rng, q, k, v, _ = call
    mask = np.ones((q.shape[-2], k.shape[-2]), bool)
    mask[:, -1] = False
    y, backward = attention(q, k, v, mask=mask)
    k2, v2 = k.copy(), v.copy()
    k2[..., -1, :] += 1e3
    v2[..., -1, :] += 1e3
    assert np.array_equal(attention(q, k2, v2, mask=mask)[0], y)
    _, dk, dv = backward(rng.normal(size=y.shape))
    assert not dk[..., -1, :].any() and not dv[..., -1, :].any()


def test_a_row_that_may_attend_to_nothing_gives_zeros_and_no_gradient(rng):
    q, k, v = rng.normal(size=(3, 2, 2, 4, 5))
    mask = np.ones((2, 2, 4, 4), bool)
    mask[1, 0, 2] = False
    y, backward = attention(q, k, v, mask=mask)
    dq, dk, dv = backward(rng.normal(size=y.shape))
    assert not y[1, 0, 2].any() and not dq[1, 0, 2].any()
    assert y[1, 0, 1].all() and dq[1, 0, 1].all()
    assert all(np.isfinite(array).all() for array in (y, dq, dk, dv))
    y, backward = attention(q, k, v, mask=np.zeros((4, 4), bool))
    assert not any(array.any() for array in (y, *backward(rng.normal(size=y.shape))))


@pytest.mark.parametrize("size", [1e4, 1e-4])
def test_extreme_inputs_stay_finite_in_float32(rng, size):
    q, k, v = (size * rng.normal(size=(3, 2, 4, 5))).astype(np.float32)
    y, backward = attention(q, k, v, mask=causal_mask(4, 4))
    assert all(np.isfinite(array).all() for array in (y, *backward(y)))
    if size > 1:  # each query then follows one key alone
        scores = np.where(causal_mask(4, 4), q @ k.swapaxes(-1, -2), -np.inf)
        assert np.array_equal(y, np.take_along_axis(v, scores.argmax(axis=-1)[..., None], axis=-2))


@given(sizes, sizes)
def test_the_view_of_the_causal_mask_is_the_causal_mask(Tq, Tk):
    np.testing.assert_array_equal(fast.causal_mask(Tq, Tk), causal_mask(Tq, Tk))
    assert not fast.causal_mask(Tq, Tk).flags.writeable


def test_the_causal_mask_lets_the_last_queries_see_the_keys_up_to_their_own():
    for Tq, Tk in [(1, 1), (4, 4), (2, 5), (1, 6)]:
        mask = causal_mask(Tq, Tk)
        assert mask.shape == (Tq, Tk) and mask.dtype == bool
        for i in range(Tq):
            for j in range(Tk):
                assert mask[i, j] == (j <= Tk - Tq + i)


@given(calls())
def test_on_weights_sees_the_weights_and_what_it_returns_is_used(call):
    rng, q, k, v, mask = call
    group, scale = q.shape[-3] // k.shape[-3], 1 / math.sqrt(q.shape[-1])
    keys, values = k.repeat(group, axis=-3), v.repeat(group, axis=-3)
    scores = scale * np.einsum("...hqd,...hkd->...hqk", q, keys)
    true_weights = softmax(np.where(True if mask is None else mask, scores, -np.inf))[0]
    factor = rng.normal(size=true_weights.shape)
    seen = []

    def on_weights(weights):
        def backward(dweights):
            seen.append(dweights)
            return dweights * factor

        seen.append(weights)
        return weights * factor, backward

    y, backward = attention(q, k, v, mask=mask, on_weights=on_weights)
    assert np.allclose(seen[0], true_weights)
    assert np.allclose(y, np.einsum("...hqk,...hkc->...hqc", true_weights * factor, values))
    dy = rng.normal(size=y.shape)
    dq, dk, dv = backward(dy)
    assert np.allclose(seen[1], np.einsum("...hqc,...hkc->...hqk", dy, values))
    dweights = seen[1] * factor
    dscores = true_weights * (dweights - (dweights * true_weights).sum(axis=-1, keepdims=True))
    assert np.allclose(dq, scale * np.einsum("...hqk,...hkd->...hqd", dscores, keys))
    if group == 1:
        assert np.allclose(dk, scale * np.einsum("...hqk,...hqd->...hkd", dscores, q))
        assert np.allclose(dv, np.einsum("...hqk,...hqc->...hkc", true_weights * factor, dy))


@pytest.mark.parametrize(
    "q, k, v, words",
    [
        ((3, 4), (3, 4), (3, 4), r"q \(3, 4\), .* must be \(..., heads, positions, channels\)"),
        ((2, 3, 4), (2, 5, 6), (2, 5, 4), "q and k must have the same channels"),
        ((2, 3, 4), (2, 5, 4), (2, 6, 4), "k and v the same heads and positions"),
        ((2, 3, 4), (2, 5, 4), (1, 5, 4), "k and v the same heads and positions"),
        ((7, 2, 3, 4), (6, 2, 5, 4), (6, 2, 5, 4), "all three the same leading axes"),
        ((3, 3, 4), (2, 5, 4), (2, 5, 4), "the query heads must be a multiple of the 2 key-value heads, not 3"),
        ((0, 3, 4), (2, 5, 4), (2, 5, 4), r"at least one head each, not shapes \(0, 3, 4\)"),
        ((2, 3, 4), (0, 5, 4), (0, 5, 4), r"at least one head each, not shapes .* \(0, 5, 4\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(q, k, v, words):
    with pytest.raises(ValueError, match=words):
        attention(np.ones(q), np.ones(k), np.ones(v))


def test_a_mask_that_does_not_fit_or_is_not_boolean_is_named(rng):
    q, k, v = rng.normal(size=(3, 2, 3, 4))
    with pytest.raises(
        ValueError,
        match=r"attention: the mask must broadcast to the scores' shape \(2, 3, 3\), not have shape \(3, 4\)",
    ):
        attention(q, k, v, mask=np.ones((3, 4), bool))
    with pytest.raises(TypeError, match=r"the mask must be boolean \(True = may attend\), not float64"):
        attention(q, k, v, mask=np.zeros((3, 3)))
    with pytest.raises(TypeError, match=r"the mask must be boolean .* not list"):
        attention(q, k, v, mask=[[True]])
    with pytest.raises(ValueError, match=r"k must have at least one position, not shape \(2, 0, 4\)"):
        attention(q, k[:, :0], v[:, :0])


@pytest.mark.parametrize("D", [4, 64, 256])
def test_the_scale_keeps_scores_of_unit_variance_at_unit_variance_whatever_the_width(D):
    q, k = np.random.default_rng(0).normal(size=(2, 400, D))
    assert np.var(q @ k.T / math.sqrt(D)) == pytest.approx(1, rel=0.05)
    seen = []

    def record(weights):
        seen.append(weights)
        return weights, lambda dweights: dweights

    attention(q[None], k[None], k[None], on_weights=record)
    assert np.allclose(seen[0][0], softmax(q @ k.T / math.sqrt(D))[0], rtol=1e-12, atol=0)
