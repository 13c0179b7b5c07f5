"""One case for each differentiable function and module: the inputs of every check.

A case has a name and draws a call: the function or module, its inputs and its options. Most sizes differ from each
other, so that a check fails if two axes are confused. B is greater than 1, and T is at least 3. Inputs and parameters
are random and of order 1, so no γ is 1 and no bias is 0. Some cases have dropout, and some have tied weights.

    python -m gradcheck minitransformer    checks every case by central differences and prints a table

The tests check the gradient and the properties of every component in this file, and compare it with other
implementations. If a component has a faster version in fast/, they check that version as well.
"""

from functools import wraps

import numpy as np

from gradcheck import Call, Case
from minitransformer.analysis.contributions import hide
from minitransformer.analysis.hooks import gradient_recorder, replaced_by
from minitransformer.analysis.patching import logit_difference
from minitransformer.config import Config
from minitransformer.generation import LayerCache
from minitransformer.layers.activations import gelu, relu, silu
from minitransformer.layers.attention import attention, causal_mask
from minitransformer.layers.block import TransformerBlock
from minitransformer.layers.dropout import Dropout, dropout
from minitransformer.layers.embedding import Embedding, Unembedding, embedding, unembedding
from minitransformer.layers.feed_forward import FeedForward, GatedFeedForward, swiglu
from minitransformer.layers.layer_norm import LayerNorm, layer_norm
from minitransformer.layers.linear import Linear, linear
from minitransformer.layers.lora import LowRankLinear, low_rank
from minitransformer.layers.multi_head_attention import MultiHeadAttention
from minitransformer.layers.positions import Rotary, rotary
from minitransformer.layers.recomputation import recomputed
from minitransformer.layers.rms_norm import RMSNorm, rms_norm
from minitransformer.layers.softmax import Softmax, log_softmax, softmax
from minitransformer.losses import cross_entropy
from minitransformer.module import TWINS, Identity, Module, Parameter, apply, load_engine
from minitransformer.one_page import gpt as one_page
from minitransformer.training.finetuning.objectives import (
    PairedLoss,
    direct_preference,
    sequence_log_likelihood,
    sequence_unlikelihood,
    softplus,
    unbounded_difference,
    unlikelihood,
)
from minitransformer.transformer import Transformer

B, T, C, F, V = 2, 5, 6, 7, 11
H, K, D = 4, 2, 3  # query heads, key–value heads, channels per head
TQ, TK = 3, 5
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def normal(rng, *shape):
    return rng.normal(size=shape)


def ids(rng, *shape):
    """Return random ids below V. At least one occurs twice, so its gradients must be summed."""
    drawn = rng.integers(0, V, size=shape)
    drawn.flat[-1] = drawn.flat[0]
    return drawn


def targets(rng, *shape):
    """Return random targets below V, of which the first is the ignored index."""
    drawn = rng.integers(0, V, size=shape)
    drawn.flat[0] = -100
    return drawn


def mask_with_empty_row(rng):
    """Return a random mask (B, H, TQ, TK) in which the last query of the first head may attend to no key."""
    mask = rng.random((B, H, TQ, TK)) < 0.6
    mask[..., 0] = True
    mask[:, 0, -1] = False
    return mask


def preference_pairs(rng):
    """Return logits and targets of safe responses, and of unsafe responses, which are longer."""
    return normal(rng, B, 3, V), targets(rng, B, 3), normal(rng, B, T, V), targets(rng, B, T)


def references(rng, size):
    """Return the options of direct_preference: log-likelihoods of `size` pairs under the reference."""
    return {"reference_safe": normal(rng, size), "reference_unsafe": normal(rng, size)}


def qkv(rng, heads, kv_heads):
    """Return random queries, keys and values. The values have one channel more than the keys."""
    return normal(rng, B, heads, TQ, D), normal(rng, B, kv_heads, TK, D), normal(rng, B, kv_heads, TK, D + 1)


def dropout_on_weights(rng):
    """Return an argument `on_weights` for attention: dropout with a fixed mask."""
    keep = rng.random((B, H, TQ, TK)) < 0.7

    def on_weights(weights):
        return dropout(weights, keep=keep, p=0.3)

    return on_weights


class AttentionAfterCachedPast(Module):
    """Self-attention of new positions with a key–value cache, whose contents are constants."""

    def __init__(self, rng):
        self.attention = MultiHeadAttention(C, H, K, D)
        self.past = normal(rng, B, K, 4, D), normal(rng, B, K, 4, D)

    def forward(self, x):
        cache = LayerCache(context=4 + T)
        cache.append(*(array.astype(x.dtype) for array in self.past))
        return self.attention(x, mask=causal_mask(T, 4 + T), cache=cache)


class LearnedQueries(Module):
    """Attention whose queries are a Parameter. Its backward returns only the gradients of keys and values."""

    def __init__(self, rng):
        self.q = Parameter(normal(rng, B, H, TQ, D))

    def forward(self, k, v):
        return apply(attention, self.q, k, v)


class Recomputed(Module):
    """A module that saves only its input and recomputes its activations in backward."""

    def __init__(self, module):
        self.module = module

    def forward(self, x, **options):
        return recomputed(self.module, x, **options)


class Hooked(Module):
    """A module with a hook on the named activations (default: all). Backward must include the effect of the hook."""

    def __init__(self, module, hook, names=None):
        self.module = module
        self.hooks = dict.fromkeys([name for name, _ in module.named_modules()] if names is None else names, hook)

    def forward(self, *inputs, **options):
        with self.module.hooked(self.hooks):
            return self.module(*inputs, **options)


def shrink(y, backward):
    """Multiply y by 0.8. This is a hook; a factor of 2 would saturate the softmax."""

    def shrunk_backward(dy):
        return backward(0.8 * dy)

    return 0.8 * y, shrunk_backward


@wraps(one_page)
def one_page_loss(*weights, **options):
    """Return (loss, backward) of one_page.gpt, without the logits."""
    loss, _, backward = one_page(*weights, **options)
    return loss, backward


def one_page_weights(rng):
    """Return random weights for one_page.gpt, with width 8 and hidden width 7."""

    def norm():
        return [normal(rng, 8), normal(rng, 8)]

    square = [normal(rng, 8, 8) for _ in range(4)]
    tables, feed_forward = [normal(rng, V, 8), normal(rng, T, 8)], [normal(rng, 8, 7), normal(rng, 7, 8)]
    return [*tables, *norm(), *square, *norm(), *feed_forward, *norm()]


def gpt2(**fields):
    """Return a GPT-2-like model of two blocks: layer norm, learned positions, GELU, biases, tied head, dropout."""
    settings = {"d_model": 6, "n_heads": 2, "n_layers": 2, "d_ff": 8, "dropout": 0.2, "dtype": "float64"}
    return Transformer(Config(vocab_size=V, context=7, **settings | fields))


def llama(**fields):
    """Return a Llama-like model of two blocks: RMS norm, rotary, SwiGLU, grouped heads, no biases, untied head."""
    settings = {
        "d_model": 6,
        "n_heads": 4,
        "n_kv_heads": 2,
        "d_head": 8,
        "n_layers": 2,
        "d_ff": 9,
        "norm": "rms_norm",
        "feed_forward": "swiglu",
        "positions": "rotary",
        "bias": False,
        "tie_embeddings": False,
        "dtype": "float64",
    }
    return Transformer(Config(vocab_size=V, context=7, **settings | fields))


FUNCTIONS = [
    Case("linear", lambda rng: Call(linear, normal(rng, B, T, C), normal(rng, C, F), normal(rng, F))),
    Case("linear, no bias", lambda rng: Call(linear, normal(rng, B, T, C), normal(rng, C, F))),
    Case("linear, square", lambda rng: Call(linear, normal(rng, B, T, C), normal(rng, C, C), normal(rng, C))),
    Case("low_rank", lambda rng: Call(low_rank, normal(rng, B, T, C), normal(rng, C, 3), normal(rng, 3, F), scale=0.7)),
    Case("low_rank, square", lambda rng: Call(low_rank, normal(rng, B, T, C), normal(rng, C, C), normal(rng, C, C))),
    Case("embedding", lambda rng: Call(embedding, ids(rng, B, T), normal(rng, V, C))),
    Case("unembedding", lambda rng: Call(unembedding, normal(rng, B, T, C), normal(rng, V, C))),
    Case("rotary, half", lambda rng: Call(rotary, normal(rng, B, H, T, C), positions=np.arange(3, 3 + T), base=100.0)),
    Case(
        "rotary, interleaved",
        lambda rng: Call(rotary, normal(rng, B, H, T, C), positions=rng.permutation(9)[:T], layout="interleaved"),
    ),
    Case("rotary, scaled", lambda rng: Call(rotary, normal(rng, B, H, T, C), positions=np.arange(T), scaling=LLAMA3)),
    Case("layer_norm", lambda rng: Call(layer_norm, normal(rng, B, T, C), normal(rng, C), normal(rng, C))),
    Case(
        "layer_norm, ε = 0.5",
        lambda rng: Call(layer_norm, normal(rng, B, T, C), normal(rng, C), normal(rng, C), eps=0.5),
    ),
    Case("rms_norm", lambda rng: Call(rms_norm, normal(rng, B, T, C), normal(rng, C))),
    Case("rms_norm, ε = 0.5", lambda rng: Call(rms_norm, normal(rng, B, T, C), normal(rng, C), eps=0.5)),
    Case("softmax", lambda rng: Call(softmax, normal(rng, B, T, C))),
    Case("softmax, axis 1", lambda rng: Call(softmax, normal(rng, B, T, C), axis=1)),
    Case("log_softmax", lambda rng: Call(log_softmax, normal(rng, B, T, C))),
    Case("log_softmax, axis 1", lambda rng: Call(log_softmax, normal(rng, B, T, C), axis=1)),
    Case("attention", lambda rng: Call(attention, *qkv(rng, H, H))),
    Case("attention, square", lambda rng: Call(attention, *(normal(rng, B, H, T, T) for _ in range(3)))),
    Case("attention, causal", lambda rng: Call(attention, *qkv(rng, H, H), mask=causal_mask(TQ, TK))),
    Case("attention, masked row", lambda rng: Call(attention, *qkv(rng, H, H), mask=mask_with_empty_row(rng))),
    Case("attention, grouped", lambda rng: Call(attention, *qkv(rng, H, K), mask=mask_with_empty_row(rng), scale=0.7)),
    Case("attention, dropout", lambda rng: Call(attention, *qkv(rng, H, K), on_weights=dropout_on_weights(rng))),
    Case("relu", lambda rng: Call(relu, normal(rng, B, T, C))),
    Case("silu", lambda rng: Call(silu, normal(rng, B, T, C))),
    Case("swiglu", lambda rng: Call(swiglu, normal(rng, B, T, F), normal(rng, B, T, F))),
    Case("gelu", lambda rng: Call(gelu, normal(rng, B, T, C))),
    Case("gelu, tanh", lambda rng: Call(gelu, normal(rng, B, T, C), approximate="tanh")),
    Case("dropout", lambda rng: Call(dropout, normal(rng, B, T, C), keep=rng.random((B, T, C)) < 0.7, p=0.3)),
    Case("cross_entropy", lambda rng: Call(cross_entropy, normal(rng, B, T, V), targets(rng, B, T))),
    Case(
        "cross_entropy, sum", lambda rng: Call(cross_entropy, normal(rng, B, T, V), targets(rng, B, T), reduction="sum")
    ),
    Case(
        "cross_entropy, none",
        lambda rng: Call(cross_entropy, normal(rng, B, T, V), targets(rng, B, T), reduction="none"),
    ),
    Case(
        "cross_entropy, weighted, smoothed",
        lambda rng: Call(
            cross_entropy, normal(rng, B, T, V), targets(rng, B, T), weight=rng.random(V) + 0.5, label_smoothing=0.2
        ),
    ),
    Case(
        "cross_entropy, none, weighted, smoothed",
        lambda rng: Call(
            cross_entropy,
            normal(rng, B, T, V),
            targets(rng, B, T),
            weight=rng.random(V) + 0.5,
            label_smoothing=0.2,
            reduction="none",
        ),
    ),
    Case(
        "sequence_log_likelihood",
        lambda rng: Call(sequence_log_likelihood, normal(rng, B, T, V), targets(rng, B, T)),
    ),
    Case("sequence_unlikelihood", lambda rng: Call(sequence_unlikelihood, normal(rng, B, T, V), targets(rng, B, T))),
    Case("softplus", lambda rng: Call(softplus, normal(rng, B, T, C))),
    Case("unbounded_difference", lambda rng: Call(unbounded_difference, *preference_pairs(rng))),
    Case("unlikelihood", lambda rng: Call(unlikelihood, *preference_pairs(rng))),
    Case(
        "direct_preference", lambda rng: Call(direct_preference, *preference_pairs(rng), **references(rng, B), beta=0.6)
    ),
    Case("logit_difference", lambda rng: Call(logit_difference(2, 4), normal(rng, B, V))),
]

MODULES = [
    Case("Linear", lambda rng: Call(Linear(C, F), normal(rng, B, T, C))),
    Case("LowRankLinear", lambda rng: Call(LowRankLinear(Linear(C, F), 3, 2.0), normal(rng, B, T, C))),
    Case("Embedding", lambda rng: Call(Embedding(V, C), ids(rng, B, T))),
    Case("Unembedding", lambda rng: Call(Unembedding(Parameter(normal(rng, V, C))), normal(rng, B, T, C))),
    Case("Rotary", lambda rng: Call(Rotary(base=100.0), normal(rng, B, H, T, C), positions=np.arange(T))),
    Case("LayerNorm", lambda rng: Call(LayerNorm(C), normal(rng, B, T, C))),
    Case("RMSNorm", lambda rng: Call(RMSNorm(C), normal(rng, B, T, C))),
    Case("Softmax", lambda rng: Call(Softmax(axis=1), normal(rng, B, T, C))),
    Case("Dropout", lambda rng: Call(Dropout(0.3), normal(rng, B, T, C), rng=rng.spawn(1)[0])),
    Case("Dropout, recomputed", lambda rng: Call(Recomputed(Dropout(0.3)), normal(rng, B, T, C), rng=rng.spawn(1)[0])),
    Case("Identity", lambda rng: Call(Identity(), normal(rng, B, T, C))),
    Case(
        "MultiHeadAttention, causal, dropout",
        lambda rng: Call(
            MultiHeadAttention(C, 2, dropout=0.3), normal(rng, B, T, C), mask=causal_mask(T, T), rng=rng.spawn(1)[0]
        ),
    ),
    Case(
        "MultiHeadAttention, grouped, rotary",
        lambda rng: Call(
            MultiHeadAttention(C, H, K, 8, bias=False, rotary=Rotary(100.0)),
            normal(rng, B, T, C),
            mask=causal_mask(T, T),
        ),
    ),
    Case(
        "MultiHeadAttention, cached past",
        lambda rng: Call(AttentionAfterCachedPast(rng), normal(rng, B, T, C)),
    ),
    Case("apply, learned queries", lambda rng: Call(LearnedQueries(rng), *qkv(rng, H, H)[1:])),
    Case("FeedForward", lambda rng: Call(FeedForward(C, F), normal(rng, B, T, C))),
    Case("FeedForward, tanh", lambda rng: Call(FeedForward(C, F, "gelu_tanh"), normal(rng, B, T, C))),
    Case("FeedForward, ReLU", lambda rng: Call(FeedForward(C, F, "relu"), normal(rng, B, T, C))),
    Case("GatedFeedForward", lambda rng: Call(GatedFeedForward(C, F, bias=True), normal(rng, B, T, C))),
    Case(
        "TransformerBlock, GPT-2-like",
        lambda rng: Call(
            TransformerBlock(C, 2, F, dropout=0.2), normal(rng, B, T, C), mask=causal_mask(T, T), rng=rng.spawn(1)[0]
        ),
    ),
    Case(
        "TransformerBlock, Llama-like",
        lambda rng: Call(
            TransformerBlock(
                C,
                H,
                F,
                n_kv_heads=K,
                d_head=8,
                norm="rms_norm",
                feed_forward="swiglu",
                bias=False,
                rotary=Rotary(100.0),
            ),
            normal(rng, B, T, C),
            mask=causal_mask(T, T),
        ),
    ),
    Case(
        "TransformerBlock, hooked",
        lambda rng: Call(Hooked(TransformerBlock(C, 2, F), shrink), normal(rng, B, T, C), mask=causal_mask(T, T)),
    ),
    Case(
        "TransformerBlock, recorded",
        lambda rng: Call(
            Hooked(TransformerBlock(C, 2, F), gradient_recorder({}, {}, "any")),
            normal(rng, B, T, C),
            mask=causal_mask(T, T),
        ),
    ),
    Case(
        "TransformerBlock, partly replaced",
        lambda rng: Call(
            Hooked(TransformerBlock(C, 2, F), replaced_by(0.3, (..., 1))),
            normal(rng, B, T, C),
            mask=causal_mask(T, T),
        ),
    ),
    Case(
        "MultiHeadAttention, hidden keys",
        lambda rng: Call(Hooked(MultiHeadAttention(C, 2), hide([0, 2]), ["weights"]), normal(rng, B, T, C)),
    ),
    Case(
        "MultiHeadAttention, hidden keys, causal",
        lambda rng: Call(
            Hooked(MultiHeadAttention(C, 2), hide([1, 3]), ["weights"]), normal(rng, B, T, C), mask=causal_mask(T, T)
        ),
    ),
    Case("Transformer, GPT-2-like", lambda rng: Call(gpt2(), ids(rng, B, T), rng=rng.spawn(1)[0])),
    Case(
        "Transformer, GPT-2-like, sinusoidal",
        lambda rng: Call(gpt2(positions="sinusoidal", n_layers=1), ids(rng, B, T)),
    ),
    Case(
        "Transformer.loss, GPT-2-like",
        lambda rng: Call(gpt2().loss, ids(rng, B, T), targets(rng, B, T), rng=rng.spawn(1)[0], label_smoothing=0.1),
    ),
    Case(
        "Transformer.loss, recomputed",
        lambda rng: Call(gpt2().loss, ids(rng, B, T), targets(rng, B, T), rng=rng.spawn(1)[0], recompute=True),
    ),
    Case("Transformer, two leading axes", lambda rng: Call(gpt2(n_layers=1), ids(rng, B, 3, T))),
    Case("Transformer, Llama-like", lambda rng: Call(llama(), ids(rng, B, T))),
    Case("Transformer, Llama-like, tied", lambda rng: Call(llama(tie_embeddings=True, n_layers=1), ids(rng, B, T))),
    Case(
        "PairedLoss, direct preference",
        lambda rng: Call(
            PairedLoss(gpt2(n_layers=1), direct_preference),
            ids(rng, 2 * B, T),
            targets(rng, 2 * B, T),
            rng=rng.spawn(1)[0],
            **references(rng, B),
        ),
    ),
]

ONE_PAGE = Case(
    "one_page",
    lambda rng: Call(
        one_page_loss, *one_page_weights(rng), ids=ids(rng, B, T), targets=rng.integers(0, V, (B, T)), H=H
    ),
)


def twin_of_case(case):
    """Return the case of a textbook function with its twin, the faster version in fast/, as the target.

    As in `apply`, complex arrays are passed to the textbook function. The complex step therefore compares the backward
    of the twin with the forward of the textbook function.
    """

    def draw(rng):
        call = case.draw(rng)
        function, twin = call.target, TWINS[call.target]

        @wraps(twin)
        def judged(*inputs, **options):
            return (function if any(map(np.iscomplexobj, inputs)) else twin)(*inputs, **options)

        return Call(judged, *call.inputs, **call.options)

    return Case(f"fast.{case.name}", draw)


def engine_cases():
    """Return the cases of fast/: each twin with the inputs of its textbook function, and the variants of attention.

    The list is empty if the folder fast/ does not exist.
    """
    load_engine()
    if not TWINS:
        return []
    from minitransformer.fast.blocked_attention import blocked_attention
    from minitransformer.fast.head_groups import in_head_groups
    from minitransformer.fast.query_blocks import in_query_blocks

    rng = np.random.default_rng(0)
    return [
        *(twin_of_case(case) for case in FUNCTIONS if case.draw(rng).target in TWINS),
        Case(
            "blocked_attention",
            lambda rng: Call(
                blocked_attention, *qkv(rng, H, K), mask=mask_with_empty_row(rng), scale=0.7, queries=2, keys=2
            ),
        ),
        Case(
            "blocked_attention, causal",
            lambda rng: Call(
                blocked_attention, *qkv(rng, H, H), mask=causal_mask(TQ, TK), scale=0.6, queries=2, keys=2
            ),
        ),
        Case("blocked_attention, unmasked", lambda rng: Call(blocked_attention, *qkv(rng, H, H), scale=0.6, keys=2)),
        Case(
            "in_head_groups",
            lambda rng: Call(
                in_head_groups, *qkv(rng, H, K), attention=attention, mask=mask_with_empty_row(rng), scale=0.7, groups=2
            ),
        ),
        Case(
            "in_query_blocks",
            lambda rng: Call(
                in_query_blocks, *qkv(rng, H, K), attention=attention, mask=causal_mask(TQ, TK), scale=0.7, queries=2
            ),
        ),
    ]


CASES = [*FUNCTIONS, *MODULES, ONE_PAGE, *engine_cases()]
