"""Softmax and log-softmax."""

import numpy as np
import pytest
import scipy.special
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from strategies import rngs

from minitransformer import Softmax, log_softmax, softmax

arrays = hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=5), elements=st.floats(-200, 200))
both = pytest.mark.parametrize("function", [softmax, log_softmax])


def any_axis(x):
    return st.tuples(st.just(x), st.integers(-x.ndim, x.ndim - 1))


@given(arrays.flatmap(any_axis))
def test_they_equal_scipy_along_any_axis(x_and_axis):
    x, axis = x_and_axis
    assert np.allclose(softmax(x, axis=axis)[0], scipy.special.softmax(x, axis=axis), rtol=1e-12, atol=0)
    assert np.allclose(log_softmax(x, axis=axis)[0], scipy.special.log_softmax(x, axis=axis), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_they_equal_pytorch(rng, torch, name, axis):
    x, dy = rng.normal(size=(2, 3, 4, 5))
    y, backward = {"softmax": softmax, "log_softmax": log_softmax}[name](x, axis=axis)
    tensor = torch.tensor(x, requires_grad=True)
    expected = getattr(torch.nn.functional, name)(tensor, dim=axis)
    expected.backward(torch.tensor(dy))
    assert np.allclose(y, expected.detach().numpy(), rtol=1e-12)
    assert np.allclose(backward(dy), tensor.grad.numpy(), rtol=1e-11, atol=1e-14)


@both
@given(rng=rngs, shift=st.floats(-1e3, 1e3))
def test_a_shift_is_ignored_and_the_gradient_sums_to_zero(function, rng, shift):
    x, dy = rng.normal(size=(2, 3, 5))
    y, backward = function(x)
    assert np.allclose(function(x + shift)[0], y, atol=1e-10)
    assert np.allclose(backward(dy).sum(axis=-1), 0, atol=1e-13)


def test_the_gradient_of_the_sum_of_softmax_is_zero(rng):
    _, backward = softmax(rng.normal(size=(3, 5)))
    assert np.allclose(backward(np.ones((3, 5))), 0, atol=1e-15)
    assert abs(backward(rng.normal(size=(3, 5)))).max() > 0.05


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_numbers_do_not_overflow(dtype):
    x = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [3e38, 0, 0]], dtype)
    dy = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype)
    y, backward = softmax(x)
    assert np.allclose(y, [[1, 0, 0], [1 / 3] * 3, [1, 0, 0]])
    assert np.allclose(backward(dy), [[0, 0, 0], [-1 / 3, 0, 1 / 3], [0, 0, 0]])
    z, backward = log_softmax(x[:2])
    assert np.allclose(z, [[0, -2e4, -1e4], [-np.log(3)] * 3])
    assert np.isfinite(backward(dy[:2])).all()


def test_log_softmax_keeps_digits_where_softmax_underflows():
    x = np.array([0.0, -1000.0])
    assert softmax(x)[0][1] == 0
    assert log_softmax(x)[0][1] == -1000


def test_an_entry_of_minus_infinity_has_weight_zero_and_gradient_zero(rng):
    x = np.array([1.0, -np.inf, 2.0])
    y, backward = softmax(x)
    dx = backward(rng.normal(size=3))
    assert y[1] == 0 and np.allclose(y[[0, 2]], scipy.special.softmax([1.0, 2.0]))
    assert dx[1] == 0 and np.isfinite(dx).all()
    assert log_softmax(x)[0][1] == -np.inf


def test_a_row_of_minus_infinity_gives_zeros_and_a_gradient_of_zeros(rng):
    x = rng.normal(size=(2, 3))
    x[0] = -np.inf
    y, backward = softmax(x)
    dx = backward(rng.normal(size=(2, 3)))
    assert not y[0].any() and not dx[0].any()
    assert y[1].sum() == pytest.approx(1) and dx[1].any()
    assert np.array_equal(log_softmax(x)[0][0], [-np.inf] * 3)


def test_the_module_has_an_axis(rng):
    x = rng.normal(size=(3, 4))
    np.testing.assert_allclose(Softmax(axis=0)(x)[0], softmax(x, axis=0)[0], rtol=1e-13)
