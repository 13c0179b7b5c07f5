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


def test_the_module_uses_its_eps(rng):
    layer, x = RMSNorm(6, eps=0.5, dtype=np.float64), rng.normal(size=(2, 6))
    assert np.array_equal(layer(x)[0], rms_norm(x, np.ones(6), eps=0.5)[0])
