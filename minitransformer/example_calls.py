"""Example calls of the functions in layers/ and losses.py.

cases.py checks their gradients, and fast/ compares each twin with its textbook function on them. Most sizes differ from
each other, so that a check fails if a backward pass confuses two axes. The inputs are random and of order 1, so no γ is
1 and no bias is 0.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minitransformer.layers.activations import gelu, relu, silu
from minitransformer.layers.attention import attention, causal_mask, masked_softmax, scaled_dot_product
from minitransformer.layers.dropout import dropout
from minitransformer.layers.embedding import embedding, unembedding
from minitransformer.layers.feed_forward import swiglu
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.linear import linear
from minitransformer.layers.lora import low_rank
from minitransformer.layers.positions import rotary
from minitransformer.layers.rms_norm import rms_norm
from minitransformer.layers.softmax import log_softmax, softmax
from minitransformer.losses import cross_entropy

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


def class_weights(rng):
    return {"weight": rng.random(V) + 0.5}


def dropout_on_weights(rng):
    """Return the option `on_weights` of attention, which applies dropout with a fixed mask."""
    keep = rng.random((B, H, TQ, TK)) < 0.7

    def on_weights(weights):
        return dropout(weights, keep=keep, p=0.3)

    return {"on_weights": on_weights}


def masked_and_dropped(rng):
    """Return the option `weigh` of scaled_dot_product, a softmax with a mask and with dropout."""
    return {"weigh": partial(masked_softmax, **mask_with_empty_row(rng), **dropout_on_weights(rng))}


def shapes_of(heads, kv_heads):
    """Return the shapes of queries, keys and values. The values have one channel more than the keys."""
    return (B, heads, TQ, D), (B, kv_heads, TK, D), (B, kv_heads, TK, D + 1)


def some_ids(rng):
    return ids(rng, B, T)


def some_targets(rng):
    return targets(rng, B, T)


def example(function, *inputs, drawn=None, **options) -> Callable[..., tuple[Any, list, dict]]:
    """Return draw(rng) -> (function, inputs, options), an example call of a function.

    Each of `inputs` is the shape of an array of normally distributed numbers, or a function that draws the input from a
    random generator. `drawn`, if given, is a function that draws further options.
    """

    def draw(rng):
        arrays = [normal(rng, *one) if isinstance(one, tuple) else one(rng) for one in inputs]
        return function, arrays, {**options, **(drawn(rng) if drawn else {})}

    return draw


X, LOGITS, SQUARE, CAUSAL = (B, T, C), (B, T, V), (B, H, T, T), causal_mask(TQ, TK)
LOSS = (cross_entropy, LOGITS, some_targets)
EXAMPLES = {
    "linear": example(linear, X, (C, F), (F,)),
    "linear, no bias": example(linear, X, (C, F)),
    "linear, square": example(linear, X, (C, C), (C,)),
    "low_rank": example(low_rank, X, (C, 3), (3, F), scale=0.7),
    "low_rank, square": example(low_rank, X, (C, C), (C, C)),
    "embedding": example(embedding, some_ids, (V, C)),
    "unembedding": example(unembedding, X, (V, C)),
    "rotary, half": example(rotary, (B, H, T, C), positions=np.arange(3, 3 + T), base=100.0),
    "rotary, interleaved": example(
        rotary,
        (B, H, T, C),
        drawn=lambda rng: {"positions": rng.permutation(9)[:T]},
        layout="interleaved",
    ),
    "rotary, scaled": example(rotary, (B, H, T, C), positions=np.arange(T), scaling=LLAMA3),
    "layer_norm": example(layer_norm, X, (C,), (C,)),
    "layer_norm, ε = 0.5": example(layer_norm, X, (C,), (C,), eps=0.5),
    "rms_norm": example(rms_norm, X, (C,)),
    "rms_norm, ε = 0.5": example(rms_norm, X, (C,), eps=0.5),
    "softmax": example(softmax, X),
    "softmax, axis 1": example(softmax, X, axis=1),
    "log_softmax": example(log_softmax, X),
    "log_softmax, axis 1": example(log_softmax, X, axis=1),
    "scaled_dot_product": example(scaled_dot_product, *shapes_of(H, H)),
    "scaled_dot_product, square": example(scaled_dot_product, (B, T, T), (B, T, T), (B, T, T), scale=0.7),
    "scaled_dot_product, masked, dropout": example(scaled_dot_product, *shapes_of(H, H), drawn=masked_and_dropped),
    "masked_softmax": example(masked_softmax, (B, H, TQ, TK), drawn=mask_with_empty_row, on_weights=None),
    "masked_softmax, dropout": example(masked_softmax, (B, H, TQ, TK), drawn=dropout_on_weights, mask=CAUSAL),
    "attention": example(attention, *shapes_of(H, H)),
    "attention, square": example(attention, SQUARE, SQUARE, SQUARE),
    "attention, causal": example(attention, *shapes_of(H, H), mask=CAUSAL),
    "attention, masked row": example(attention, *shapes_of(H, H), drawn=mask_with_empty_row),
    "attention, grouped": example(attention, *shapes_of(H, K), drawn=mask_with_empty_row, scale=0.7),
    "attention, dropout": example(attention, *shapes_of(H, K), drawn=dropout_on_weights),
    "relu": example(relu, X),
    "silu": example(silu, X),
    "swiglu": example(swiglu, (B, T, F), (B, T, F)),
    "gelu": example(gelu, X),
    "gelu, tanh": example(gelu, X, approximate="tanh"),
    "dropout": example(dropout, X, drawn=lambda rng: {"keep": rng.random(X) < 0.7}, p=0.3),
    "cross_entropy": example(*LOSS),
    "cross_entropy, sum": example(*LOSS, reduction="sum"),
    "cross_entropy, none": example(*LOSS, reduction="none"),
    "cross_entropy, weighted, smoothed": example(*LOSS, drawn=class_weights, label_smoothing=0.2),
    "cross_entropy, none, weighted, smoothed": example(
        *LOSS, drawn=class_weights, label_smoothing=0.2, reduction="none"
    ),
}
