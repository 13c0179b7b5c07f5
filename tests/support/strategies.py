"""Strategies of the property tests: random generators, shapes and configurations."""

import numpy as np
from hypothesis import strategies as st

from minitransformer import Config, Transformer

rngs = st.builds(np.random.default_rng, st.integers(0, 2**32 - 1))
sizes = st.integers(1, 6)
batch_shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)

# The fields of a Config like Llama's.
LLAMA = {"norm": "rms_norm", "feed_forward": "swiglu", "positions": "rotary", "bias": False, "tie_embeddings": False}


@st.composite
def configs(draw, **fields):
    """A small float64 Config of any family: any norm, positions, feed-forward, grouping, width of head, and so on."""
    n_kv_heads, group = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    n_heads = n_kv_heads * group
    d_head = draw(st.sampled_from([2, 4]))
    drawn = {
        "vocab_size": draw(st.integers(2, 9)),
        "context": draw(st.integers(2, 6)),
        "d_model": draw(st.sampled_from([6, 2 * n_heads, 4 * n_heads])),
        "n_heads": n_heads,
        "n_layers": draw(st.integers(1, 2)),
        "d_ff": draw(st.sampled_from([None, 5])),
        "n_kv_heads": n_kv_heads,
        "d_head": d_head,
        "norm": draw(st.sampled_from(["layer_norm", "rms_norm"])),
        "feed_forward": draw(st.sampled_from(["gelu", "gelu_tanh", "relu", "swiglu"])),
        "positions": draw(st.sampled_from(["learned", "sinusoidal", "rotary"])),
        "bias": draw(st.booleans()),
        "tie_embeddings": draw(st.booleans()),
        "dropout": draw(st.sampled_from([0.0, 0.3])),
        "eps": draw(st.sampled_from([1e-5, 0.1])),
        "rope_base": draw(st.sampled_from([10000.0, 30.0])),
        "rope_scaling": draw(st.sampled_from([None, {"rope_type": "linear", "factor": 3.0}])),
        "dtype": "float64",
    }
    return Config(**drawn | fields)


def randomized(module, rng):
    """Give every parameter of a module random float64 values of order 1, matrices such that their products are too."""
    for parameter in module.parameters():
        shape = parameter.data.shape
        parameter.data = rng.normal(size=shape) / (shape[0] ** 0.5 if len(shape) == 2 else 1)
    return module


def random_model(config, rng=0):
    """A Transformer of this Config with random parameters: no gain is 1, no bias 0, every part matters."""
    model = randomized(Transformer(config), np.random.default_rng(rng))
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(config.dtype)
    return model


def taken_gradients(model):
    """Return {name: accumulated gradient}, and clear the gradients."""
    result = {name: parameter.grad for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = None
    return result


def random_ids(config, rng, *shape):
    """Ids below the vocabulary size."""
    return rng.integers(0, config.vocab_size, size=shape)
