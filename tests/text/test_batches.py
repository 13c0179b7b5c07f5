"""Every function and module equals a loop over its items, for any leading batch dimensions."""

import numpy as np
import pytest
from hypothesis import given
from strategies import batch_shapes, randomized, rngs

import minitransformer as mt
from minitransformer import Config, Parameter, Transformer, apply
from minitransformer.layers.positions import Rotary

T, C, F, V = 3, 4, 6, 5


class Draw:
    """Draws the inputs of one batch, with the batch dimensions in front, and the parameters that its items share."""

    def __init__(self, rng, batch):
        self.rng, self.batch, self.parameters = rng, batch, []

    def normal(self, *shape):
        return self.rng.normal(size=(*self.batch, *shape))

    def ids(self):
        return self.rng.integers(0, V, size=(*self.batch, T))

    def mask(self, *shape):
        return self.rng.random((*self.batch, *shape)) < 0.6

    def function(self, function, *parameter_shapes, **options):
        """A function of x alone: its further arguments are parameters."""
        parameters = [Parameter(self.rng.normal(size=shape)) for shape in parameter_shapes]
        self.parameters += parameters
        return lambda x: apply(function, x, *parameters, **options)

    def module(self, module, **options):
        self.parameters += randomized(module, self.rng).parameters()
        return lambda x: module(x, **options)


CAUSAL = mt.causal_mask(T, T)
WEIGHT = np.arange(1.0, V + 1)
LLAMA = {"norm": "rms_norm", "positions": "rotary", "feed_forward": "swiglu", "n_kv_heads": 1, "tie_embeddings": False}

# For each: a function of the inputs that returns (y, backward), and those inputs.
BATCHED = {
    "linear": lambda d: (d.function(mt.linear, (C, F), F), d.normal(T, C)),
    "embedding": lambda d: (d.function(mt.embedding, (V, C)), d.ids()),
    "unembedding": lambda d: (d.function(mt.unembedding, (V, C)), d.normal(T, C)),
    "layer_norm": lambda d: (d.function(mt.layer_norm, C, C), d.normal(T, C)),
    "rms_norm": lambda d: (d.function(mt.rms_norm, C), d.normal(T, C)),
    "softmax": lambda d: (d.function(mt.softmax, axis=-2), d.normal(T, C)),
    "log_softmax": lambda d: (d.function(mt.log_softmax), d.normal(T, C)),
    "relu": lambda d: (d.function(mt.relu), d.normal(C)),
    "silu": lambda d: (d.function(mt.silu), d.normal(C)),
    "gelu": lambda d: (d.function(mt.gelu), d.normal(C)),
    "gelu, tanh": lambda d: (d.function(mt.gelu, approximate="tanh"), d.normal(C)),
    "rotary": lambda d: (d.function(mt.rotary, positions=np.arange(T)), d.normal(2, T, C)),
    "dropout": lambda d: (lambda x, keep: mt.dropout(x, keep=keep, p=0.4), d.normal(T, C), d.mask(T, C)),
    "attention": lambda d: (mt.attention, d.normal(4, T, C), d.normal(2, F, C), d.normal(2, F, 3)),
    "attention, masked": lambda d: (
        lambda q, k, v, mask: mt.attention(q, k, v, mask=mask),
        *(d.normal(4, T, C), d.normal(2, F, C), d.normal(2, F, 3), d.mask(4, T, F)),
    ),
    "cross_entropy": lambda d: (
        lambda x, targets: mt.cross_entropy(x, targets, weight=WEIGHT, label_smoothing=0.1, reduction="none"),
        *(d.normal(T, V), d.ids()),
    ),
    "MultiHeadAttention": lambda d: (d.module(mt.MultiHeadAttention(C, 2), mask=CAUSAL), d.normal(T, C)),
    "MultiHeadAttention, rotary": lambda d: (d.module(mt.MultiHeadAttention(C, 2, rotary=Rotary())), d.normal(T, C)),
    "FeedForward": lambda d: (d.module(mt.FeedForward(C, F)), d.normal(T, C)),
    "GatedFeedForward": lambda d: (d.module(mt.GatedFeedForward(C, F)), d.normal(T, C)),
    "TransformerBlock": lambda d: (d.module(mt.TransformerBlock(C, 2, F), mask=CAUSAL), d.normal(T, C)),
    "Transformer": lambda d: (d.module(Transformer(Config(V, T, C, 2))), d.ids()),
    "Transformer, sinusoidal": lambda d: (d.module(Transformer(Config(V, T, C, 2, positions="sinusoidal"))), d.ids()),
    "Transformer, Llama-like": lambda d: (d.module(Transformer(Config(V, T, C, 2, **LLAMA))), d.ids()),
}


def as_tuple(gradients):
    if gradients is None:
        return ()
    return gradients if isinstance(gradients, tuple) else (gradients,)


def gradients_of(parameters):
    """The parameters' gradients so far, which are then forgotten."""
    gradients = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return gradients


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", BATCHED)
@given(rng=rngs, batch=batch_shapes)
def test_a_batch_equals_a_loop_over_its_items(name, rng, batch):
    draw = Draw(rng, batch)
    function, *inputs = BATCHED[name](draw)
    y, backward = function(*inputs)
    dy = rng.normal(size=y.shape)
    dinputs = as_tuple(backward(dy))
    dparameters = gradients_of(draw.parameters)
    for i in np.ndindex(batch):
        item_y, item_backward = function(*(value[i] for value in inputs))
        assert np.allclose(y[i], item_y, atol=1e-10)
        item_dinputs = as_tuple(item_backward(dy[i]))
        assert len(dinputs) == len(item_dinputs)
        for dinput, item_dinput in zip(dinputs, item_dinputs, strict=True):
            assert np.allclose(dinput[i], item_dinput, atol=1e-10)
    for dparameter, accumulated in zip(dparameters, gradients_of(draw.parameters), strict=True):
        assert np.allclose(dparameter, accumulated, atol=1e-9)
