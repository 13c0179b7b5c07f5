"""Scaled dot-product attention (Vaswani et al., 2017), then masks, dropout of the weights, and grouped heads.

Every position of a sequence makes three vectors from its own x, each by a linear map: a *query*, which says what the
position looks for, a *key*, which says what it has to offer, and a *value*, which it passes on (see
multi_head_attention.py). Each query takes an average of all values, in which a value counts the more, the better its
key fits the query. A model has several attentions side by side, its *heads*, on an axis of length H. There are Tq
queries and Tk keys; a query and a key have D entries, and a value Dv.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from minitransformer.layers.checks import check_attention
from minitransformer.layers.softmax import softmax
from minitransformer.module import Array, Arrays, Backward, identity, require_floating

Weigh = Callable[[Array], tuple[Array, Backward[Array]]]  # a differentiable function of scores or weights


def scaled_dot_product(
    q: Array, k: Array, v: Array, *, scale: float | None = None, weigh: Weigh = softmax
) -> tuple[Array, Backward[Arrays]]:
    """Attend from q (..., Tq, D) to k (..., Tk, D) and v (..., Tk, Dv). Returns y (..., Tq, Dv).

    For each head separately, with the scale s = 1/√D unless `scale` is given:

        scores  = s q kᵀ                                (1)
        weights = softmax(scores)   (unmasked)          (2)
        y       = weights v                             (3)

    The softmax runs over the keys, so the weights of a query sum to 1. `weigh` is the function of (2), the softmax
    unless the call gives another one. `masked_softmax`, further down, adds a mask and dropout; *(unmasked)* means
    without them. With dropout, the weights of (3) and (4) are those after it.

    Why 1/√D. Let the entries of a query and a key be independent, of mean 0 and variance 1. Then each product q_c k_c
    has mean 0 and, with E for the mean, variance E q_c² · E k_c² = 1, because the mean of a product of independent
    numbers is the product of their means. Variances of independent terms add: q kᵀ = Σ_c q_c k_c has variance D, and s
    q kᵀ has variance s² D = 1, whatever D. Without the scale, scores of size √D would let the largest weight take
    nearly everything. Then hardly a gradient passes: for weights of 1 and 0, (5) is 0.

    Saved for backward: q (..., Tq, D), k (..., Tk, D), v (..., Tk, Dv), weights (..., Tq, Tk), and the arrays that
    `weigh` saves; softmax saves its result, the same weights. They are the largest arrays if Tq and Tk exceed D and Dv.
    """
    require_floating("scaled_dot_product", q=q, k=k, v=v)
    s = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    scores = s * q @ k.swapaxes(-1, -2)  # (1) (..., Tq, Tk)
    weights, weigh_backward = weigh(scores)  # (2)
    y = weights @ v  # (3) (..., Tq, Dv)

    def backward(dy):
        """For query i, key j and channel c, (3) is y_ic = Σ_j weights_ij v_jc, a product of two matrices.

        So ∂y_ic/∂weights_ij = v_jc and ∂y_ic/∂v_jc = weights_ij. A value reaches the outputs of all queries, dv_jc =
        Σ_i weights_ij dy_ic, and a weight all channels of its query's output, dweights_ij = Σ_c dy_ic v_jc, that is

            dv = weightsᵀ dy    dweights = dy vᵀ            (4)

        A score reaches all weights of its query, which sum to 1. By softmax.py (without a mask and dropout), the
        gradient of a score is its weight times the excess of the weight's gradient over the average of these gradients,
        weighted over the keys of the query:

            dscores = weights · (dweights − Σ weights · dweights)      (5)

        Last, (1) is another product, scores_ij = s Σ_c q_ic k_jc, with ∂scores_ij/∂q_ic = s k_jc and ∂scores_ij/∂k_jc =
        s q_ic. A query reaches its scores with all keys, dq_ic = s Σ_j dscores_ij k_jc, and a key its scores with all
        queries, dk_jc = s Σ_i dscores_ij q_ic:

            dq = s · dscores k    dk = s · dscoresᵀ q       (6)

        with dscores transposed for dk, as its sum runs over the queries. If `Tq = Tk`, the shapes also fit without the
        transpose, and a check of shapes does not notice.

        Attention is invariant to a bias b added to every key: it adds s q bᵀ to all scores of a query, and the softmax
        ignores such a shift. The gradient of b, the sum of dk over the keys, is therefore zero. Indeed by (5) the
        dscores of a query sum to zero over the keys.
        """
        dv = weights.swapaxes(-1, -2) @ dy  # (4) ← weights v (3)
        dweights = dy @ v.swapaxes(-1, -2)  # (4) ← weights v (3)
        dscores = weigh_backward(dweights)  # (5) ← softmax(scores) (2)
        dq = s * dscores @ k  # (6) ← s q kᵀ (1)
        dk = s * dscores.swapaxes(-1, -2) @ q  # (6) ← s q kᵀ (1)
        return dq, dk, dv

    return y, backward


def causal_mask(Tq: int, Tk: int) -> NDArray[np.bool_]:
    """Return a boolean mask (Tq, Tk) that is True for the keys up to the position of each query.

    The last query is at the position of the last key. If `Tq < Tk`, the queries are at the last Tq positions, as in
    generation, where the keys and values of earlier tokens are cached.
    """
    return np.tri(Tq, Tk, Tk - Tq, dtype=bool)


def masked_softmax(
    scores: Array, *, mask: NDArray[np.bool_] | None, on_weights: Weigh | None
) -> tuple[Array, Backward[Array]]:
    """Return weights of scores (..., Tq, Tk) that are 0 where the boolean `mask` is False, then apply `on_weights`.

    A mask hides keys from queries: with the causal mask, a position sees itself and earlier ones. `on_weights` is a
    differentiable function of the weights, such as dropout (which sets random weights to 0 in training) or a hook
    (which reads or changes them). Without it, the weights are returned unchanged.

        masked  = scores where mask, else −∞            (7)
        weights = softmax(masked)                       (8)
        changed = on_weights(weights)   (if given)      (9)

    A query that may attend to no key has weights of zero (see softmax.py). Saved for backward: the arrays that softmax
    and `on_weights` save.
    """
    require_floating("masked_softmax", scores=scores)
    masked = scores if mask is None else np.where(mask, scores, -np.inf)  # (7)
    weights, softmax_backward = softmax(masked)  # (8)
    changed, on_weights_backward = (on_weights or identity)(weights)  # (9)

    def backward(dchanged):
        """First back through on_weights, with fᵀ(dy) for the backward of f,

            dweights = on_weightsᵀ(dchanged)   (if given)    (10)

        then through the softmax, which is (5) with the weights of (8). A hidden score has weight 0, hence by (5)
        gradient 0, so (7) needs no line in backward.
        """
        dweights = on_weights_backward(dchanged)  # (10) ← on_weights(weights) (9)
        dscores = softmax_backward(dweights)  # (5) ← softmax(masked) (8)
        return dscores

    return changed, backward


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    mask: NDArray[np.bool_] | None = None,
    scale: float | None = None,
    on_weights: Weigh | None = None,
    weights_of: Callable[..., tuple[Array, Backward[Array]]] = masked_softmax,
) -> tuple[Array, Backward[Arrays]]:
    """Attend from q (..., H, Tq, D) to k (..., K, Tk, D) and v (..., K, Tk, Dv). Returns y (..., H, Tq, Dv).

    `mask` is boolean, True where a query may attend, and broadcasts to (..., H, Tq, Tk). For `on_weights` see
    masked_softmax, which `weights_of` replaces, and for `scale` see scaled_dot_product.

    **Grouped heads** (Ainslie et al., 2023). H is a multiple of K, and G = H/K neighbouring query heads read the same
    key–value head: query head h reads head h // G. So each of the K heads is repeated G times. The rest is as above:

        keys = repeat(k)    values = repeat(v)          (11)
        y = attend(q, keys, values)                     (12)

    G = 1 is ordinary attention, K = 1 multi-query attention.

    Saved for backward: the arrays that scaled_dot_product and masked_softmax save, with keys and values as k and v.

    Raises: ValueError if the shapes are inconsistent; TypeError if q, k or v is not floating-point, or the mask is not
    boolean.
    """
    check_attention(q, k, v, mask)
    G = q.shape[-3] // k.shape[-3]
    keys, values = np.repeat(k, G, axis=-3), np.repeat(v, G, axis=-3)  # (11) (..., H, Tk, D or Dv)
    weigh = partial(weights_of, mask=mask, on_weights=on_weights)
    y, attend_backward = scaled_dot_product(q, keys, values, scale=scale, weigh=weigh)  # (12)

    def backward(dy):
        """With fᵀ(dy) for the backward of f, and `attend` for scaled_dot_product, (12) gives

            dq, dkeys, dvalues = attendᵀ(dy)                (13)

        Each key and each value is read by the G heads of its group. These are paths, and they add, as for every
        broadcast (chapter zero): the backward of repeat is the sum over the group.

            dk = repeatᵀ(dkeys)    dv = repeatᵀ(dvalues)     (14)
        """
        dq, dkeys, dvalues = attend_backward(dy)  # (13) ← attend(q, keys, values) (12)
        dk, dv = sum_over_groups(dkeys, G), sum_over_groups(dvalues, G)  # (14) ← repeat(k) (11), repeat(v) (11)
        return dq, dk, dv

    return y, backward


def sum_over_groups(x, G):
    """Add the G neighbouring heads of each group of x (..., H, T, n). Returns an array (..., H/G, T, n)."""
    *batch, H, T, n = x.shape
    return x.reshape(*batch, H // G, G, T, n).sum(axis=-3)
