"""Squared ReLU."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from torch_gradients import torch_gradients

from minitransformer import relu, relu_squared


def test_it_is_the_square_of_relu_and_its_slope_twice_relu(rng):
    x, dy = rng.normal(size=(2, 3, 4))
    y, backward = relu_squared(x)
    assert np.array_equal(y, relu(x)[0] ** 2)
    assert np.array_equal(backward(dy), 2 * relu(x)[0] * dy)
    assert (backward(dy)[x < 0] == 0).all() and (x < 0).any()


@given(x=st.floats(-1e3, 1e3), scale=st.floats(0, 1e3))
def test_a_positive_factor_of_x_is_squared(x, scale):
    assert relu_squared(np.array([scale * x]))[0] == pytest.approx(scale**2 * relu_squared(np.array([x]))[0])


@pytest.mark.parametrize("h", [1e-3, 1e-6])
def test_both_one_sided_slopes_at_zero_are_zero(h):
    y, backward = relu_squared(np.array([-h, 0.0, h]))
    assert np.allclose(np.diff(y) / h, [0, h])
    assert backward(np.ones(3))[1] == 0


def test_nan_stays_nan():
    assert np.isnan(relu_squared(np.array([np.nan]))[0]).all()


def test_it_equals_pytorch(torch, rng):
    x, dy = rng.normal(size=(2, 3, 4))
    y, (dx,) = torch_gradients(torch, lambda x: torch.relu(x) ** 2, [x], dy)
    assert np.allclose(relu_squared(x)[0], y, rtol=1e-14)
    assert np.allclose(relu_squared(x)[1](dy), dx, rtol=1e-14)
