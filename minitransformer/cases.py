"""One case for each differentiable function and module: the inputs of every check.

A case has a name and draws a call: the function or module, its inputs and its options. Most sizes differ from each
other, so that a check fails if a backward pass confuses two axes. Inputs and parameters are random and of order 1, so
no γ is 1 and no bias is 0. Some cases have dropout, and some have tied weights.

    python -m gradcheck minitransformer    checks every case by central differences and prints a table
"""

from functools import partial, wraps
from importlib.util import find_spec
from typing import Any

import numpy as np

from gradcheck import Call, Case, from_nested
from minitransformer.analysis.contributions import hide
from minitransformer.analysis.hooks import gradient_recorder, replaced_by
from minitransformer.analysis.patching import logit_difference
from minitransformer.config import Config
from minitransformer.example_calls import (
    CAUSAL,
    EXAMPLES,
    LOGITS,
    TK,
    TQ,
    B,
    C,
    D,
    F,
    H,
    K,
    T,
    V,
    X,
    example,
    ids,
    mask_with_empty_row,
    normal,
    shapes_of,
    some_ids,
    some_targets,
    targets,
)
from minitransformer.layers.attention import attention, causal_mask
from minitransformer.layers.block import TransformerBlock
from minitransformer.layers.dropout import Dropout
from minitransformer.layers.embedding import Embedding, Unembedding
from minitransformer.layers.feed_forward import FeedForward, GatedFeedForward
from minitransformer.layers.key_value_cache import LayerCache
from minitransformer.layers.layer_norm import LayerNorm
from minitransformer.layers.linear import Linear
from minitransformer.layers.lora import LowRankLinear
from minitransformer.layers.modern.balancing_bias import balancing_bias
from minitransformer.layers.modern.delta_mixer import DeltaMixer, StateCache
from minitransformer.layers.modern.delta_rule import delta_rule
from minitransformer.layers.modern.grpo import grpo
from minitransformer.layers.modern.joint_norm import JointNorm
from minitransformer.layers.modern.latent_attention import LatentAttention, absorbed_attention, latent_attention
from minitransformer.layers.modern.load_balance import load_balance
from minitransformer.layers.modern.mixture_of_experts import MixtureOfExperts, mixture_of_experts
from minitransformer.layers.modern.partial_rotary import PartialRotary
from minitransformer.layers.modern.post_norm_block import PostNormBlock
from minitransformer.layers.modern.reinforce import reinforce
from minitransformer.layers.modern.relu_squared import relu_squared
from minitransformer.layers.modern.sigmoid import sigmoid
from minitransformer.layers.modern.sink_attention import SinkAttention
from minitransformer.layers.modern.sink_softmax import sink_softmax
from minitransformer.layers.modern.softcap import CappedUnembedding, softcap
from minitransformer.layers.modern.top_k_gates import top_k_gates
from minitransformer.layers.multi_head_attention import MultiHeadAttention
from minitransformer.layers.positions import Rotary
from minitransformer.layers.recomputation import checkpointed
from minitransformer.layers.rms_norm import RMSNorm
from minitransformer.layers.softmax import Softmax
from minitransformer.module import TWINS, Identity, Module, Parameter, apply
from minitransformer.one_page import gpt as one_page
from minitransformer.training.balancing import BalancedModel
from minitransformer.training.finetuning.objectives import (
    PairedLoss,
    RewardedLoss,
    direct_preference,
    sequence_log_likelihood,
    sequence_unlikelihood,
    softplus,
    unbounded_difference,
    unlikelihood,
)
from minitransformer.transformer import Transformer


def references(rng):
    """Return the log-likelihoods of B pairs under the reference model, as options of direct_preference."""
    return {"reference_safe": normal(rng, B), "reference_unsafe": normal(rng, B)}


def distinct_logits(rng):
    """Return router logits (B, T, E) that differ by at least 0.2 at each position, because a tie is a jump."""
    return rng.permuted(np.tile(np.linspace(-1.5, 1.5, E), (B, T, 1)), axis=-1) + 0.1 * rng.random((B, T, E))


def rewarded(rng):
    """Return the options `advantages` and `mask` of responses of unequal length."""
    return {"advantages": normal(rng, B), "mask": np.arange(T) < rng.integers(2, T, (B, 1))}


def old_and_reference(rng):
    """Return the other options of grpo. Ratios differ from 1 by up to a factor of e, so tokens are clipped."""
    return rewarded(rng) | {"old": normal(rng, B, T), "reference": normal(rng, B, T)}


def rewards_of_tokens(rng):
    """Return the options of RewardedLoss. Log-probabilities of V tokens are about −log V."""
    old, reference = (normal(rng, B, T) / 2 - np.log(V) for _ in range(2))
    return {"advantages": normal(rng, B), "old": old, "reference": reference}


class AttentionAfterCachedPast(Module):
    """Self-attention of new positions with a key–value cache, whose contents are constants."""

    def __init__(self, rng):
        self.attention = MultiHeadAttention(C, H, K, D)
        self.past = normal(rng, B, K, 4, D), normal(rng, B, K, 4, D)

    def forward(self, x):
        cache = LayerCache(context=4 + T)
        cache.append(*(array.astype(x.dtype) for array in self.past))
        return self.attention(x, mask=causal_mask(T, 4 + T), cache=cache)


class DeltaAfterState(Module):
    """The delta rule on new positions with the state after earlier ones, which is a constant."""

    def __init__(self, rng):
        self.mixer = DeltaMixer(C, H, D)
        self.past = normal(rng, B, H, D, D)

    def forward(self, x):
        cache = StateCache(context=4 + T)
        cache.store(self.past.astype(x.dtype), 4)
        return self.mixer(x, cache=cache)


class LatentAfterPast(Module):
    """Latent attention, in the absorbed form, of new positions with a cache, whose contents are constants."""

    def __init__(self, rng):
        self.attention = LatentAttention(C, H, D, d_latent=LATENT, d_rotary=2, rotary=Rotary(100.0))
        self.past = normal(rng, B, 4, LATENT), normal(rng, B, 4, 2)

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


def of_recurrence(scan, *inputs, **options):
    """Return a Call of a function with the outputs (state, y), which are joined to one array."""

    @wraps(scan)
    def nested(*inputs, **options):
        outputs, scan_backward = scan(*inputs, **options)

        def backward(dys):
            return scan_backward(*dys)

        return outputs, backward

    return Call(*from_nested(nested, *inputs), **options)


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
    """Return a Case that calls the function `target`. The other arguments are those of example_calls.example."""
    return Case(name, partial(drawn_call, example(target, *inputs, drawn=drawn, **options)))


def drawn_call(draw, rng):
    """Return the Call that draw(rng), a value of EXAMPLES, describes."""
    target, inputs, options = draw(rng)
    return Call(target, *inputs, **options)


def module(name, make, *inputs, **options):
    """Return a Case that calls the module make(rng). The other arguments are those of `case`."""
    return Case(name, lambda rng: case(name, make(rng), *inputs, **options).draw(rng))


def dropping(rng):
    """Return the option `rng`, with which a module applies dropout."""
    return {"rng": rng.spawn(1)[0]}


E = 8  # experts
LATENT = 10  # entries of a latent
LLAMA: dict[str, Any] = {"n_kv_heads": K, "d_head": 8, "norm": "rms_norm", "feed_forward": "swiglu", "bias": False}
TEXT = (some_ids, some_targets)
PAIRS = (B, 3, V), lambda rng: targets(rng, B, 3), LOGITS, some_targets  # the unsafe responses are longer
OF_LATENTS = (B, H, TQ, D), (B, H, TQ, 2), (B, TK, LATENT), (B, TK, 2), (H, LATENT, D), (H, LATENT, K)
OF_STATES = (B, K, D), (B, T, D), (B, T, D), (B, T, K), (B, T), (B, T)
FUNCTIONS = [
    *(Case(name, partial(drawn_call, draw)) for name, draw in EXAMPLES.items()),
    case("relu_squared", relu_squared, X),
    case("softcap", softcap, X, cap=0.7),
    case("sigmoid", sigmoid, X),
    case("sink_softmax", sink_softmax, (B, H, TQ, TK), (H,)),
    case("top_k_gates", top_k_gates, distinct_logits, k=2),
    case("load_balance", load_balance, distinct_logits, k=2),
    case("balancing_bias", balancing_bias, (E,), drawn=lambda rng: {"logits": 5 * distinct_logits(rng)}, k=2),
    case("mixture_of_experts", mixture_of_experts, X, (C, E), (E, C, F), (E, C, F), (E, F, C), k=2),
    case("latent_attention", latent_attention, *OF_LATENTS, drawn=mask_with_empty_row),
    case("absorbed_attention", absorbed_attention, *OF_LATENTS, drawn=mask_with_empty_row),
    case("delta_rule", delta_rule, *OF_STATES[1:]),
    case("reinforce", reinforce, (B, T), drawn=rewarded),
    case("grpo", grpo, (B, T), drawn=old_and_reference),
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
    module(
        "MultiHeadAttention, normalized queries and keys, rotary",
        lambda rng: MultiHeadAttention(C, H, K, 8, rotary=Rotary(100.0), qk_norm=True),
        X,
        **SEEN,
    ),
    module("SinkAttention", lambda rng: SinkAttention(C, 2, dropout=0.3), X, drawn=dropping, **SEEN),
    module("SinkAttention, capped", lambda rng: SinkAttention(C, H, K, D, sinks=False, cap=0.7), X, **SEEN),
    module("PartialRotary", lambda rng: PartialRotary(4, base=100.0), (B, H, T, C), positions=np.arange(T)),
    module(
        "LatentAttention",
        lambda rng: LatentAttention(C, H, D, d_latent=LATENT, d_rotary=2, rotary=Rotary(100.0), dropout=0.3),
        X,
        drawn=dropping,
        **SEEN,
    ),
    module("LatentAttention, cached past", LatentAfterPast, X),
    module("JointNorm", lambda rng: JointNorm(H, C), (B, H, T, C)),
    module("DeltaMixer", lambda rng: DeltaMixer(C, H, D), X),
    module("DeltaMixer, earlier state", DeltaAfterState, X),
    module("MixtureOfExperts", lambda rng: MixtureOfExperts(C, F, E, 2), X),
    module("CappedUnembedding", lambda rng: CappedUnembedding(Parameter(normal(rng, V, C)), 0.7), X),
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
    module("PostNormBlock", lambda rng: PostNormBlock(C, 2, F, dropout=0.2), X, drawn=dropping, **SEEN),
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
        "Transformer, after 2023",
        lambda rng: llama(qk_norm=True, sinks=True, windows=(2, None), rotary_fraction=0.5, n_experts=3, logit_cap=4.0),
        some_ids,
    ),
    module(
        "Transformer, OLMo-2-like",
        lambda rng: llama(block="post_norm", qk_norm=True, qk_norm_over="projection"),
        some_ids,
    ),
    module("Transformer, latent attention", lambda rng: llama(mixers=("latent",), n_layers=1), some_ids),
    module("BalancedModel.loss", lambda rng: BalancedModel(llama(n_experts=3, n_layers=1), 0.7).loss, *TEXT),
    module("Transformer, delta rule", lambda rng: gpt2(mixers=("delta", "attention")), some_ids, drawn=dropping),
    module(
        "PairedLoss, direct preference",
        lambda rng: PairedLoss(gpt2(n_layers=1), direct_preference),
        lambda rng: ids(rng, 2 * B, T),
        lambda rng: targets(rng, 2 * B, T),
        drawn=lambda rng: dropping(rng) | references(rng),
    ),
    module("RewardedLoss", lambda rng: RewardedLoss(gpt2(n_layers=1)), *TEXT, drawn=rewards_of_tokens),
]

ONE_PAGE = Case(
    "one_page",
    lambda rng: Call(
        one_page_loss, *one_page_weights(rng), ids=ids(rng, B, T), targets=rng.integers(0, V, (B, T)), H=H
    ),
)


def engine_cases():
    """Return the cases of the engine: each twin in fast/, the variants of attention, and the delta rule in chunks.

    Each twin is called with the inputs of its textbook function. It passes complex arrays to that function, so the
    complex step compares the backward of the twin with the forward of the textbook function. The list is empty if the
    folder fast/ does not exist.
    """
    if find_spec("minitransformer.fast") is None:
        return []
    from minitransformer import fast
    from minitransformer.fast.attention import recomputed
    from minitransformer.fast.delta_chunks import in_chunks
    from minitransformer.fast.head_groups import in_head_groups
    from minitransformer.fast.query_blocks import in_query_blocks

    def of_twin(name, draw):
        def draw_for_twin(rng):
            function, inputs, options = draw(rng)
            return Call(getattr(fast, function.__name__), *inputs, **options)

        return Case(f"fast.{name}", draw_for_twin)

    def draw_chunks(rng):
        return of_recurrence(in_chunks, *(normal(rng, *shape) for shape in OF_STATES), positions=2)

    rng = np.random.default_rng(0)
    shapes, masked = shapes_of(H, K), {"drawn": mask_with_empty_row}
    return [
        *(of_twin(name, draw) for name, draw in EXAMPLES.items() if draw(rng)[0] in TWINS),
        case("in_head_groups", in_head_groups, *shapes, **masked, attention=attention, scale=0.7, groups=2),
        case("in_query_blocks", in_query_blocks, *shapes, attention=attention, mask=CAUSAL, scale=0.7, queries=2),
        Case("in_chunks", draw_chunks),
        case("recomputed", recomputed, *shapes, mask=CAUSAL, scale=0.7),
    ]


CASES = [*FUNCTIONS, *MODULES, ONE_PAGE, *engine_cases()]
