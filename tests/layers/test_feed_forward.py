"""The feed-forward layers."""

import numpy as np
import pytest
import scipy.special
from strategies import randomized

from minitransformer import FeedForward, GatedFeedForward, gelu, relu
from minitransformer.layers.feed_forward import swiglu

ACTIVATIONS = {"gelu": gelu, "gelu_tanh": lambda x: gelu(x, approximate="tanh"), "relu": relu}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_the_plain_layer_equals_einsum(rng, activation, bias):
    layer = randomized(FeedForward(4, 7, activation, bias=bias), rng)
    x = rng.normal(size=(2, 3, 4))
    h = np.einsum("btc,cf->btf", x, layer.up.weight.data) + (layer.up.bias.data if bias else 0)
    y = np.einsum("btf,fc->btc", ACTIVATIONS[activation](h)[0], layer.down.weight.data)
    assert np.allclose(layer(x)[0], y + (layer.down.bias.data if bias else 0))
    assert len(layer.parameters()) == (4 if bias else 2)


@pytest.mark.parametrize("bias", [True, False])
def test_the_gated_layer_equals_einsum_and_the_order_of_gate_and_up_matters(rng, bias):
    layer = randomized(GatedFeedForward(4, 7, bias=bias), rng)
    x = rng.normal(size=(2, 3, 4))
    g = np.einsum("btc,cf->btf", x, layer.gate.weight.data) + (layer.gate.bias.data if bias else 0)
    u = np.einsum("btc,cf->btf", x, layer.up.weight.data) + (layer.up.bias.data if bias else 0)
    y = np.einsum("btf,fc->btc", g * scipy.special.expit(g) * u, layer.down.weight.data)
    assert np.allclose(layer(x)[0], y + (layer.down.bias.data if bias else 0))
    layer.gate, layer.up = layer.up, layer.gate
    assert not np.allclose(layer(x)[0], y, atol=1e-3)


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_the_gate_times_the_rest_has_the_gradients_of_a_product(rng, dtype, tolerance):
    g, u, dp = (3 * rng.normal(size=(3, 40, 7))).astype(dtype)
    # In float32, σ is right to 6e-8, and then multiplied by factors of up to 100.
    sigma = scipy.special.expit(g.astype(float))
    slope = sigma + g * sigma * (1 - sigma)
    p, backward = swiglu(g, u)
    for found, expected in zip((p, *backward(dp)), (g * sigma * u, dp * u * slope, dp * g * sigma), strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
