"""ReLU, SiLU and both GELUs."""

from functools import partial

import numpy as np
import pytest
import scipy.special
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from minitransformer import gelu, relu, silu

gelu_tanh = partial(gelu, approximate="tanh")
ACTIVATIONS = {"relu": relu, "silu": silu, "gelu": gelu, "gelu_tanh": gelu_tanh}
each = pytest.mark.parametrize("name", ACTIVATIONS)
numbers = hnp.arrays(np.float64, 7, elements=st.floats(-40, 40))


def slope(function, x):
    return function(x)[1](np.ones_like(x))


@given(numbers)
def test_values_equal_their_definitions(x):
    assert np.array_equal(relu(x)[0], np.maximum(x, 0))
    assert np.allclose(silu(x)[0], x * scipy.special.expit(x), rtol=1e-12, atol=1e-14)
    assert np.allclose(gelu(x)[0], x * scipy.special.ndtr(x), rtol=1e-12, atol=1e-14)
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    assert np.allclose(gelu_tanh(x)[0], 0.5 * x * (1 + np.tanh(inner)), rtol=1e-12, atol=1e-14)


@given(numbers)
def test_slopes_equal_their_closed_forms(x):
    sigma = scipy.special.expit(x)
    assert np.array_equal(slope(relu, x), x > 0)
    assert np.allclose(slope(silu, x), sigma + x * sigma * scipy.special.expit(-x), atol=1e-13)
    assert np.allclose(slope(gelu, x), scipy.special.ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), atol=1e-13)


@each
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_they_equal_pytorch(rng, torch, name, dtype):
    x, dy = (3 * rng.normal(size=500)).astype(dtype), rng.normal(size=500).astype(dtype)
    tensor = torch.tensor(x, requires_grad=True)
    functional = torch.nn.functional
    gelu_form = {"approximate": "tanh"} if name == "gelu_tanh" else {}
    expected = getattr(functional, name.removesuffix("_tanh"))(tensor, **gelu_form)
    expected.backward(torch.tensor(dy))
    y, backward = ACTIVATIONS[name](x)
    tolerance = {np.float64: 1e-12, np.float32: 1e-5}[
        dtype
    ]  # in float32 either's slope of the tanh form is off by 2e-6
    assert y.dtype == dtype
    assert np.allclose(y, expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    assert np.allclose(backward(dy), tensor.grad.numpy(), rtol=tolerance, atol=tolerance)


@each
@given(x=numbers, dy=numbers)
def test_an_activation_less_its_mirror_image_is_x_and_their_slopes_sum_to_one(name, x, dy):
    activation = ACTIVATIONS[name]
    assert np.allclose(activation(x)[0] - activation(-x)[0], x)
    away_from_the_kink = x != 0
    slopes = slope(activation, x) + slope(activation, -x)
    assert np.allclose(slopes[away_from_the_kink], 1)
    assert np.allclose(activation(x)[1](dy), dy * slope(activation, x))


@each
def test_the_slope_at_zero_is_what_everyone_takes(name):
    assert slope(ACTIVATIONS[name], np.zeros(1))[0] == (0 if name == "relu" else 0.5)


def test_relu_of_nan_is_nan_and_its_gradient_passes_there_as_it_does_in_pytorch():
    y, backward = relu(np.array([-1.0, np.nan, 2.0, 0.0, -0.0]))
    assert np.array_equal(y, [0.0, np.nan, 2.0, 0.0, 0.0], equal_nan=True)
    assert np.array_equal(backward(np.array([3.0, 4.0, 5.0, 6.0, 7.0])), [0.0, 4.0, 5.0, 0.0, 0.0])
