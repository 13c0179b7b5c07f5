"""Attention in blocks, for very long sequences: the result of layers/attention.py, without all T² weights in memory.

An average of values weighted by a softmax can be computed block by block (Milakov and Gimelshein, 2018; Dao et al.,
2022). For each query, m is the largest score so far, l the sum of the exponentials so far, and o the weighted sum of
the values so far. The exponentials in l and o are those of the scores minus m.

Forward, for a block of queries q and the scale s. Start with m = −∞, l = 0 and o = 0. For each block of keys k and
values v in turn:

    scores = (s q) kᵀ, −∞ where the mask is False               (1)
    m′ = max(m, largest of the scores)                          (2)
    e  = exp(scores − m′)    c = exp(m − m′)                    (3)
    l ← c l + Σ e            o ← c o + e v                      (4)

The factor c rescales the sums from the old maximum to the new one, and then m ← m′. While a query has seen no key,
m′ = −∞ is replaced by 0 in (3), and c = 0. After the last block,

    y = o / l    λ = m + log l                                  (5)

A query that may attend to no key ends with m = −∞ and l = 0. They are replaced by 0 and 1, so that y = 0 as in
layers/softmax.py.

Backward. The weights were not saved. They are computed again, block by block, from the scores of (1) and from λ, the
logarithm of the softmax's denominator:

    weights = exp(scores − λ)                                   (6)

The term that the softmax's backward subtracts in each row (see layers/softmax.py) is a sum over all keys j, but it can
be computed from y: with dweights = dy vᵀ, for query i and channels d,

    δ_i = Σ_j weights_ij Σ_d dy_id v_jd = Σ_d dy_id Σ_j weights_ij v_jd = Σ_d dy_id y_id        (7)

So each block can be processed separately, and is added to the sums that layers/attention.py computes at once:

    dv += weightsᵀ dy    dscores = weights · (dy vᵀ − δ)        (8)
    dq += s · dscores k    dk += dscoresᵀ (s q)                 (9)

The cost is one additional product, since (1) is computed twice. The advantage is memory that grows with T instead of T²
(except for a mask of T² booleans; a causal mask is a view of 2 T). A block that the mask forbids completely is skipped;
under a causal mask this is nearly half of the blocks. Over 2,048 positions this takes 0.6 of the time of attention that
computes all pairs at once, and 1.1 times the time of query_blocks.py, which saves the weights of the remaining blocks.
"""

import numpy as np

from minitransformer.fast.sums import feature_sum
from minitransformer.layers.attention import group_heads, ungroup_heads

QUERIES = KEYS = 256  # in a block


def blocked_attention(q, k, v, *, mask=None, scale, queries=QUERIES, keys=KEYS):
    """Attend from q (..., H, Tq, D) to k (..., K, Tk, D) and v (..., K, Tk, Dv). Returns y (..., H, Tq, Dv).

    attention() checks the arguments and calls this function for very long sequences. `queries` and `keys` are the
    numbers of queries and of keys in a block. The query heads that share a key–value head are treated as one head with
    more queries, as in layers/attention.py.

    Saved for backward: q (..., H, Tq, D), k (..., K, Tk, D), v (..., K, Tk, Dv), mask (..., Tq, Tk) or None,
    y (..., H, Tq, Dv), and λ (..., H, Tq, 1).
    """
    H, Tq = q.shape[-3:-1]
    K, Tk = k.shape[-3:-1]
    if mask is not None:
        mask = np.broadcast_to(mask, (*mask.shape[:-2], Tq, Tk))
    row_blocks = [slice(start, min(start + queries, Tq)) for start in range(0, Tq, queries)]
    key_blocks = [slice(start, min(start + keys, Tk)) for start in range(0, Tk, keys)]

    def rows_of(x, rows):
        """Return some rows of x (..., H, Tq, n), with the heads of a group together, as (..., K, G·rows, n)."""
        return group_heads(x[..., rows, :], K)

    def blocks_seen_by(q_rows, rows):
        """Yield (columns, scores (..., K, G·rows, columns)) for each block of keys that the mask does not forbid."""
        for columns in key_blocks:
            seen = None if mask is None else mask[..., rows, columns]
            if seen is not None and not seen.any():
                continue
            scores = q_rows @ k[..., columns, :].swapaxes(-1, -2)  # (1)
            if seen is not None and not seen.all():
                by_head = ungroup_heads(scores, H)
                np.copyto(by_head, -np.inf, where=~seen)  # (1)
                scores = group_heads(by_head, K)
            yield columns, scores

    y = np.empty((*q.shape[:-1], v.shape[-1]), np.result_type(q, k, v))
    lam = np.empty((*q.shape[:-1], 1), np.result_type(q, k))
    for rows in row_blocks:
        q_rows = rows_of(q, rows) * scale
        largest = np.full((*q_rows.shape[:-1], 1), -np.inf, q.real.dtype)
        base = np.zeros_like(largest)  # `largest`, but 0 while it is −∞
        total = np.zeros(largest.shape, lam.dtype)
        o = np.zeros((*q_rows.shape[:-1], v.shape[-1]), y.dtype)
        for columns, scores in blocks_seen_by(q_rows, rows):
            newest = np.maximum(largest, scores.real.max(axis=-1, keepdims=True))  # (2)
            base = np.where(newest == -np.inf, 0, newest).astype(newest.dtype, copy=False)
            scores -= base
            e = np.exp(scores, out=scores)  # (3)
            c = np.exp(largest - base)  # (3)
            total = c * total + feature_sum(e)  # (4)
            o = c * o + e @ v[..., columns, :]  # (4)
            largest = newest
        total[total == 0] = 1
        y[..., rows, :] = ungroup_heads(o / total, H)  # (5)
        lam[..., rows, :] = ungroup_heads(base + np.log(total), H)  # (5)

    def backward(dy):
        dq = np.empty_like(q)
        dk, dv = np.zeros_like(k), np.zeros_like(v)
        for rows in row_blocks:
            q_rows, dy_rows = rows_of(q, rows) * scale, rows_of(dy, rows)
            delta = feature_sum(rows_of(y, rows) * dy_rows)  # (7)
            lam_rows = rows_of(lam, rows)
            dq_rows = np.zeros_like(q_rows)
            for columns, scores in blocks_seen_by(q_rows, rows):
                scores -= lam_rows
                weights = np.exp(scores, out=scores)  # (6)
                dv[..., columns, :] += weights.swapaxes(-1, -2) @ dy_rows  # (8)
                dscores = dy_rows @ v[..., columns, :].swapaxes(-1, -2)  # (8)
                dscores -= delta  # (8)
                dscores *= weights  # (8)
                dq_rows += dscores @ k[..., columns, :]  # (9)
                dk[..., columns, :] += dscores.swapaxes(-1, -2) @ q_rows  # (9)
            dq[..., rows, :] = ungroup_heads(dq_rows * scale, H)  # (9)
        return dq, dk, dv

    return y, backward
