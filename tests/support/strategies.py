"""Strategies of the property tests: random generators, shapes and configurations."""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from minitransformer import Config, Transformer
from minitransformer.system.validation import true_or_false

rngs = st.builds(np.random.default_rng, st.integers(0, 2**32 - 1))
sizes = st.integers(1, 6)
batch_shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)

# The fields of a Config like Llama's.
LLAMA = {"norm": "rms_norm", "feed_forward": "swiglu", "positions": "rotary", "bias": False, "tie_embeddings": False}


# The fields of models before 2024, for what has no meaning or no support beyond them.
CLASSIC = {"qk_norm": False, "sinks": False, "attention_cap": None, "logit_cap": None, "mixers": None, "windows": None}
CLASSIC |= {"block": "pre_norm", "rotary_fraction": None, "n_experts": None, "n_active": None}

# A strategy for each field of Config, which the sizes drawn before may limit. A field without one is an error.
SCALINGS = [None, {"rope_type": "linear", "factor": 3.0}]
FIELDS = {
    "vocab_size": lambda d: st.integers(2, 9),
    "context": lambda d: st.integers(2, 6),
    "n_kv_heads": lambda d: st.integers(1, 2),
    "n_heads": lambda d: st.integers(1, 3).map(lambda group: group * d["n_kv_heads"]),
    "d_head": lambda d: st.sampled_from([2, 4]),
    "d_model": lambda d: st.sampled_from([6, 2 * d["n_heads"], 4 * d["n_heads"]]),
    "n_layers": lambda d: st.integers(1, 2),
    "d_ff": lambda d: st.sampled_from([None, 5]),
    "dropout": lambda d: st.sampled_from([0.0, 0.3]),
    "eps": lambda d: st.sampled_from([1e-5, 0.1]),
    "rope_base": lambda d: st.sampled_from([10000.0, 30.0]),
    "rope_scaling": lambda d: st.sampled_from(SCALINGS),
    "rotary_fraction": lambda d: st.sampled_from([None, *({4: [0.5]}.get(d["d_head"], []))]),
    "n_experts": lambda d: st.sampled_from([None, 2, 3]) if d["feed_forward"] == "swiglu" else st.none(),
    "n_active": lambda d: st.sampled_from([None, 2]) if d["n_experts"] else st.none(),
    "mixers": lambda d: st.sampled_from([None, None, ("delta", "attention"), ("latent",), ("latent", "delta")]),
    "windows": lambda d: (
        st.sampled_from([None, (2,), (1, None), (None, 3)]) if "delta" not in (d["mixers"] or ()) else st.none()
    ),
    "d_latent": lambda d: st.sampled_from([None, 3]) if d["mixers"] else st.none(),
    "attention_cap": lambda d: st.sampled_from([None, 2.0]),
    "logit_cap": lambda d: st.sampled_from([None, 3.0]),
    "dtype": lambda d: st.just("float64"),
}


def strategy_of(field):
    """Return the strategy of a field: that of FIELDS, or any of the known values."""
    if field.name in FIELDS:
        return FIELDS[field.name]
    check = field.metadata["check"]
    known = check.keywords.get("known", (False, True) if check.func is true_or_false else None)
    assert known, f"tests/support/strategies.py: FIELDS must say which values of {field.name} to draw"
    return lambda d: st.sampled_from(known)


@st.composite
def configs(draw, **fields):
    """A small float64 Config of any family: every field is drawn, among all choices of a registry."""
    strategies = {field.name: strategy_of(field) for field in dataclasses.fields(Config)}
    drawn = {}
    for name in [*FIELDS, *strategies]:
        if name in ("n_experts", "n_active") and "feed_forward" not in drawn:
            drawn["feed_forward"] = fields.get("feed_forward") or draw(strategies["feed_forward"](drawn))
        if name not in drawn:
            drawn[name] = fields[name] if name in fields else draw(strategies[name](drawn))
    return Config(**drawn)


def randomized(module, rng):
    """Give every parameter of a module random float64 values of order 1, matrices such that their products are too."""
    for parameter in module.parameters():
        shape = parameter.data.shape
        parameter.data = rng.normal(size=shape) / (shape[-2] ** 0.5 if len(shape) > 1 else 1)
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
