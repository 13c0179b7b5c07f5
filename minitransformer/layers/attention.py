"""Scaled dot-product attention (Vaswani et al., 2017), with masks and grouped heads.

Forward, for each head separately: queries q (Tq, D), keys k (Tk, D), values v (Tk, any width), scale s = 1/√D:

    scores  = (s q) kᵀ                              (1)
    scores  = −∞ where the mask is False            (2)
    weights = softmax(scores) over the keys         (3)
    y       = weights v                             (4)

Each query takes an average of the values, weighted by how well its key fits. The scale keeps the scores of
unit-variance queries and keys at unit variance, whatever D, so that the softmax does not begin saturated. A causal
mask lets query i see the keys 0 … i. A query that may see nothing gets zeros (see softmax.py).

Backward. From (4), a product of two matrices (see linear.py),

    dv = weightsᵀ dy    dweights = dy vᵀ            (5)

then back through the softmax, for each query by itself,

    dscores = weights · (dweights − Σ weights · dweights)      (6)

where a masked score has weight 0, hence gradient 0: (2) needs no line of its own. Last, from (1), another product,

    dq = s · dscores k    dk = s · dscoresᵀ q       (7)

with dscores transposed for dk: each key collects from every query that saw it. For Tq = Tk the shapes also fit without
the transpose, and that mistake has been published more than once. The softmax ignores a shift of all scores of a query,
so Σ over keys of dscores is zero, and a bias added to every key (q · b for each score of a query) has gradient zero.

**Grouped heads** (Ainslie et al., 2023): K key–value heads serve H = G·K query heads, those of a group being
neighbours.
The G query heads of a group see the same keys, so they are one head with G·Tq queries: a reshape, and the products (5)
and (7) sum dk and dv over the group by themselves. G = 1 is ordinary attention, K = 1 multi-query attention.

Saved for backward: q, k, v and the weights (..., H, Tq, Tk), which are the largest.

**Longer sequences** take other ways to the same result: a few queries at a time, which need not look at keys that the
mask forbids (see query_blocks.py), some heads in one thread and the others in another (see head_groups.py), and at last
blocks of queries and keys that never hold all weights at once (see blocked_attention.py).
"""

import math
from functools import partial

import numpy as np

from minitransformer.layers.blocked_attention import blocked_attention
from minitransformer.layers.head_groups import in_head_groups
from minitransformer.layers.query_blocks import in_query_blocks
from minitransformer.layers.softmax import softmax

# Pairs of a query and a key from which on
MEDIUM = 192 * 192  # it is faster to take a few queries at a time, if there is a mask,
LONG = 512 * 512  # it is faster to take the heads side by side, and
VERY_LONG = 1024 * 1024  # the weights would take about as much memory as all else that a layer saves.


def causal_mask(Tq: int, Tk: int):
    """Return a boolean mask (Tq, Tk), True where a query may attend: to the keys up to its own position.

    The last query stands at the last key; with Tq < Tk the queries are the last Tq positions, as in cached decoding.
    """
    return np.tri(Tq, Tk, Tk - Tq, dtype=bool)


def causal_mask_view(Tq: int, Tk: int):
    """Return the causal mask as a read-only view of Tq + Tk − 1 booleans.

    Each row is the one above it, moved right by one. A long sequence needs this: Tq · Tk booleans are too many.
    """
    allowed_then_not = np.arange(Tq + Tk - 1) < Tk
    return np.lib.stride_tricks.sliding_window_view(allowed_then_not, Tk)[::-1]


def attention(q, k, v, *, mask=None, scale=None, on_weights=None):
    """Attend from q (..., H, Tq, D) to k (..., K, Tk, D) and v (..., K, Tk, Dv). Returns y (..., H, Tq, Dv).

    H is a multiple of K: query head h reads key–value head h // (H/K). `mask` is boolean, True = may attend, and
    broadcasts to (..., H, Tq, Tk). `scale` defaults to 1/√D. `on_weights` is a differentiable function applied to the
    weights (..., H, Tq, Tk) between (3) and (4), for dropout or to observe them; without one, longer sequences are
    attended to in other ways, and the weights of very long ones are never all there.
    Raises ValueError where the shapes do not fit, TypeError for a mask that is not boolean.
    """
    check_shapes(q, k, v)
    Tq, D = q.shape[-2:]
    Tk = k.shape[-2]
    options = {"mask": mask, "scale": 1 / math.sqrt(D) if scale is None else float(scale)}
    if mask is not None:
        check_mask(mask, (*q.shape[:-1], Tk))
    if on_weights is not None or Tq * Tk < MEDIUM:
        return plain_attention(q, k, v, on_weights=on_weights, **options)
    if Tq * Tk >= VERY_LONG:
        return in_head_groups(q, k, v, attention=blocked_attention, **options)
    way = plain_attention if mask is None else partial(in_query_blocks, attention=plain_attention)
    return in_head_groups(q, k, v, attention=way, **options) if Tq * Tk >= LONG else way(q, k, v, **options)


def plain_attention(q, k, v, *, mask, scale, on_weights=None):
    """Do what attention() does, which checks the arguments, with all pairs of a query and a key at once."""
    Tq, D = q.shape[-2:]
    kv_heads, Tk = k.shape[-3:-1]
    group_rows = q.shape[-3] // kv_heads * Tq
    q_shape, grouped = q.shape, (*q.shape[:-3], kv_heads, group_rows)
    q_grouped = q.reshape(*grouped, D)
    scores = ((q_grouped * scale) @ k.swapaxes(-1, -2)).reshape(*q_shape[:-1], Tk)  # (1)
    if mask is not None:
        np.copyto(scores, -np.inf, where=~mask)  # (2)
    weights, softmax_backward = softmax(scores)  # (3)
    weights_backward = None
    if on_weights is not None:
        weights, weights_backward = on_weights(weights)
    weights_grouped = weights.reshape(*grouped, Tk)
    y = (weights_grouped @ v).reshape(*q_shape[:-1], v.shape[-1])  # (4)

    def backward(dy):
        dy_grouped = dy.reshape(*grouped, v.shape[-1])
        dv = weights_grouped.swapaxes(-1, -2) @ dy_grouped  # (5)
        dweights = (dy_grouped @ v.swapaxes(-1, -2)).reshape(weights.shape)  # (5)
        if weights_backward is not None:
            dweights = weights_backward(dweights)
        dscores = softmax_backward(dweights).reshape(weights_grouped.shape)  # (6)
        dq = (dscores @ k).reshape(q_shape)
        dq *= scale  # (7)
        dk = dscores.swapaxes(-1, -2) @ q_grouped
        dk *= scale  # (7)
        return dq, dk, dv

    return y, backward


def check_shapes(q, k, v):
    """Raise ValueError, naming the shapes, unless q, k and v fit together."""
    if min(q.ndim, k.ndim, v.ndim) < 3:
        raise ValueError(f"attention: q {q.shape}, k {k.shape}, v {v.shape} must be (..., heads, positions, channels)")
    if q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1] or q.shape[:-3] != k.shape[:-3]:
        raise ValueError(
            f"attention: q {q.shape}, k {k.shape}, v {v.shape} do not fit: q and k must share channels, "
            "k and v heads and positions, and all three their leading axes"
        )
    if not k.shape[-2]:
        raise ValueError(f"attention: there are no keys to attend to, k is {k.shape}")
    if not k.shape[-3] or q.shape[-3] % k.shape[-3]:
        raise ValueError(f"attention: {q.shape[-3]} query heads are not a multiple of {k.shape[-3]} key-value heads")


def check_mask(mask, shape):
    """Raise TypeError unless the mask is boolean, ValueError unless it broadcasts to `shape`."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        kind = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"attention: the mask must be boolean (True = may attend), not {kind}")
    try:
        np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(f"attention: mask {mask.shape} does not broadcast to the scores' {shape}") from None
