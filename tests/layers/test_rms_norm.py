"""Root-mean-square normalization."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import batch_shapes, rngs, sizes

from minitransformer import RMSNorm, rms_norm


def test_it_equals_a_loop_over_positions(rng):
    x, gamma = rng.normal(size=(3, 4, 6)), rng.normal(size=6)
    y = rms_norm(x, gamma, eps=0.01)[0]
    for i in range(3):
        for j in range(4):
            mean_square = sum(entry**2 for entry in x[i, j]) / 6
            assert np.allclose(y[i, j], gamma * x[i, j] / (mean_square + 0.01) ** 0.5, rtol=1e-12)


@given(rngs, batch_shapes, sizes)
def test_without_a_gain_the_mean_square_is_one_but_for_eps(rng, batch, C):
    x = rng.normal(3, 5, size=(*batch, C))
    y = rms_norm(x, np.ones(C), eps=0.01)[0]
    mean_square = (x * x).mean(axis=-1)
    assert np.allclose((y * y).mean(axis=-1), mean_square / (mean_square + 0.01))


@given(rngs, st.integers(2, 9), st.floats(0.01, 100))
def test_it_ignores_scale_as_eps_vanishes_and_its_gradient_is_orthogonal_to_x(rng, C, scale):
    x, dy, gamma = rng.normal(size=(3, C))
    y, backward = rms_norm(x, gamma, eps=0)
    assert np.allclose(rms_norm(x * scale, gamma, eps=0)[0], y)
    assert backward(dy)[0] @ x == pytest.approx(0, abs=1e-11 * abs(dy).max())


def test_it_does_not_ignore_a_shift_and_its_gradient_does_not_sum_to_zero(rng):
    x, dy, gamma = rng.normal(size=(3, 6))
    y, backward = rms_norm(x, gamma)
    assert not np.allclose(rms_norm(x + 1, gamma)[0], y, atol=0.01)
    assert abs(backward(dy)[0].sum()) > 0.01


@pytest.mark.parametrize("x", [np.zeros(8), np.full(8, 1e4), np.tile([1e4, -1e4], 4), np.full(8, 1e-30)])
def test_extreme_rows_stay_finite_in_float32(x):
    y, backward = rms_norm(x.astype(np.float32), np.ones(8, np.float32))
    assert np.isfinite(y).all() and abs(y).max() < 1.01
    assert all(np.isfinite(gradient).all() for gradient in backward(np.arange(8, dtype=np.float32)))


def test_the_module_begins_with_gain_one_and_uses_its_eps(rng):
    layer, x = RMSNorm(6, eps=0.5, dtype=np.float64), rng.normal(size=(2, 6))
    assert layer.gamma.data.tolist() == [1] * 6 and len(layer.parameters()) == 1
    assert np.array_equal(layer(x)[0], rms_norm(x, np.ones(6), eps=0.5)[0])


@pytest.mark.parametrize("x, gamma", [((2, 5), 3), ((2, 3), 1), ((), 3)])
def test_shapes_that_do_not_fit_are_named(x, gamma):
    with pytest.raises(ValueError, match=rf"rms_norm: gamma \({gamma},\) must have one entry per feature of x"):
        rms_norm(np.ones(x), np.ones(gamma))
