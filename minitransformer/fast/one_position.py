"""The blocks for one new position, without calls of the layers. Decoding uses this function for each token.

The product of one row with a matrix takes as long as reading the matrix. In a small model this is less than the time to
call the layers, each of which looks up its twin, checks its arguments, and creates a backward pass that is never
called. Here the same computations are written out in one place. The newest position may attend to all others, so there
is no mask. The G query heads that share a key–value head are G rows of one product. A token takes 0.48 of the time at
the size `tiny`, and 0.44 at `nano`.

SUPPORTED lists the classes, and the attributes of each, that are written out here. A block with anything else, for
example a hook, an adapter or a layer of another class, runs as in the textbook, and so do several positions at once.
"""

import math
from functools import partial
from types import FunctionType, SimpleNamespace

import numpy as np

from minitransformer import transformer as textbook
from minitransformer.fast.registration import twin_of
from minitransformer.layers import multi_head_attention
from minitransformer.layers.attention import attention, masked_softmax, scaled_dot_product
from minitransformer.layers.block import TransformerBlock
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


def is_supported(module, dtype) -> bool:
    """Return True if a module and all modules within it have supported attributes and Parameters of `dtype`."""
    types, attributes = SUPPORTED.get(type(module)), vars(module)
    if types is None or attributes.keys() != types.keys():
        return False
    for name, value in attributes.items():
        if type(value) not in types[name]:
            return False
        if isinstance(value, Module):
            if not is_supported(value, dtype):
                return False
        elif isinstance(value, Parameter) and value.data.dtype != dtype:
            return False
    return True


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
    "d41cbbf7f9fd",
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


def mapped(linear, x):
    """Apply a Linear to x (P, I)."""
    y = x @ linear.weight.data
    return y if linear.bias is None else y + linear.bias.data


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
    """Apply a FeedForward or a GatedFeedForward to x (P, C)."""
    up = mapped(feed_forward.up, x)
    if type(feed_forward) is GatedFeedForward:
        return mapped(feed_forward.down, faster(feed_forward.activation)(mapped(feed_forward.gate, x), up)[0])
    return mapped(feed_forward.down, faster(feed_forward.activation)(up)[0])
