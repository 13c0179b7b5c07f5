"""Attention with the heads divided into groups, which are computed in threads.

Heads are independent of each other. Divide the key–value heads, with their query heads, into groups g:

    y_g = attention(q_g, k_g, v_g)                  (1)
    y = y_1, y_2, … concatenated                    (2)

Backward. An entry of q, k or v affects only the y of the same group, so the gradients are concatenated in the same way:

    dq_g, dk_g, dv_g = attention's backward of dy_g             (3)

The matrix library would divide each of the small products among the cores, and wait at the end of each. Without groups,
a training step of the size `baby` in one process takes 1.5 to 3 times as long while other programs use the cores.
"""

import numpy as np

from minitransformer.system.cores import side_by_side, threads


def in_head_groups(q, k, v, *, attention, mask, groups=None, **options):
    """Return attention(q, k, v, mask=mask, **options), computed in groups of heads (default: one group per thread).

    Saved for backward: the arrays that `attention` saves for each group.
    """
    kv_heads = k.shape[-3]
    count = min(groups or threads(), kv_heads)
    ends = [kv_heads * g // count for g in range(1, count)]
    query_ends = [end * (q.shape[-3] // kv_heads) for end in ends]

    def split(x, ends):
        return np.split(x, ends, axis=-3)

    has_heads = mask is not None and mask.ndim > 2 and mask.shape[-3] > 1
    masks = split(mask, query_ends) if has_heads else [mask] * count
    jobs = zip(split(q, query_ends), split(k, ends), split(v, ends), masks, strict=True)
    pairs = side_by_side(lambda job: attention(*job[:3], mask=job[3], **options), jobs)  # (1)
    y = np.concatenate([y for y, _ in pairs], axis=-3)  # (2)

    def backward(dy):
        jobs = zip(pairs, split(dy, query_ends), strict=True)
        gradients = side_by_side(lambda job: job[0][1](job[1]), jobs)  # (3)
        return tuple(np.concatenate(groups, axis=-3) for groups in zip(*gradients, strict=True))  # (3)

    return y, backward
