"""Soft capping."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from torch_gradients import torch_gradients

from minitransformer import softcap


@given(x=st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-300), cap=st.floats(1e-3, 1e3))
def test_no_number_exceeds_the_cap_and_its_sign_is_kept(x, cap):
    (y,), backward = softcap(np.array([x]), cap=cap)
    assert abs(y) <= cap and np.sign(y) == np.sign(x)
    assert 0 <= backward(np.ones(1))[0] <= 1


@given(x=st.floats(-5, 5), cap=st.floats(0.1, 10), factor=st.floats(0.1, 10))
def test_x_and_the_cap_in_other_units_give_y_in_these_units_and_the_same_slope(x, cap, factor):
    y, backward = softcap(np.array([x]), cap=cap)
    scaled, scaled_backward = softcap(factor * np.array([x]), cap=factor * cap)
    assert np.allclose(scaled, factor * y, rtol=1e-12)
    assert np.allclose(scaled_backward(np.ones(1)), backward(np.ones(1)), rtol=1e-9)


def test_far_below_the_cap_nothing_changes_and_far_above_it_nothing_moves():
    x = np.array([1e-3, 1e3])
    y, backward = softcap(x, cap=1.0)
    assert np.allclose(y, [1e-3, 1], rtol=1e-6)
    assert np.allclose(backward(np.ones(2)), [1, 0], atol=1e-5)


def test_it_equals_pytorch(torch, rng):
    x, dy = 3 * rng.normal(size=(2, 3, 4))
    y, (dx,) = torch_gradients(torch, lambda x: 1.7 * torch.tanh(x / 1.7), [x], dy)
    assert np.allclose(softcap(x, cap=1.7)[0], y, rtol=1e-14)
    assert np.allclose(softcap(x, cap=1.7)[1](dy), dx, rtol=1e-12)


@pytest.mark.parametrize("cap", [0, -1.0, float("nan")])
def test_a_cap_that_is_not_positive_is_refused(cap):
    with pytest.raises(ValueError, match="softcap: cap must be positive, not"):
        softcap(np.ones(2), cap=cap)
