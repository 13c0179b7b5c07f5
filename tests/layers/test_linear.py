"""Linear."""

import numpy as np
import pytest
from hypothesis import given
from strategies import rngs, sizes

from minitransformer import Linear, linear


@given(rngs, sizes, sizes, sizes)
def test_it_is_a_sum_over_input_features(rng, n, features_in, features_out):
    x, weight, bias = (rng.normal(size=s) for s in [(n, features_in), (features_in, features_out), features_out])
    y, backward = linear(x, weight, bias)
    expected = np.einsum("pi,io->po", x, weight)
    assert np.allclose(linear(x, weight)[0], expected, rtol=1e-12)
    assert np.allclose(y, expected + bias, rtol=1e-12)
    dy = rng.normal(size=y.shape)
    dx, dweight, dbias = backward(dy)
    assert np.allclose(dx, np.einsum("po,io->pi", dy, weight), rtol=1e-12)
    assert np.allclose(dweight, np.einsum("pi,po->io", x, dy), rtol=1e-12)
    assert np.allclose(dbias, np.einsum("po->o", dy), rtol=1e-12)


def test_without_a_bias_there_are_two_gradients(rng):
    y, backward = linear(rng.normal(size=(4, 3)), rng.normal(size=(3, 2)))
    assert [g.shape for g in backward(y)] == [(4, 3), (3, 2)]
    assert Linear(3, 2, bias=False).parameters()[0].data.shape == (3, 2)
    assert len(Linear(3, 2, bias=False).parameters()) == 1


def test_the_weight_has_the_deviation_that_was_asked_for_and_the_bias_is_zero(rng):
    layer = Linear(200, 300, std=0.5, rng=rng)
    assert layer.weight.data.std() == pytest.approx(0.5, rel=0.02)
    assert layer.weight.data.mean() == pytest.approx(0, abs=0.01)
    assert not layer.bias.data.any()
    assert layer.weight.data.dtype == layer.bias.data.dtype == np.float32


@pytest.mark.parametrize(
    "x_shape, bias_shape, words",
    [
        ((2, 5), (4,), r"linear: the last axis of x \(2, 5\) must be 3, the rows of weight \(3, 4\)"),
        ((), (4,), r"linear: the last axis of x \(\) must be 3"),
        ((2, 3), (3,), r"linear: bias must have shape \(4,\) for weight \(3, 4\), not \(3,\)"),
        ((2, 3), (2, 4), r"linear: bias must have shape \(4,\) for weight \(3, 4\), not \(2, 4\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(x_shape, bias_shape, words):
    with pytest.raises(ValueError, match=words):
        linear(np.ones(x_shape), np.ones((3, 4)), np.ones(bias_shape))
