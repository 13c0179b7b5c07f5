"""Layer normalization."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import batch_shapes, rngs

from minitransformer import LayerNorm, layer_norm

widths = st.integers(2, 9)


def test_it_equals_a_loop_over_positions(rng):
    x, gamma, beta = rng.normal(size=(3, 4, 6)), rng.normal(size=6), rng.normal(size=6)
    y = layer_norm(x, gamma, beta, eps=0.01)[0]
    for i in range(3):
        for j in range(4):
            row = x[i, j]
            mean = sum(row) / 6
            variance = sum((entry - mean) ** 2 for entry in row) / 6
            expected = [(entry - mean) / (variance + 0.01) ** 0.5 for entry in row] * gamma + beta
            assert np.allclose(y[i, j], expected, rtol=1e-12)


@given(rngs, batch_shapes, widths)
def test_without_gain_and_bias_the_mean_is_zero_and_the_variance_one_but_for_eps(rng, batch, C):
    x = rng.normal(3, 5, size=(*batch, C))
    y = layer_norm(x, np.ones(C), np.zeros(C), eps=0.01)[0]
    assert np.allclose(y.mean(axis=-1), 0, atol=1e-10)
    assert np.allclose(y.var(axis=-1), x.var(axis=-1) / (x.var(axis=-1) + 0.01))


@given(rngs, widths, st.floats(-1e3, 1e3))
def test_it_ignores_a_shift_and_its_gradient_is_orthogonal_to_one(rng, C, shift):
    x, dy, gamma, beta = rng.normal(size=(4, C))
    y, backward = layer_norm(x, gamma, beta)
    assert np.allclose(layer_norm(x + shift, gamma, beta)[0], y, atol=1e-6)
    assert backward(dy)[0].sum() == pytest.approx(0, abs=1e-11 * abs(dy).max() / x.std())


@given(rngs, widths, st.floats(0.01, 100))
def test_it_ignores_scale_as_eps_vanishes_and_its_gradient_is_orthogonal_to_x_hat(rng, C, scale):
    x, dy, gamma, beta = rng.normal(size=(4, C))
    y, backward = layer_norm(x, gamma, beta, eps=0)
    assert np.allclose(layer_norm(x * scale, gamma, beta, eps=0)[0], y)
    x_hat = (x - x.mean()) / x.std()
    assert backward(dy)[0] @ x_hat == pytest.approx(0, abs=1e-11 * abs(dy).max() / x.std())


def test_scale_shows_where_eps_does_not_vanish(rng):
    x, gamma, beta = rng.normal(size=(3, 6))
    assert not np.allclose(layer_norm(x, gamma, beta, eps=0.5)[0], layer_norm(2 * x, gamma, beta, eps=0.5)[0])


def test_the_module_uses_its_eps(rng):
    layer, x = LayerNorm(6, eps=0.5, dtype=np.float64), rng.normal(size=(2, 6))
    np.testing.assert_allclose(layer(x)[0], layer_norm(x, np.ones(6), np.zeros(6), eps=0.5)[0], rtol=1e-13)
