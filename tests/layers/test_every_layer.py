"""What every layer must do, as tables: refuse what does not fit, stay finite, and begin as documented.

The rules of every function with a gradient are tested in test_function_rules.py.
"""

import numpy as np
import pytest

import minitransformer as mt
from minitransformer.layers.feed_forward import FEED_FORWARDS, swiglu
from minitransformer.layers.lora import low_rank
from minitransformer.layers.positions import frequencies


def ones(*shape):
    return np.ones(shape)


IDS, NORM = mt.Embedding(5, 2), "gamma ({},) and beta ({},) must have one entry per feature of x"
REFUSED = [  # words of the message, the call
    (
        "linear: the last axis of x (2, 5) must be 3, the rows of weight (3, 4)",
        lambda: mt.linear(ones(2, 5), ones(3, 4)),
    ),
    ("linear: the last axis of x () must be 3", lambda: mt.linear(ones(), ones(3, 4))),
    ("bias must have shape (4,) for weight (3, 4), not (3,)", lambda: mt.linear(ones(2, 3), ones(3, 4), ones(3))),
    ("bias must have shape (4,) for weight (3, 4), not (2, 4)", lambda: mt.linear(ones(2, 3), ones(3, 4), ones(2, 4))),
    (
        "low_rank: the last axis of x (2, 4) must be 5, the rows of a (5, 3)",
        lambda: low_rank(ones(2, 4), ones(5, 3), ones(3, 4)),
    ),
    ("rows of b (2, 4) must be 3, the columns of a (5, 3)", lambda: low_rank(ones(2, 5), ones(5, 3), ones(2, 4))),
    ("layer_norm: " + NORM.format(3, 3), lambda: mt.layer_norm(ones(2, 5), ones(3), ones(3))),
    ("layer_norm: " + NORM.format(3, 3), lambda: mt.layer_norm(ones(), ones(3), ones(3))),
    ("layer_norm: " + NORM.format(3, 1), lambda: mt.layer_norm(ones(2, 3), ones(3), ones(1))),
    ("layer_norm: " + NORM.format(1, 3), lambda: mt.layer_norm(ones(2, 3), ones(1), ones(3))),
    ("rms_norm: gamma (3,) must have one entry per feature of x", lambda: mt.rms_norm(ones(2, 5), ones(3))),
    ("rms_norm: gamma (3,) must have one entry per feature of x", lambda: mt.rms_norm(ones(), ones(3))),
    ("rms_norm: gamma (1,) must have one entry per feature of x", lambda: mt.rms_norm(ones(2, 3), ones(1))),
    ("ids must be an array of integers, not list", lambda: IDS([0, 1])),
    ("ids must be an array of integers, not int", lambda: IDS(3)),
    ("ids must be an array of integers, not dtype float64", lambda: IDS(np.array([0.0, 1.0]))),
    ("ids must be an array of integers, not dtype bool", lambda: IDS(np.array([True]))),
    ("from 0 to 4, the vocabulary, not -1 (at position (1, 1))", lambda: IDS(np.array([[0, 1], [2, -1]]))),
    ("from 0 to 4, the vocabulary, not 5 (at position (0, 1))", lambda: IDS(np.array([[0, 5], [6, 1]]))),
    (
        "unembedding: the last axis of x (2, 4) must be 3, the columns of weight (5, 3)",
        lambda: mt.Unembedding(mt.Parameter(ones(5, 3)))(ones(2, 4)),
    ),
    ("gelu: approximate must be 'none' or 'tanh', not 'erf'", lambda: mt.gelu(ones(3), approximate="erf")),
    ("relu: x must be floating-point, not list", lambda: mt.relu([1.0, 2.0])),
    ("swiglu: g (3, 4) and u (4,) must have the same shape", lambda: swiglu(ones(3, 4), ones(4))),
    ("unknown activation 'tanh'; choose from gelu, gelu_tanh, relu", lambda: mt.FeedForward(4, 7, "tanh")),
    ("the number of heads must be at least 1, not 0", lambda: mt.MultiHeadAttention(6, 0)),
    ("n_heads must divide the width of 6 unless d_head is given, not be 4", lambda: mt.MultiHeadAttention(6, 4)),
    ("n_kv_heads must divide the 3 query heads, not be 2", lambda: mt.MultiHeadAttention(6, 3, 2)),
    ("n_kv_heads must divide the 2 query heads, not be 4", lambda: mt.MultiHeadAttention(6, 2, 4)),
    ("n_kv_heads must divide the 2 query heads, not be 4", lambda: mt.TransformerBlock(6, 2, 9, n_kv_heads=4)),
    (
        "unknown norm 'batch_norm'; choose from layer_norm, rms_norm",
        lambda: mt.TransformerBlock(6, 2, 9, norm="batch_norm"),
    ),
    (
        "unknown feed_forward 'tanh'; choose from " + ", ".join(FEED_FORWARDS),
        lambda: mt.TransformerBlock(6, 2, 9, feed_forward="tanh"),
    ),
    *(
        (f"the dropout probability must be at least 0 and less than 1, not {p}", call)
        for p in (-0.1, 1, 1.5, float("nan"))
        for call in (lambda p=p: mt.Dropout(p), lambda p=p: mt.dropout(ones(2), keep=ones(2) > 0, p=p))
    ),
    (
        "dropout: keep must be boolean and have x's shape (2,), not bool and (3,)",
        lambda: mt.dropout(ones(2), keep=ones(3) > 0, p=0.5),
    ),
    ("keep must be boolean and have x's shape (2,), not float64", lambda: mt.dropout(ones(2), keep=ones(2), p=0.5)),
    ("sinusoidal positions require an even number of channels, not 5", lambda: mt.sinusoidal_positions(4, 5)),
    ("even number of channels per head, not 5", lambda: mt.rotary(ones(3, 5), positions=np.arange(3))),
    ("x (4,) must be (..., positions, channels)", lambda: mt.rotary(ones(4), positions=np.arange(4))),
    ("positions must have shape (3,) for x", lambda: mt.rotary(ones(3, 4), positions=np.arange(2))),
    ("unknown rotary layout 'llama'", lambda: mt.rotary(ones(3, 4), positions=np.arange(3), layout="llama")),
    (
        "rope_type 'longrope'; choose from linear, llama3, yarn",
        lambda: frequencies(4, scaling={"rope_type": "longrope"}),
    ),
    (
        "rope_scaling of type 'linear' must have the key 'factor'",
        lambda: frequencies(4, scaling={"rope_type": "linear"}),
    ),
]


@pytest.mark.parametrize("words, call", REFUSED, ids=[words for words, _ in REFUSED])
def test_what_does_not_fit_is_refused_with_the_value_found_and_the_values_allowed(words, call):
    with pytest.raises(TypeError if "floating" in words or "integers" in words else ValueError) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("norm", [mt.LayerNorm, mt.RMSNorm])
@pytest.mark.parametrize("row", [np.zeros(8), np.full(8, 1e4), np.tile([1e4, -1e4], 4), np.full(8, 1e-30)])
def test_a_norm_of_an_extreme_row_stays_finite_in_float32(norm, row):
    layer = norm(8)
    y, backward = layer(row.astype(np.float32))
    gradients = [backward(np.arange(8, dtype=np.float32)), *(parameter.grad for parameter in layer.parameters())]
    assert np.isfinite(y).all() and abs(y).max() < 1.01
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("activation", [mt.relu, mt.silu, mt.gelu, lambda x: mt.gelu(x, approximate="tanh")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_activation_of_extreme_numbers_is_that_of_relu(activation, dtype):
    x = np.array([-1e4, -200, -90, 90, 200, 1e4], dtype)
    y, backward = activation(x)
    assert np.allclose(y, np.maximum(x, 0), atol=1e-6)
    assert np.allclose(backward(np.full_like(x, 3)), np.where(x > 0, 3, 0), atol=1e-6)


PARTS, WIDE = (("weight", 0.5), ("bias", "0")), {"std": 0.5, "residual_std": 0.1}
BEGINNINGS = {  # a layer of a generator, and {its parameters in their order: their first deviation, or their value}
    "Linear": (lambda rng: mt.Linear(200, 300, std=0.5, rng=rng), {"weight": 0.5, "bias": "0"}),
    "Linear, no bias": (lambda rng: mt.Linear(200, 300, std=0.5, bias=False, rng=rng), {"weight": 0.5}),
    "Embedding": (lambda rng: mt.Embedding(300, 200, std=0.3, rng=rng), {"weight": 0.3}),
    "LayerNorm": (lambda rng: mt.LayerNorm(6), {"gamma": "1", "beta": "0"}),
    "RMSNorm": (lambda rng: mt.RMSNorm(6), {"gamma": "1"}),
    "Softmax": (lambda rng: mt.Softmax(), {}),
    "FeedForward": (
        lambda rng: mt.FeedForward(100, 120, rng=rng, **WIDE),
        {"up.weight": 0.5, "up.bias": "0", "down.weight": 0.1, "down.bias": "0"},
    ),
    "FeedForward, no bias": (
        lambda rng: mt.FeedForward(100, 120, bias=False, std=0.5, rng=rng),
        {"up.weight": 0.5, "down.weight": 0.5},
    ),
    "GatedFeedForward": (
        lambda rng: mt.GatedFeedForward(100, 120, rng=rng, **WIDE),
        {"gate.weight": 0.5, "up.weight": 0.5, "down.weight": 0.1},
    ),
    "GatedFeedForward, bias": (
        lambda rng: mt.GatedFeedForward(100, 120, bias=True, std=0.5, rng=rng),
        {
            f"{name}.{part}": first
            for name in ("gate", "up", "down")
            for part, first in (("weight", 0.5), ("bias", "0"))
        },
    ),
    "MultiHeadAttention": (
        lambda rng: mt.MultiHeadAttention(100, 5, bias=False, rng=rng, **WIDE),
        {"w_q.weight": 0.5, "w_k.weight": 0.5, "w_v.weight": 0.5, "w_o.weight": 0.1},
    ),
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_a_layer_begins_with_parameters_of_the_deviations_that_were_asked_for(name, rng):
    make, expected = BEGINNINGS[name]
    parameters = dict(make(rng).named_parameters())
    assert list(parameters) == list(expected)
    for path, deviation in expected.items():
        data = parameters[path].data
        assert data.dtype == np.float32
        if isinstance(deviation, str):
            assert (data == float(deviation)).all(), path
        else:
            assert data.std() == pytest.approx(deviation, rel=0.03), path
            assert data.mean() == pytest.approx(0, abs=0.01), path
