"""Attention, computed by the fastest method for the length of the sequence.

Short sequences compute all pairs of a query and a key at once. Longer sequences process a few queries at a time, and
skip keys that the mask forbids (see query_blocks.py). Very long sequences compute the weights of each block again in
backward instead of saving them, so that memory grows with the length and not with its square, and one head at a time.
If there are many weights, the heads are divided among threads (see head_groups.py). `on_weights` requires all weights,
so it always uses the first method.

The result is the same, with one exception. If a key or value that the mask hides from all queries is not finite, the
textbook may return NaN, whereas the methods for longer sequences return finite numbers, because they skip such keys.
"""

import math
from functools import partial

import numpy as np

from minitransformer.fast.head_groups import in_head_groups
from minitransformer.fast.query_blocks import in_query_blocks
from minitransformer.fast.registration import twin_of
from minitransformer.fast.softmax import softmax
from minitransformer.layers import attention as textbook
from minitransformer.layers.checks import check_attention

MEDIUM = 192 * 192  # pairs of a query and a key; with more and a mask, blocks of queries are faster
VERY_LONG = 1024 * 1024  # pairs; with more, the weights take more memory than all other arrays that a layer saves
QUERIES = 128  # in a block of a very long sequence
MANY = 1 << 19  # weights of all heads and sequences; with more, it is faster to divide the heads among threads


def some_masks(causal_mask, rng):
    return [causal_mask(*shape) for shape in ((4, 4), (2, 5), (5, 2))]


@twin_of(textbook.causal_mask, "1574b56ea2a5", cases=(some_masks,))
def causal_mask(Tq: int, Tk: int):
    """Return the causal mask (Tq, Tk) as a read-only view of Tq + Tk booleans.

    The rows overlap in memory: each begins one boolean before the row above it. In a long sequence, an array of Tq · Tk
    booleans would take too much memory.
    """
    allowed_then_not = np.arange(Tq + Tk) < Tk
    allowed_then_not.flags.writeable = False
    return np.ndarray((Tq, Tk), bool, allowed_then_not, offset=max(Tq - 1, 0), strides=(-1, 1))


@twin_of(
    textbook.attention,
    "738b713dd6eb",
    repeats=(textbook.scaled_dot_product, textbook.masked_softmax),
    cases=("attention", "attention, causal", "attention, masked row", "attention, grouped", "attention, dropout"),
)
def attention(q, k, v, *, mask=None, scale=None, on_weights=None):
    """Attend from q (..., H, Tq, D) to k (..., K, Tk, D) and v (..., K, Tk, Dv). Returns y (..., H, Tq, Dv).

    Saved for backward: the arrays of the chosen method.
    """
    check_attention(q, k, v, mask)
    Tq, D = q.shape[-2:]
    Tk = k.shape[-2]
    options = {"mask": mask, "scale": 1 / math.sqrt(D) if scale is None else float(scale)}
    if on_weights is not None:
        return all_at_once(q, k, v, on_weights=on_weights, **options)
    way = all_at_once
    if Tq * Tk >= VERY_LONG:
        way = partial(in_query_blocks, attention=recomputed, queries=QUERIES)
    elif Tq * Tk >= MEDIUM and mask is not None:
        way = partial(in_query_blocks, attention=all_at_once)
    if math.prod(q.shape[:-1]) * Tk >= MANY:
        # The weights of one head for a block of queries stay in the cache; those of several heads do not.
        groups = k.shape[-3] if Tq * Tk >= VERY_LONG else None
        return in_head_groups(q, k, v, attention=way, groups=groups, **options)
    return way(q, k, v, **options)


def recomputed(q, k, v, *, mask, scale):
    """Compute attention without saving the weights, which the backward pass computes again.

    Saved for backward: q (..., H, Tq, D), k (..., K, Tk, D), v (..., K, Tk, Dv), and mask (Tq, Tk) if there is one.
    """

    def backward(dy):
        return weights_of(q, k, v, mask=mask, scale=scale)[1](dy)

    return all_at_once(q, k, v, mask=mask, scale=scale)[0], backward


def all_at_once(q, k, v, *, mask, scale, on_weights=None):
    """Compute attention for all pairs of a query and a key at once. The arguments must have been checked.

    Saved for backward: the arrays of weights_of.
    """
    weights_grouped, backward = weights_of(q, k, v, mask=mask, scale=scale, on_weights=on_weights)
    return ungroup_heads(weights_grouped @ v, q.shape[-3]), backward  # (3)


def weights_of(q, k, v, *, mask, scale, on_weights=None):
    """Return the weights, which attention multiplies by v, and the backward function of attention.

    Saved for backward, with R = H/K · Tq rows for each key–value head: q_grouped (..., K, R, D), k (..., K, Tk, D),
    v (..., K, Tk, Dv), weights_grouped (..., K, R, Tk), and the arrays that softmax and on_weights save.
    """
    H, K = q.shape[-3], k.shape[-3]
    q_grouped = group_heads(q, K)
    scores = ungroup_heads((q_grouped * scale) @ k.swapaxes(-1, -2), H)  # (1)
    if mask is not None:
        np.copyto(scores, -np.inf, where=~mask)  # (7)
    weights, softmax_backward = softmax(scores)  # (8)
    weights_backward = None
    if on_weights is not None:
        weights, weights_backward = on_weights(weights)  # (9)
    weights_grouped = group_heads(weights, K)

    def backward(dy):
        dy_grouped = group_heads(dy, K)
        dv = weights_grouped.swapaxes(-1, -2) @ dy_grouped  # (4)
        dweights = ungroup_heads(dy_grouped @ v.swapaxes(-1, -2), H)  # (4)
        if weights_backward is not None:
            dweights = weights_backward(dweights)  # (10)
        dscores = group_heads(softmax_backward(dweights), K)  # (5)
        dq = ungroup_heads(dscores @ k, H)
        dq *= scale  # (6)
        dk = dscores.swapaxes(-1, -2) @ q_grouped
        dk *= scale  # (6)
        return dq, dk, dv

    return weights_grouped, backward


def group_heads(x, K):
    """Combine the query heads of each group in x (..., H, Tq, n) into one head. Return an array (..., K, G·Tq, n).

    The G query heads of a group are neighbours and read the same keys and values, so a reshape turns them into one head
    with G·Tq queries. The keys and values need no copies, and the products of backward sum over the group as well.
    """
    *batch, H, Tq, n = x.shape
    return x.reshape(*batch, K, H // K * Tq, n)


def ungroup_heads(x, H):
    """Reshape x (..., K, G·Tq, n) to H query heads, (..., H, Tq, n). This is the inverse of group_heads."""
    *batch, K, rows, n = x.shape
    return x.reshape(*batch, H, K * rows // H, n)
