"""One case for each differentiable function and module: the inputs of every check.

A case has a name and draws a call: the function or module, its inputs and its options. Most sizes differ from each
other, so that a check fails if a backward pass confuses two axes. Inputs and parameters are random and of order 1, so
no γ is 1 and no bias is 0. Some cases have dropout, and some have tied weights.

    python -m gradcheck minitransformer    checks every case by central differences and prints a table
"""

from functools import partial, wraps
from typing import Any

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
from minitransformer.layers.recomputation import checkpointed
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
    """Return random ids below V. At least one id occurs twice, so the gradients of its row must be summed."""
    drawn = rng.integers(0, V, size=shape)
    drawn.flat[-1] = drawn.flat[0]
    return drawn


def targets(rng, *shape):
    """Return random targets below V, of which the first is the ignored index."""
    drawn = rng.integers(0, V, size=shape)
    drawn.flat[0] = -100
    return drawn


def mask_with_empty_row(rng):
    """Return the option `mask`: a random mask in which the last query of the first head may attend to no key."""
    mask = rng.random((B, H, TQ, TK)) < 0.6
    mask[..., 0] = True
    mask[:, 0, -1] = False
    return {"mask": mask}


def references(rng):
    """Return the log-likelihoods of B pairs under the reference model, as options of direct_preference."""
    return {"reference_safe": normal(rng, B), "reference_unsafe": normal(rng, B)}


def class_weights(rng):
    return {"weight": rng.random(V) + 0.5}


def dropout_on_weights(rng):
    """Return the option `on_weights` of attention, which applies dropout with a fixed mask."""
    keep = rng.random((B, H, TQ, TK)) < 0.7

    def on_weights(weights):
        return dropout(weights, keep=keep, p=0.3)

    return {"on_weights": on_weights}


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


class Checkpointed(Module):
    """A module that saves only its input and recomputes its activations in backward."""

    def __init__(self, module):
        self.module = module

    def forward(self, x, **options):
        return checkpointed(self.module, x, **options)


class Hooked(Module):
    """A module with a hook on the named activations (default: all). Backward must include the effect of the hook."""

    def __init__(self, module, hook, names=None):
        self.module = module
        self.hooks = dict.fromkeys([name for name, _ in module.named_modules()] if names is None else names, hook)

    def forward(self, *inputs, **options):
        with self.module.hooked(self.hooks):
            return self.module(*inputs, **options)


def shrink(y, backward):
    """Multiply an activation by 0.8. This is a hook. A factor of 2 would saturate the softmax."""

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
    """Return a small model like GPT-2: layer norm, learned positions, GELU, biases, tied embeddings and dropout."""
    settings = {"d_model": 6, "n_heads": 2, "n_layers": 2, "d_ff": 8, "dropout": 0.2, "dtype": "float64"}
    return Transformer(Config(vocab_size=V, context=7, **settings | fields))


def llama(**fields):
    """Return a small model like Llama: RMS norm, rotary positions, SwiGLU, grouped heads, no biases, untied head."""
    settings = {"d_model": 6, "n_heads": 4, "n_kv_heads": 2, "d_head": 8, "n_layers": 2, "d_ff": 9, "bias": False}
    settings |= {"norm": "rms_norm", "feed_forward": "swiglu", "positions": "rotary", "tie_embeddings": False}
    return Transformer(Config(vocab_size=V, context=7, dtype="float64", **settings | fields))


def case(name, target, *inputs, drawn=None, **options):
    """Return a Case that calls the function `target`.

    Each of `inputs` is the shape of an array of normally distributed numbers, or a function that draws the input from a
    random generator. `drawn`, if given, is a function that draws further options.
    """

    def draw(rng):
        arrays = [normal(rng, *one) if isinstance(one, tuple) else one(rng) for one in inputs]
        return Call(target, *arrays, **options, **(drawn(rng) if drawn else {}))

    return Case(name, draw)


def module(name, make, *inputs, **options):
    """Return a Case that calls the module make(rng). The other arguments are those of `case`."""
    return Case(name, lambda rng: case(name, make(rng), *inputs, **options).draw(rng))


def shapes_of(heads, kv_heads):
    """Return the shapes of queries, keys and values. The values have one channel more than the keys."""
    return (B, heads, TQ, D), (B, kv_heads, TK, D), (B, kv_heads, TK, D + 1)


def some_ids(rng):
    return ids(rng, B, T)


def some_targets(rng):
    return targets(rng, B, T)


def dropping(rng):
    """Return the option `rng`, with which a module applies dropout."""
    return {"rng": rng.spawn(1)[0]}


LLAMA: dict[str, Any] = {"n_kv_heads": K, "d_head": 8, "norm": "rms_norm", "feed_forward": "swiglu", "bias": False}
X, LOGITS, SQUARE, CAUSAL = (B, T, C), (B, T, V), (B, H, T, T), causal_mask(TQ, TK)
LOSS, TEXT = (cross_entropy, LOGITS, some_targets), (some_ids, some_targets)
PAIRS = (B, 3, V), lambda rng: targets(rng, B, 3), LOGITS, some_targets  # the unsafe responses are longer
FUNCTIONS = [
    case("linear", linear, X, (C, F), (F,)),
    case("linear, no bias", linear, X, (C, F)),
    case("linear, square", linear, X, (C, C), (C,)),
    case("low_rank", low_rank, X, (C, 3), (3, F), scale=0.7),
    case("low_rank, square", low_rank, X, (C, C), (C, C)),
    case("embedding", embedding, some_ids, (V, C)),
    case("unembedding", unembedding, X, (V, C)),
    case("rotary, half", rotary, (B, H, T, C), positions=np.arange(3, 3 + T), base=100.0),
    case(
        "rotary, interleaved",
        rotary,
        (B, H, T, C),
        drawn=lambda rng: {"positions": rng.permutation(9)[:T]},
        layout="interleaved",
    ),
    case("rotary, scaled", rotary, (B, H, T, C), positions=np.arange(T), scaling=LLAMA3),
    case("layer_norm", layer_norm, X, (C,), (C,)),
    case("layer_norm, ε = 0.5", layer_norm, X, (C,), (C,), eps=0.5),
    case("rms_norm", rms_norm, X, (C,)),
    case("rms_norm, ε = 0.5", rms_norm, X, (C,), eps=0.5),
    case("softmax", softmax, X),
    case("softmax, axis 1", softmax, X, axis=1),
    case("log_softmax", log_softmax, X),
    case("log_softmax, axis 1", log_softmax, X, axis=1),
    case("attention", attention, *shapes_of(H, H)),
    case("attention, square", attention, SQUARE, SQUARE, SQUARE),
    case("attention, causal", attention, *shapes_of(H, H), mask=CAUSAL),
    case("attention, masked row", attention, *shapes_of(H, H), drawn=mask_with_empty_row),
    case("attention, grouped", attention, *shapes_of(H, K), drawn=mask_with_empty_row, scale=0.7),
    case("attention, dropout", attention, *shapes_of(H, K), drawn=dropout_on_weights),
    case("relu", relu, X),
    case("silu", silu, X),
    case("swiglu", swiglu, (B, T, F), (B, T, F)),
    case("gelu", gelu, X),
    case("gelu, tanh", gelu, X, approximate="tanh"),
    case("dropout", dropout, X, drawn=lambda rng: {"keep": rng.random(X) < 0.7}, p=0.3),
    case("cross_entropy", *LOSS),
    case("cross_entropy, sum", *LOSS, reduction="sum"),
    case("cross_entropy, none", *LOSS, reduction="none"),
    case("cross_entropy, weighted, smoothed", *LOSS, drawn=class_weights, label_smoothing=0.2),
    case("cross_entropy, none, weighted, smoothed", *LOSS, drawn=class_weights, label_smoothing=0.2, reduction="none"),
    case("sequence_log_likelihood", sequence_log_likelihood, LOGITS, some_targets),
    case("sequence_unlikelihood", sequence_unlikelihood, LOGITS, some_targets),
    case("softplus", softplus, X),
    case("unbounded_difference", unbounded_difference, *PAIRS),
    case("unlikelihood", unlikelihood, *PAIRS),
    case("direct_preference", direct_preference, *PAIRS, drawn=references, beta=0.6),
    case("logit_difference", logit_difference(2, 4), (B, V)),
]

SEEN = {"mask": causal_mask(T, T)}
block, heads = partial(TransformerBlock, C, 2, F), partial(MultiHeadAttention, C, 2)
MODULES = [
    module("Linear", lambda rng: Linear(C, F), X),
    module("LowRankLinear", lambda rng: LowRankLinear(Linear(C, F), 3, 2.0), X),
    module("Embedding", lambda rng: Embedding(V, C), some_ids),
    module("Unembedding", lambda rng: Unembedding(Parameter(normal(rng, V, C))), X),
    module("Rotary", lambda rng: Rotary(base=100.0), (B, H, T, C), positions=np.arange(T)),
    module("LayerNorm", lambda rng: LayerNorm(C), X),
    module("RMSNorm", lambda rng: RMSNorm(C), X),
    module("Softmax", lambda rng: Softmax(axis=1), X),
    module("Dropout", lambda rng: Dropout(0.3), X, drawn=dropping),
    module("Dropout, checkpointed", lambda rng: Checkpointed(Dropout(0.3)), X, drawn=dropping),
    module("Identity", lambda rng: Identity(), X),
    module("MultiHeadAttention, causal, dropout", lambda rng: heads(dropout=0.3), X, drawn=dropping, **SEEN),
    module(
        "MultiHeadAttention, grouped, rotary",
        lambda rng: MultiHeadAttention(C, H, K, 8, bias=False, rotary=Rotary(100.0)),
        X,
        **SEEN,
    ),
    module("MultiHeadAttention, cached past", AttentionAfterCachedPast, X),
    module("apply, learned queries", LearnedQueries, *shapes_of(H, H)[1:]),
    module("FeedForward", lambda rng: FeedForward(C, F), X),
    module("FeedForward, tanh", lambda rng: FeedForward(C, F, "gelu_tanh"), X),
    module("FeedForward, ReLU", lambda rng: FeedForward(C, F, "relu"), X),
    module("GatedFeedForward", lambda rng: GatedFeedForward(C, F, bias=True), X),
    module("TransformerBlock, GPT-2-like", lambda rng: block(dropout=0.2), X, drawn=dropping, **SEEN),
    module(
        "TransformerBlock, Llama-like", lambda rng: TransformerBlock(C, H, F, rotary=Rotary(100.0), **LLAMA), X, **SEEN
    ),
    module("TransformerBlock, hooked", lambda rng: Hooked(block(), shrink), X, **SEEN),
    module("TransformerBlock, recorded", lambda rng: Hooked(block(), gradient_recorder({}, {}, "any")), X, **SEEN),
    module("TransformerBlock, partly replaced", lambda rng: Hooked(block(), replaced_by(0.3, (..., 1))), X, **SEEN),
    module("MultiHeadAttention, hidden keys", lambda rng: Hooked(heads(), hide([0, 2]), ["weights"]), X),
    module(
        "MultiHeadAttention, hidden keys, causal", lambda rng: Hooked(heads(), hide([1, 3]), ["weights"]), X, **SEEN
    ),
    module("Transformer, GPT-2-like", lambda rng: gpt2(), some_ids, drawn=dropping),
    module("Transformer, GPT-2-like, sinusoidal", lambda rng: gpt2(positions="sinusoidal", n_layers=1), some_ids),
    module("Transformer.loss, GPT-2-like", lambda rng: gpt2().loss, *TEXT, drawn=dropping, label_smoothing=0.1),
    module("Transformer.loss, checkpointed", lambda rng: gpt2().loss, *TEXT, drawn=dropping, recompute=True),
    module("Transformer, two leading axes", lambda rng: gpt2(n_layers=1), lambda rng: ids(rng, B, 3, T)),
    module("Transformer, Llama-like", lambda rng: llama(), some_ids),
    module("Transformer, Llama-like, tied", lambda rng: llama(tie_embeddings=True, n_layers=1), some_ids),
    module(
        "PairedLoss, direct preference",
        lambda rng: PairedLoss(gpt2(n_layers=1), direct_preference),
        lambda rng: ids(rng, 2 * B, T),
        lambda rng: targets(rng, 2 * B, T),
        drawn=lambda rng: dropping(rng) | references(rng),
    ),
]

ONE_PAGE = Case(
    "one_page",
    lambda rng: Call(
        one_page_loss, *one_page_weights(rng), ids=ids(rng, B, T), targets=rng.integers(0, V, (B, T)), H=H
    ),
)


def twin_of_case(case):
    """Return a copy of `case` that calls the faster twin of its textbook function.

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
    """Return the cases of the engine: each twin in fast/, and the variants of attention.

    Each twin is called with the inputs of its textbook function. The list is empty if the folder fast/ does not exist.
    """
    load_engine()
    if not TWINS:
        return []
    from minitransformer.fast.attention import recomputed
    from minitransformer.fast.head_groups import in_head_groups
    from minitransformer.fast.query_blocks import in_query_blocks

    rng = np.random.default_rng(0)
    shapes, masked = shapes_of(H, K), {"drawn": mask_with_empty_row}
    return [
        *(twin_of_case(case) for case in FUNCTIONS if case.draw(rng).target in TWINS),
        case("in_head_groups", in_head_groups, *shapes, **masked, attention=attention, scale=0.7, groups=2),
        case("in_query_blocks", in_query_blocks, *shapes, attention=attention, mask=CAUSAL, scale=0.7, queries=2),
        case("recomputed", recomputed, *shapes, mask=CAUSAL, scale=0.7),
    ]


CASES = [*FUNCTIONS, *MODULES, ONE_PAGE, *engine_cases()]
