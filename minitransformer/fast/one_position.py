"""The blocks for one new position, without calls of the layers. Decoding uses this function for each token.

The product of one row with a matrix takes as long as reading the matrix. In a small model this is less than the time to
call the layers, each of which looks up its twin, checks its arguments, and creates a backward pass that is never
called. Here the same computations are written out in one place. The newest position may attend to all others, so there
is no mask. The G query heads that share a key–value head are G rows of one product. A token takes 0.48 of the time at
the size `tiny`, and 0.44 at `nano`.

A block with a hook, an adapter or a layer of another class runs as in the textbook, and so do several positions at
once.
"""

import math

import numpy as np

from minitransformer import transformer as textbook
from minitransformer.fast.digests import twin_of
from minitransformer.fast.swiglu import swiglu
from minitransformer.layers.block import TransformerBlock
from minitransformer.layers.feed_forward import FeedForward, GatedFeedForward
from minitransformer.layers.layer_norm import LayerNorm
from minitransformer.layers.linear import Linear, rows
from minitransformer.layers.multi_head_attention import MultiHeadAttention
from minitransformer.layers.positions import Rotary, rotary
from minitransformer.layers.rms_norm import RMSNorm
from minitransformer.module import ENGINE_DTYPES, faster


@twin_of(textbook.through_blocks, "89c49649556d", imitates=(TransformerBlock, Rotary))
def through_blocks(blocks, x, *, mask, positions, cache):
    """Apply the blocks in order to x (..., T, C). The keys and values are appended to `cache`, if given."""
    alone = cache is not None and x.shape[-2] == 1 and {x.dtype} in ENGINE_DTYPES and mask.all()
    for i, block in enumerate(blocks):
        layer_cache = None if cache is None else cache.layers[i]
        if alone and is_standard(block, x.dtype):
            x = straight_through(block, rows(x), x.shape[:-2], positions, layer_cache).reshape(x.shape)
        else:
            x = block(x, mask=mask, positions=positions, cache=layer_cache)[0]
    return x


def is_standard(block, dtype) -> bool:
    """Return True if a block consists of standard classes, has weights of this dtype, and has no hooks."""
    attention, feed_forward = block.attention, block.feed_forward
    if type(attention) is not MultiHeadAttention or type(feed_forward) not in (FeedForward, GatedFeedForward):
        return False
    linears = [attention.w_q, attention.w_k, attention.w_v, attention.w_o, feed_forward.up, feed_forward.down]
    if type(feed_forward) is GatedFeedForward:
        linears.append(feed_forward.gate)
    watched = (block, block.norm1, attention, attention.q, attention.k, attention.v, attention.weights, attention.heads)
    watched += (block.residual_mid, block.norm2, feed_forward, *linears)
    watched += (attention.rotary,) if attention.rotary is not None else ()
    return (
        type(block) is TransformerBlock
        and {type(block.norm1), type(block.norm2)} <= {LayerNorm, RMSNorm}
        and type(attention.rotary) in (Rotary, type(None))
        and all(type(linear) is Linear and linear.weight.data.dtype == dtype for linear in linears)
        and not any(module._hooks for module in watched)
    )


def straight_through(block, x, batch, positions, cache):
    """Apply a block to x (P, C), one position of each sequence in a batch. `batch` is the shape of the batch."""
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
    """Apply a MultiHeadAttention to x (P, C). Each position attends to itself and to all positions in the cache."""
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
        return mapped(feed_forward.down, swiglu(mapped(feed_forward.gate, x), up)[0])
    return mapped(feed_forward.down, faster(feed_forward.activation)(up)[0])
