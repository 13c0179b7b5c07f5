"""The public functions have the names, the signatures and the shapes that outside code relies on.

An argument that is not in a signature here must be keyword-only and have a default.
"""

import inspect

import numpy as np
import pytest

import minitransformer as mt
from minitransformer.module import is_differentiable

SIGNATURES = """
linear(x, weight, bias=None)
embedding(ids, weight)
unembedding(x, weight)
rotary(x, *, positions, base=10000.0, layout="half")
layer_norm(x, gamma, beta, *, eps=1e-5)
rms_norm(x, gamma, *, eps=1e-5)
softmax(x, *, axis=-1)
log_softmax(x, *, axis=-1)
relu(x)
silu(x)
gelu(x, *, approximate="none")
attention(q, k, v, *, mask=None, scale=None, on_weights=None)
dropout(x, *, keep, p)
cross_entropy(logits, targets, *, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean")
sinusoidal_positions(T, C)
causal_mask(Tq, Tk)
relu_squared(x)
softcap(x, *, cap)
sink_softmax(x, sink)
top_k_gates(x, *, k)
load_balance(x, *, k)
mixture_of_experts(x, router, w_gate, w_up, w_down, *, k)
delta_rule(q, k, v, beta, gate)
reinforce(logp, *, advantages, mask)
grpo(logp, *, old, advantages, reference, mask, clip=0.2, beta=0.04)
orthogonalize(G, *, steps=5)
Muon(params, lr=0.02, momentum=0.95, nesterov=True, weight_decay=0.0)
AdamW(parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
clip_grad_norm(parameters, max_norm)
generate(model, ids, max_new_tokens=50, temperature=1.0, top_k=None, top_p=None, rng=None, use_cache=True)
Transformer(config, seed=0)
TinyTransformer(seed=0)
LanguageModel(model, tokenizer)
MultiHeadAttention(d_model, n_heads)
FeedForward(d_model, d_ff)
GatedFeedForward(d_model, d_ff)
TransformerBlock(d_model, n_heads, d_ff)
"""
CONFIG = """Config(vocab_size, context, d_model=64, n_heads=4, n_layers=2, d_ff=None, n_kv_heads=None, d_head=None,
    norm="layer_norm", feed_forward="gelu", positions="learned", bias=True, tie_embeddings=True, dropout=0.0, eps=1e-5,
    rope_base=10000.0, rope_scaling=None, dtype="float32", qk_norm=False, windows=None, sinks=False, attention_cap=None,
    logit_cap=None, n_experts=None, n_active=None, mixers=None, rotary_fraction=None)"""
MODULES = "Linear Embedding LayerNorm RMSNorm Softmax Dropout LatentAttention ByteTokenizer CharTokenizer BPETokenizer"


def promised(text):
    """Return the name and the parameters of a signature, written as a call."""
    name, _, rest = text.partition("(")
    namespace = {}
    exec(f"def function({rest}: pass", namespace)
    return name, inspect.signature(namespace["function"]).parameters


@pytest.mark.parametrize("text", SIGNATURES.split("\n")[1:-1], ids=lambda text: text.partition("(")[0])
def test_a_public_function_has_the_promised_signature(text):
    name, expected = promised(text)
    found = inspect.signature(getattr(mt, name)).parameters
    for parameter in expected.values():
        assert found[parameter.name].default == parameter.default, parameter
        assert found[parameter.name].kind == parameter.kind, parameter
    others = [parameter for key, parameter in found.items() if key not in expected]
    assert all(other.kind is other.VAR_KEYWORD or other.default is not other.empty for other in others)
    positional = [key for key, parameter in found.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    asked = [key for key, parameter in expected.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert positional[: len(asked)] == asked


def test_the_configuration_has_the_promised_fields_with_their_defaults():
    name, expected = promised(CONFIG)
    found = inspect.signature(getattr(mt, name)).parameters
    assert {key: found[key].default for key in expected} == {key: p.default for key, p in expected.items()}
    assert list(found)[:8] == list(expected)[:8]


@pytest.mark.parametrize("name", MODULES.split())
def test_a_public_class_is_importable(name):
    assert isinstance(getattr(mt, name), type) and name in mt.__all__


B, T, TK, C, D, E, F, H, K, V = 2, 5, 7, 6, 4, 8, 9, 6, 3, 11
HEADS = (B, H, T, D), (B, K, TK, D), (B, K, TK, 3)
IDS = {"ids": (B, T), "targets": (B, T)}
RESPONSE = {"advantages": np.ones(B), "mask": np.ones((B, T), bool)}
# function: shapes of the inputs, shape of the result, options
SHAPES = {
    "linear": ([(B, T, C), (C, F), (F,)], (B, T, F), {}),
    "embedding": (["ids", (V, C)], (B, T, C), {}),
    "unembedding": ([(B, T, C), (V, C)], (B, T, V), {}),
    "rotary": ([(B, H, T, D)], (B, H, T, D), {"positions": np.arange(T)}),
    "layer_norm": ([(B, T, C), (C,), (C,)], (B, T, C), {}),
    "rms_norm": ([(B, T, C), (C,)], (B, T, C), {}),
    "attention": (HEADS, (B, H, T, 3), {"mask": np.ones((T, TK), bool)}),
    "dropout": ([(B, T, C)], (B, T, C), {"keep": np.ones((B, T, C), bool), "p": 0.2}),
    "cross_entropy": ([(B, T, V), "targets"], (), {}),
    **{name: ([(B, T, C)], (B, T, C), {}) for name in ("softmax", "log_softmax", "relu", "silu", "gelu")},
    "relu_squared": ([(B, T, C)], (B, T, C), {}),
    "softcap": ([(B, T, C)], (B, T, C), {"cap": 2.0}),
    "sink_softmax": ([(B, H, T, TK), (H,)], (B, H, T, TK), {}),
    "top_k_gates": ([(B, T, E)], (B, T, E), {"k": 2}),
    "load_balance": ([(B, T, E)], (), {"k": 2}),
    "mixture_of_experts": ([(B, T, C), (C, E), (E, C, F), (E, C, F), (E, F, C)], (B, T, C), {"k": 2}),
    "delta_rule": ([(B, T, D), (B, T, D), (B, T, 3), (B, T), (B, T)], (B, T, 3), {}),
    "reinforce": ([(B, T)], (), RESPONSE),
    "grpo": ([(B, T)], (), RESPONSE | {"old": np.zeros((B, T)), "reference": np.zeros((B, T))}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_function_has_the_promised_shapes_and_a_gradient_of_each_input_in_order(name, rng):
    shapes, expected, options = SHAPES[name]
    inputs = [rng.integers(0, V, IDS[shape]) if isinstance(shape, str) else rng.normal(size=shape) for shape in shapes]
    y, backward = getattr(mt, name)(*inputs, **options)
    assert np.shape(y) == expected
    gradients = backward(*([rng.normal(size=expected)] if expected else []))
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    assert [g.shape for g in gradients] == [x.shape for x in inputs if is_differentiable(x)]


def test_the_modules_have_the_promised_attributes():
    model = mt.TinyTransformer(seed=0)
    for name in ("embedding", "positional_embedding", "blocks", "ln_final", "lm_head"):
        assert hasattr(model, name)
    block = model.blocks[0]
    assert all(hasattr(block, name) for name in ("norm1", "attention", "norm2", "feed_forward"))
    assert all(hasattr(block.attention, name) for name in ("w_q", "w_k", "w_v", "w_o"))
    normed = mt.MultiHeadAttention(C, 2, qk_norm=True)
    assert normed.q_norm.gamma.data.shape == normed.k_norm.gamma.data.shape == (C // 2,)
