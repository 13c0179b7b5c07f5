"""What is done in a clever way for speed gives what the plain way gives."""

from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from strategies import rngs

from minitransformer import optim
from minitransformer.layers import elementwise as elementwise_module
from minitransformer.layers.activations import fast_normal, gelu, normal, silu
from minitransformer.layers.elementwise import elementwise
from minitransformer.layers.feed_forward import swiglu
from minitransformer.layers.softmax import exponentials, finite_max
from minitransformer.layers.sums import feature_mean, feature_sum, position_sum
from minitransformer.optim import blocks_of_rows, update_part


@pytest.mark.parametrize("scale", [1e-30, 1.0, 3.0, 100.0, 1e10, 1e30])
@pytest.mark.parametrize("size", [1, 70_000])
def test_the_fast_normal_distribution_is_the_exact_one_to_float32(rng, scale, size):
    x = (scale * rng.normal(size=size)).astype(np.float32)
    for fast, plain in zip(fast_normal(x), normal(x.astype(np.float64)), strict=True):
        assert fast.dtype == np.float32 and fast.shape == x.shape
        np.testing.assert_allclose(fast, plain, rtol=0, atol=2e-7)


@pytest.fixture(
    params=[(1, 0), (5, 0), (5, 1000), (16, 0), (1000, 0)], ids="blocks of {0[0]}, threads from {0[1]}".format
)
def in_small_blocks(monkeypatch, request):
    block, enough_for_threads = request.param
    monkeypatch.setattr(elementwise_module, "ENOUGH_FOR_BLOCKS", 0)
    monkeypatch.setattr(elementwise_module, "ENOUGH_FOR_THREADS", enough_for_threads)
    monkeypatch.setattr(elementwise_module, "BLOCK", block)


@given(rngs, array_shapes(min_dims=1, max_dims=3, max_side=6), st.sampled_from([np.float32, np.float64, np.complex128]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_entries_in_blocks_are_those_of_the_whole_to_the_bit(in_small_blocks, rng, shape, dtype):
    x, other = rng.normal(size=(2, *shape)).astype(dtype)
    other = np.asfortranarray(other)

    def several(x, other):
        return x * other, (x.real > 0)

    for found, expected in zip(elementwise(several, x, other), several(x, other), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    np.testing.assert_array_equal(elementwise(np.square, x), x * x)


def with_swiglu(x):
    """Return swiglu of x and its reverse, and a backward that gives both gradients in one array."""
    y, backward = swiglu(x, x[::-1])
    return y, lambda dy: np.stack(backward(dy))


POINTWISE = [silu, gelu, partial(gelu, approximate="tanh"), with_swiglu]


@given(rngs, st.sampled_from(POINTWISE), st.sampled_from([np.float32, float]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_activations_in_blocks_are_those_of_the_whole(in_small_blocks, rng, function, dtype):
    x, dy = rng.normal(size=(2, 3, 9)).astype(dtype)
    y, backward = function(x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elementwise_module, "ENOUGH_FOR_BLOCKS", x.size + 1)
        plain, plain_backward = function(x)
        plain_dx = plain_backward(dy)
    np.testing.assert_allclose(y, plain, rtol=1e-6 if dtype == np.float32 else 1e-14)
    np.testing.assert_allclose(backward(dy), plain_dx, rtol=1e-5 if dtype == np.float32 else 1e-13)


@given(rngs, array_shapes(min_dims=1, max_dims=4, max_side=6))
def test_sums_as_products_are_the_sums(rng, shape):
    x = rng.normal(size=shape)
    np.testing.assert_allclose(feature_sum(x), x.sum(axis=-1, keepdims=True), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(feature_mean(x), x.mean(axis=-1, keepdims=True), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(position_sum(x), x.reshape(-1, shape[-1]).sum(axis=0), rtol=1e-12, atol=1e-12)


@given(rngs, st.sampled_from([1.0, 40.0, 59.0, 61.0, 1000.0, -59.0, -80.0, -1e4]), st.booleans())
def test_exponentials_without_the_row_maximum_have_the_same_ratios_as_with_it(rng, offset, empty_row):
    x = rng.normal(size=(3, 4)) + offset * rng.integers(0, 2, size=(3, 1))  # rows far apart
    if empty_row:
        x[1] = -np.inf
    e, total = exponentials(x, -1)
    plain = np.exp(x - finite_max(x, -1))
    plain_total = plain.sum(axis=-1, keepdims=True)
    plain_total[plain_total == 0] = 1
    np.testing.assert_allclose(e / total, plain / plain_total, rtol=1e-12, atol=0)


@given(rngs, array_shapes(min_dims=0, max_dims=3, max_side=9), st.sampled_from([1, 5, 16, 1000]), st.booleans())
def test_a_step_of_adamw_in_blocks_is_the_step_of_the_whole_to_the_bit(rng, shape, block, transposed):
    theta, g, m, v = (np.asarray(rng.random(shape)).astype(np.float32) for _ in range(4))
    if transposed:
        theta, g = (np.asarray(array.T.copy()).T for array in (theta, g))
    group = {"lr": 0.1, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.3}
    whole = [array.copy() for array in (theta, m, v)]
    update_part(whole[0][np.newaxis], g[np.newaxis], whole[1][np.newaxis], whole[2][np.newaxis], 3, group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optim, "BLOCK", block)
        for part in blocks_of_rows(shape):
            update_part(theta[part], g[part], m[part], v[part], 3, group)
    for in_blocks, expected in zip((theta, m, v), whole, strict=True):
        np.testing.assert_array_equal(in_blocks, expected)
