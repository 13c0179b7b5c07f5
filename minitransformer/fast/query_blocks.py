"""Attention of a few queries at a time, to no more keys than they may see.

Queries do not see each other. Let them be cut into blocks b, and let f_b be the first key that any query of the block
may see, and l_b the first after the last of them. All keys but f_b … l_b − 1 would get the weight 0, so, with the part
of the mask that belongs to these queries and keys,

    y_b = attention(q_b, k[f_b : l_b], v[f_b : l_b])            (1)
    y = y_1 above y_2 above …                       (2)

Backward. A query reaches y in its own block alone, but a key in every block that sees it:

    dq_b, dk_b, dv_b = attention's backward of dy_b             (3)
    dk[f_b : l_b] += dk_b    dv[f_b : l_b] += dv_b              (4)

Under a causal mask the first block has few keys and only the last one all of them: with eight blocks, 9/16 of the
scores are left to compute and to keep. Over 1,000 positions this takes 0.6 of the time of undivided attention, over 256
no more or less, by the machine. Unlike attention in blocks of queries *and* keys (see blocked_attention.py), it has all
keys of a query at hand, and so needs no running softmax, and no second look in backward: as long as the weights are not
too large it is the faster one.

Saved for backward: k (..., K, Tk, D), v (..., K, Tk, Dv), and the arrays that attention saves for each block.
"""

import numpy as np

FEWEST = 64  # queries in a block, for products that are large enough


def in_query_blocks(q, k, v, *, attention, mask, queries=None, **options):
    """Return attention(q, k, v, mask=mask, **options), computed for `queries` at a time; None: an eighth, at least 64.

    The shapes are those of attention(), in whose place there may be any function of q, k and v that keeps queries
    apart.
    """
    Tq, Tk = q.shape[-2], k.shape[-2]
    queries = max(FEWEST, -(-Tq // 8)) if queries is None else queries
    mask = np.broadcast_to(mask, (*mask.shape[:-2], Tq, Tk))
    q_shape, dtype = q.shape, np.result_type(q, k, v)
    y = np.empty_like(q, shape=(*q_shape[:-1], v.shape[-1]), dtype=dtype)
    blocks = []
    for start in range(0, Tq, queries):
        rows = slice(start, min(start + queries, Tq))
        keys = keys_seen(mask[..., rows, :])
        y_rows, block_backward = attention(
            q[..., rows, :], k[..., keys, :], v[..., keys, :], mask=mask[..., rows, keys], **options
        )  # (1)
        y[..., rows, :] = y_rows  # (2)
        blocks.append((rows, keys, block_backward))

    def backward(dy):
        dq = np.empty_like(dy, shape=q_shape, dtype=dtype)
        dk, dv = np.zeros_like(k, dtype=dtype), np.zeros_like(v, dtype=dtype)
        for rows, keys, block_backward in blocks:
            dq[..., rows, :], dk_keys, dv_keys = block_backward(dy[..., rows, :])  # (3)
            dk[..., keys, :] += dk_keys  # (4)
            dv[..., keys, :] += dv_keys  # (4)
        return dq, dk, dv

    return y, backward


def keys_seen(mask):
    """Return the slice from the first to the last key that a mask (..., Tk) allows anywhere; of none, the first key."""
    seen = np.flatnonzero(mask.any(axis=tuple(range(mask.ndim - 1))))
    return slice(seen[0], seen[-1] + 1) if seen.size else slice(0, 1)
