"""Scaled dot-product attention (Vaswani et al., 2017), with masks and grouped heads.

Each query takes an average of the values, each weighted by how well that value's key fits the query. A query that may
attend to no key gets zeros (see softmax.py). Attention is invariant to a bias b added to every key: it adds s q bᵀ to
all scores of a query, and the softmax ignores such a shift.

**Grouped heads** (Ainslie et al., 2023): H = G·K query heads share K key–value heads. The G query heads of a group are
neighbours and use the same keys, so a reshape turns them into one head with G·Tq queries. The products (5) and (7) then
also sum dk and dv over the group. G = 1 is ordinary attention, K = 1 multi-query attention.

Saved for backward: q (..., H, Tq, D), k (..., K, Tk, D), v (..., K, Tk, Dv), used (..., H, Tq, Tk), and the weights,
which softmax saves. `used` and the weights are the largest arrays if Tq and Tk exceed D. Without on_weights they are
the same array.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minitransformer.layers.softmax import softmax
from minitransformer.module import Array, Arrays, Backward, identity, require_floating


def causal_mask(Tq: int, Tk: int) -> NDArray[np.bool_]:
    """Return a boolean mask (Tq, Tk) that is True for the keys up to the position of each query.

    The last query is at the position of the last key. If `Tq < Tk`, the queries are at the last Tq positions, as in
    cached decoding.
    """
    return np.tri(Tq, Tk, Tk - Tq, dtype=bool)


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    mask: NDArray[np.bool_] | None = None,
    scale: float | None = None,
    on_weights: Callable[[Array], tuple[Array, Backward[Array]]] | None = None,
) -> tuple[Array, Backward[Arrays]]:
    """Attend from q (..., H, Tq, D) to k (..., K, Tk, D) and v (..., K, Tk, Dv). Returns y (..., H, Tq, Dv).

    For each head separately, with the scale s = 1/√D unless `scale` is given:

        scores  = (s q) kᵀ                              (1)
        masked  = scores where mask, else −∞            (2)
        weights = softmax(masked)   (over the keys)     (3)
        y       = used v                                (4)

    where `used` are the weights, or the result of `on_weights` if it is given. `on_weights` is a differentiable
    function of the weights, such as dropout or a hook.

    Why 1/√D. Let the entries of a query and a key be independent, of mean 0 and variance 1. Then each product q_d k_d
    has mean 0 and, with E for the mean, variance E q_d² · E k_d² = 1, and variances of independent terms add: q kᵀ =
    Σ_d q_d k_d has variance D, and s q kᵀ has variance s² D = 1, whatever D. Without the scale, scores of size √D would
    let the largest weight take nearly everything, where by (6) hardly a gradient passes.

    H is a multiple of K: query head h reads key–value head h // (H/K). `mask` is boolean, True where a query may
    attend, and broadcasts to (..., H, Tq, Tk). Raises ValueError if the shapes are inconsistent, and TypeError if q, k
    or v is not floating-point or the mask is not boolean.
    """
    check_arguments(q, k, v, mask)
    H, K = q.shape[-3], k.shape[-3]
    s = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    scores = ungroup_heads(group_heads(s * q, K) @ k.swapaxes(-1, -2), H)  # (1) (..., H, Tq, Tk)
    masked = scores if mask is None else np.where(mask, scores, -np.inf)  # (2)
    weights, softmax_backward = softmax(masked)  # (3)
    used, on_weights_backward = (on_weights or identity)(weights)
    y = ungroup_heads(group_heads(used, K) @ v, H)  # (4) (..., H, Tq, Dv)

    def backward(dy):
        """For query i, key j and channel d of a head, (4) is y_id = Σ_j used_ij v_jd, a product of two matrices.

        So ∂y_id/∂used_ij = v_jd and ∂y_id/∂v_jd = used_ij. A value reaches the outputs of all queries that used it, a
        weight all channels of its query's output: dv_jd = Σ_i used_ij dy_id and dused_ij = Σ_d dy_id v_jd, that is

            dv = usedᵀ dy    dused = dy vᵀ                  (5)

        then back through on_weights, to dweights, and through the softmax, for each query separately (see softmax.py),

            dscores = weights · (dweights − Σ weights · dweights)      (6)

        where a masked score has weight 0, hence gradient 0: (2) needs no line in backward. Last, (1) is another
        product, scores_ij = s Σ_d q_id k_jd, with ∂scores_ij/∂q_id = s k_jd and ∂scores_ij/∂k_jd = s q_id. A query
        reaches its scores with all keys, and a key its scores with all queries,

            dq = s · dscores k    dk = s · dscoresᵀ q       (7)

        with dscores transposed for dk, as its sum runs over the queries. For `Tq = Tk` the shapes also fit without the
        transpose, and that mistake has been published. Where several query heads read the same keys and values, the
        sums over the queries also run over these heads, whose queries group_heads stacks as in forward.

        By (6) Σ over keys of dscores is zero, so a bias added to every key has gradient zero.
        """
        dv = group_heads(used, K).swapaxes(-1, -2) @ group_heads(dy, K)  # (5) ← used v (4)
        dused = ungroup_heads(group_heads(dy, K) @ v.swapaxes(-1, -2), H)  # (5) ← used v (4)
        dweights = on_weights_backward(dused)
        dscores = softmax_backward(dweights)  # (6) ← softmax(masked) (3)
        dq = s * ungroup_heads(group_heads(dscores, K) @ k, H)  # (7) ← (s q) kᵀ (1)
        dk = s * group_heads(dscores, K).swapaxes(-1, -2) @ group_heads(q, K)  # (7) ← (s q) kᵀ (1)
        return dq, dk, dv

    return y, backward


def group_heads(x, K):
    """Combine the query heads of each group in x (..., H, Tq, n) into one head. Return an array (..., K, G·Tq, n)."""
    *batch, H, Tq, n = x.shape
    return x.reshape(*batch, K, H // K * Tq, n)


def ungroup_heads(x, H):
    """Reshape x (..., K, G·Tq, n) to H query heads, (..., H, Tq, n). This is the inverse of group_heads."""
    *batch, K, rows, n = x.shape
    return x.reshape(*batch, H, K * rows // H, n)


def check_arguments(q, k, v, mask):
    require_floating("attention", q=q, k=k, v=v)
    if min(q.ndim, k.ndim, v.ndim) < 3:
        raise ValueError(f"attention: q {q.shape}, k {k.shape}, v {v.shape} must be (..., heads, positions, channels)")
    if q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1] or q.shape[:-3] != k.shape[:-3]:
        raise ValueError(
            f"attention: q {q.shape}, k {k.shape}, v {v.shape} are inconsistent: q and k must have the same "
            "channels, k and v the same heads and positions, and all three the same leading axes"
        )
    if not k.shape[-2]:
        raise ValueError(f"attention: k must have at least one position, not shape {k.shape}")
    if not q.shape[-3] or not k.shape[-3]:
        raise ValueError(f"attention: q and k must have at least one head each, not shapes {q.shape} and {k.shape}")
    if q.shape[-3] % k.shape[-3]:
        raise ValueError(
            f"attention: the query heads must be a multiple of the {k.shape[-3]} key-value heads, not {q.shape[-3]}"
        )
    if mask is not None:
        check_mask(mask, (*q.shape[:-1], k.shape[-2]))


def check_mask(mask, shape):
    """Raise TypeError if the mask is not boolean, and ValueError if it does not broadcast to `shape`."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        kind = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"attention: the mask must be boolean (True = may attend), not {kind}")
    try:
        np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(
            f"attention: the mask must broadcast to the scores' shape {shape}, not have shape {mask.shape}"
        ) from None
