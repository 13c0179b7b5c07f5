"""The blocks and the logits for one new position. Decoding uses these functions for each token.

The product of one row with a matrix takes as long as reading the matrix. In a small model this is less than the time to
call the layers, each of which looks up its twin, checks its arguments, and creates a backward pass that is never
called. Here the same computations are written out in one place. The newest position may attend to all others, so there
is no mask. The G query heads that share a key–value head are G rows of one product. A token takes 0.46 of the time at
the size `tiny`, and 0.42 at `nano`.

Reading a large weight takes longer than waking a thread, so two threads read a half each. A token of GPT-2 takes 0.79
of the time on two cores, 1.04 on two busy ones, and 1.06 on one.

SUPPORTED lists the classes, and the attributes of each, that are written out here. A block with anything else, for
example a hook, an adapter or a layer of another class, runs as in the textbook, and so do several positions at once.
"""

import math
from functools import partial
from itertools import pairwise
from operator import is_
from types import FunctionType, SimpleNamespace
from weakref import WeakKeyDictionary

import numpy as np

from minitransformer import transformer as textbook
from minitransformer.fast.gelu import fast_distribution
from minitransformer.fast.registration import twin_of
from minitransformer.layers import embedding, multi_head_attention
from minitransformer.layers.activations import gelu, gelu_exact
from minitransformer.layers.attention import attention, masked_softmax, scaled_dot_product
from minitransformer.layers.block import TransformerBlock
from minitransformer.layers.checks import check_unembedding
from minitransformer.layers.dropout import Dropout
from minitransformer.layers.feed_forward import FeedForward, GatedFeedForward, swiglu
from minitransformer.layers.key_value_cache import LayerCache
from minitransformer.layers.layer_norm import LayerNorm, layer_norm
from minitransformer.layers.linear import Linear, linear, rows
from minitransformer.layers.multi_head_attention import MultiHeadAttention
from minitransformer.layers.positions import Rotary, rotary
from minitransformer.layers.rms_norm import RMSNorm, rms_norm
from minitransformer.layers.softmax import softmax
from minitransformer.module import Identity, Module, Parameter, faster
from minitransformer.system.cores import ENOUGH_FOR_THREADS, side_by_side

PARTS = 2  # of a large weight, each read by one thread; with 4, a token takes 1.2 times as long on busy cores

# {class: {attribute of its instances: supported types}}. A hook is an attribute, too, and so in no list.
NUMBER, NOTHING = (int, float, np.integer, np.floating), type(None)
SUPPORTED = {
    TransformerBlock: {
        "norm1": (LayerNorm, RMSNorm),
        "attention": (MultiHeadAttention,),
        "residual_mid": (Identity,),
        "norm2": (LayerNorm, RMSNorm),
        "feed_forward": (FeedForward, GatedFeedForward),
        "dropout": (Dropout,),
    },
    MultiHeadAttention: {
        "d_head": NUMBER,
        **dict.fromkeys(("w_q", "w_k", "w_v", "w_o"), (Linear,)),
        **dict.fromkeys(("q_norm", "k_norm"), (NOTHING,)),
        "rotary": (Rotary, NOTHING),
        **dict.fromkeys(("q", "k", "v", "weights", "heads"), (Identity,)),
        "dropout": (Dropout,),
    },
    FeedForward: {"up": (Linear,), "down": (Linear,), "activation": (FunctionType, partial)},
    GatedFeedForward: {**dict.fromkeys(("gate", "up", "down"), (Linear,)), "activation": (FunctionType,)},
    Linear: {"weight": (Parameter,), "bias": (Parameter, NOTHING)},
    LayerNorm: {"gamma": (Parameter,), "beta": (Parameter,), "eps": NUMBER},
    RMSNorm: {"gamma": (Parameter,), "eps": NUMBER},
    Rotary: {"base": NUMBER, "layout": (str,), "scaling": (dict, NOTHING)},
    Dropout: {"p": NUMBER},
    Identity: {},
}


# {block: (the modules within, the classes and attributes of all, the Parameters)} when it was last found supported.
CHECKED: WeakKeyDictionary[Module, tuple] = WeakKeyDictionary()


def is_supported(block, dtype) -> bool:
    """Return True if a block and all modules within it have supported attributes and Parameters of `dtype`.

    SUPPORTED is looked up only if a class or an attribute is another object than at the last check, and the dtypes
    every time, because an assignment to `Parameter.data` may change them.
    """
    within, objects, parameters = CHECKED.get(block, ((), (), ()))  # none of which refers to the block, the weak key
    present = classes_and_attributes([block, *within])
    if len(present) != len(objects) or not all(map(is_, present, objects)):
        within, parameters = [module for _, module in block.named_modules()], block.parameters()
        if not all(map(has_supported_attributes, [block, *within])):
            return False
        CHECKED[block] = within, classes_and_attributes([block, *within]), parameters
    return all(parameter.data.dtype == dtype for parameter in parameters)


def classes_and_attributes(modules) -> list:
    return [part for module in modules for part in (type(module), *vars(module).values())]


def has_supported_attributes(module) -> bool:
    types, attributes = SUPPORTED.get(type(module)), vars(module)
    return (
        types is not None
        and attributes.keys() == types.keys()
        and all(type(attributes[name]) in types[name] for name in types)
    )


def two_tokens(through_blocks, rng):
    """Decode two positions of two sequences with a block of GPT-2, then of Llama. Return x, the keys and the values."""
    gpt2 = {"feed_forward": "gelu_tanh"}
    llama = {"norm": "rms_norm", "feed_forward": "swiglu", "bias": False, "n_kv_heads": 1, "rotary": Rotary(100.0)}
    arrays = []
    for fields in (gpt2, llama):
        blocks = [TransformerBlock(4, 2, 5, dtype=np.float64, **fields)]
        for parameter in (parameter for block in blocks for parameter in block.parameters()):
            parameter.data = rng.normal(size=parameter.data.shape)
        cache = SimpleNamespace(layers=[LayerCache(2) for _ in blocks])
        for t in range(2):
            masks, positions = [np.ones((1, t + 1), bool)], np.array([t])
            x = rng.normal(size=(2, 1, 4))
            arrays.append(through_blocks(blocks, x, masks=masks, positions=positions, cache=cache))
        arrays += [array for layer in cache.layers for array in (layer.keys, layer.values)]
    return arrays


@twin_of(
    textbook.through_blocks,
    "e3c3df64b979",
    repeats=(
        Module.__call__,
        TransformerBlock.forward,
        MultiHeadAttention.forward,
        MultiHeadAttention.attend,
        multi_head_attention.as_heads,
        multi_head_attention.into_heads,
        multi_head_attention.through,
        multi_head_attention.projections,
        multi_head_attention.split,
        multi_head_attention.merge,
        attention,
        scaled_dot_product,
        masked_softmax,
        softmax,
        FeedForward.forward,
        gelu,
        gelu_exact,
        GatedFeedForward.forward,
        swiglu,
        Linear.forward,
        linear,
        LayerNorm.forward,
        layer_norm,
        RMSNorm.forward,
        rms_norm,
        Rotary.forward,
    ),
    cases=(two_tokens,),
)
def through_blocks(blocks, x, *, masks, positions, cache):
    """Apply the blocks in order to x (..., T, C), each with its mask. `cache` stores arrays for later positions."""
    alone = cache is not None and x.shape[-2] == 1
    for i, (block, mask) in enumerate(zip(blocks, masks, strict=True)):
        layer_cache = None if cache is None else cache.layers[i]
        if alone and mask.all() and is_supported(block, x.dtype):
            x = apply_block(block, rows(x), x.shape[:-2], positions, layer_cache).reshape(x.shape)
        else:
            x = block(x, mask=mask, positions=positions, cache=layer_cache)[0]
    return x


def apply_block(block, x, batch, positions, cache):
    """Apply a block to x (P, C), which has one position of each sequence. `batch` is the shape of the batch."""
    r = x + attended(block.attention, normalized(block.norm1, x), batch, positions, cache)
    return r + fed_forward(block.feed_forward, normalized(block.norm2, r))


def normalized(norm, x):
    """Apply a LayerNorm or an RMSNorm to x (P, C)."""
    C, shifts = x.shape[-1], type(norm) is LayerNorm
    centred = x - np.add.reduce(x, axis=-1, keepdims=True) / C if shifts else x
    mean_square = np.vecdot(centred, centred)[..., None] / C
    y = centred * (norm.gamma.data / np.sqrt(mean_square + float(norm.eps)))
    return y + norm.beta.data if shifts else y


def mapped(linear, x, part=slice(None)):
    """Apply a Linear to x (P, I), and return a part of the O columns of the result."""
    y = x @ linear.weight.data[:, part]
    return y if linear.bias is None else y + linear.bias.data[part]


def divided(length, entries):
    """Return the slices of range(length) in which threads read an array of so many entries.

    Their number does not depend on the number of threads, so the results are bit-identical for any number of them.
    """
    count = PARTS if entries >= ENOUGH_FOR_THREADS else 1
    return [slice(start, stop) for start, stop in pairwise(length * i // count for i in range(count + 1))]


def attended(attention, x, batch, positions, cache):
    """Apply multi-head attention to x (P, C). Each position attends to itself and to all positions in the cache."""
    D = attention.d_head
    q, k, v = (mapped(w, x).reshape(*batch, -1, 1, D) for w in (attention.w_q, attention.w_k, attention.w_v))
    turn = attention.rotary
    if turn is not None:
        options = {"positions": positions, "base": turn.base, "layout": turn.layout, "scaling": turn.scaling}
        turned = rotary(np.concatenate([q, k], axis=-3), **options)[0]
        H = q.shape[-3]
        q, k = turned[..., :H, :, :], turned[..., H:, :, :]
    keys, values = cache.append(k, v)  # (..., K, Tk, D)
    grouped = q.reshape(*batch, keys.shape[-3], -1, D)  # (..., K, G, D)
    scores = (grouped * (1 / math.sqrt(D))) @ keys.swapaxes(-1, -2)
    scores -= scores.max(axis=-1, keepdims=True)
    e = np.exp(scores, out=scores)
    heads = e @ values
    heads /= e.sum(axis=-1, keepdims=True)
    return mapped(attention.w_o, heads.reshape(len(x), -1))


def fed_forward(feed_forward, x):
    """Apply a FeedForward or a GatedFeedForward to x (P, C).

    If the weights are large, each thread computes some of the hidden entries and the terms that these add to the
    result. So it reads its own columns of the first weights and its own rows of the last.
    """
    weight, bias = feed_forward.up.weight.data, feed_forward.down.bias
    parts = divided(weight.shape[1], weight.size)
    terms = side_by_side(partial(through_hidden, feed_forward, x), parts)
    y = sum(terms[1:], terms[0])
    return y if bias is None else y + bias.data


def through_hidden(feed_forward, x, part):
    """Return what a part of the hidden entries, a slice, adds to the result."""
    up = mapped(feed_forward.up, x, part)
    activation = feed_forward.activation
    if type(feed_forward) is GatedFeedForward:
        hidden = faster(activation)(mapped(feed_forward.gate, x, part), up)[0]
    elif activation is gelu and x.dtype == np.float32:
        hidden = up * fast_distribution(up)[0]  # without the slope
    else:
        hidden = faster(activation)(up)[0]
    return hidden @ feed_forward.down.weight.data[part]


@twin_of(embedding.unembedding, "246dbbd0ca1c", cases=("unembedding",))
def unembedding(x, weight):
    """Compare x (..., C) with each row of weight (V, C). Returns logits y (..., V).

    For one position and a large weight, each thread reads some of the rows.

    Saved for backward: x (..., C), weight (V, C).
    """
    check_unembedding(x, weight)
    parts = divided(len(weight), weight.size) if x.size == x.shape[-1] else [slice(None)]
    shares = side_by_side(lambda part: x @ weight[part].T, parts)  # (3)
    y = np.concatenate(shares, axis=-1) if len(parts) > 1 else shares[0]

    def backward(dy):
        return dy @ weight, rows(dy).T @ rows(x)  # (4) (5)

    return y, backward
