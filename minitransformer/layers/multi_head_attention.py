"""Multi-head self-attention (Vaswani et al., 2017): several attentions in parallel, each with its own channels.

Queries, keys and values are products of x with matrices W_q, W_k and W_v, and the output is a product with W_o. W_q and
W_k decide which positions a head reads, W_v and W_o which directions it copies from there (Elhage et al., 2021).

The layer is invariant to the bias of W_k, which shifts all scores of a query by the same amount, unless rotary
positions (positions.py) rotate it by a different angle at each key. The gradient of this bias is zero up to rounding,
so a check that divides its error by the gradient would report a mistake.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minitransformer.layers.attention import Weigh, attention
from minitransformer.layers.checks import check_heads
from minitransformer.layers.dropout import Dropout
from minitransformer.layers.key_value_cache import LayerCache
from minitransformer.layers.linear import Linear
from minitransformer.layers.modern.joint_norm import QK_NORMS
from minitransformer.layers.positions import Rotary
from minitransformer.module import Array, Backward, Identity, Module, apply

Step = Callable[[Array], tuple[Array, Backward[Array]]] | None


class MultiHeadAttention(Module):
    """Self-attention with H query heads (`n_heads`) and K key–value heads (`n_kv_heads`) of D channels (`d_head`).

    By default K is H, and D is C / H. `rotary` is a Rotary module, or None for a model that adds its positions to x.
    With `qk_norm`, each query and each key is normalized by an RMSNorm, `q_norm` or `k_norm`, with a gain (D,) and ε
    `eps`, so that their product is bounded (Henry et al., 2020); `qk_norm_over` is a key of QK_NORMS. `std` is the
    standard deviation of the initial W_q, W_k and W_v, and `residual_std` that of W_o. Raises ValueError if H does not
    divide C, or K does not divide H.

    Hooks: `q` and `k` (..., heads, T, D), after the norm and the rotation if there are any, and `v`; `weights` (..., H,
    T, Tk) after the softmax; `heads` (..., H, T, D), the output of each head before W_o.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_kv_heads: int | None = None,
        d_head: int | None = None,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        rotary: Rotary | None = None,
        qk_norm: bool = False,
        qk_norm_over: str = "head",
        eps: float = 1e-5,
        std: float = 0.02,
        residual_std: float | None = None,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ):
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        check_heads(d_model, n_heads, n_kv_heads, d_head)
        rng = rng if rng is not None else np.random.default_rng(0)
        residual_std = std if residual_std is None else residual_std
        self.d_head = d_model // n_heads if d_head is None else d_head
        options: dict[str, Any] = {"bias": bias, "rng": rng, "dtype": dtype}
        self.w_q = Linear(d_model, n_heads * self.d_head, std=std, **options)
        self.w_k = Linear(d_model, n_kv_heads * self.d_head, std=std, **options)
        self.w_v = Linear(d_model, n_kv_heads * self.d_head, std=std, **options)
        self.w_o = Linear(n_heads * self.d_head, d_model, std=residual_std, **options)
        norm = QK_NORMS[qk_norm_over]
        self.q_norm = norm(n_heads, self.d_head, eps, dtype) if qk_norm else None
        self.k_norm = norm(n_kv_heads, self.d_head, eps, dtype) if qk_norm else None
        self.rotary = rotary
        self.q, self.k, self.v = Identity(), Identity(), Identity()
        self.weights = Identity()
        self.dropout = Dropout(dropout)
        self.heads = Identity()

    def forward(
        self,
        x: Array,
        *,
        mask: Array | None = None,
        positions: Array | None = None,
        rng: np.random.Generator | None = None,
        cache: LayerCache | None = None,
    ) -> tuple[Array, Backward[Array]]:
        """Let each position of x (..., T, C) attend to the positions that the mask allows (default: all).

        With H heads of D channels:

            q, k, v = split(x W_q), split(x W_k), split(x W_v)        (1)
            heads = attention(q, k, v)                      (2)
            y = merge(heads) W_o                            (3)

        A bias is added to each product if the layer has biases. `split` makes heads of D features each, H for q and K
        for k and v, and `merge` is its inverse. Both only rearrange entries, so each is the backward of the other.
        In the code, `as_heads` splits as in (1), applies further steps to q and k if the layer has them (a norm, then a
        rotation according to `positions` (T,)), and calls the hooks. By default the positions count from 0, or from the
        end of the cache. If `rng` is given, dropout is applied to the weights. `cache` is the key–value cache of one
        layer (generation.py). The cached keys and values of earlier positions precede those of x, and are constants in
        backward. A first reading may take these steps, the cache and the hooks as functions that return their argument.
        """
        T = x.shape[-2]
        start = 0 if cache is None else cache.length
        x_positions = np.arange(start, start + T) if positions is None else positions
        (xq, xk, xv), projections_backward = projections(x, self.w_q, self.w_k, self.w_v)  # (1)
        turn = None if self.rotary is None else partial(self.rotary, positions=x_positions)
        q, q_backward = as_heads(xq, self.d_head, [self.q_norm, turn, self.q])  # (1)
        k, k_backward = as_heads(xk, self.d_head, [self.k_norm, turn, self.k])  # (1)
        v, v_backward = as_heads(xv, self.d_head, [self.v])  # (1)
        keys, values = (k, v) if cache is None else cache.append(k, v)
        on_weights = hooks_and_dropout(self.weights, self.dropout, rng)
        attended, attention_backward = self.attend(q, keys, values, mask=mask, on_weights=on_weights)  # (2)
        heads, heads_backward = self.heads(attended)  # attended, unless a hook changes it
        y, w_o_backward = self.w_o(merge(heads))  # (3)

        def backward(dy):
            """Apply the chain rule from the last step to the first:

                dheads = split(dy W_oᵀ)                         (4)
                dq, dk, dv = attentionᵀ(dheads)                 (5)

            where fᵀ(dy) stands for f's backward. Cached keys and values are constants and get no gradient. Rotary
            positions, if any, turn dq and dk back (see positions.py). With xq = x W_q and so on, dxq = merge(dq), dxk =
            merge(dk), dxv = merge(dv), and x reaches y along three paths, through q, k and v (see projections).
            """
            dheads = split(w_o_backward(dy), self.d_head)  # (4) ← merge(heads) W_o (3)
            dattended = heads_backward(dheads)
            dq, dkeys, dvalues = attention_backward(dattended)  # (5) ← attention(q, k, v) (2)
            dk, dv = dkeys[..., -T:, :], dvalues[..., -T:, :]  # without those of the cache
            dxq, dxk, dxv = q_backward(dq), k_backward(dk), v_backward(dv)
            return projections_backward(dxq, dxk, dxv)

        return y, backward

    def attend(self, q: Array, k: Array, v: Array, **options: Any) -> tuple[Array, Backward[Any]]:
        """Return attention(q, k, v) and its backward. The options are those of attention."""
        return apply(attention, q, k, v, **options)

    def multiplications(self, T: int) -> int:
        """Return the multiplications of the scores and the averages of one position, which has T keys."""
        return 2 * T * self.w_o.weight.data.shape[0]


def hooks_and_dropout(weights: Identity, dropout: Dropout, rng: np.random.Generator | None) -> Weigh | None:
    """Return the function that attention applies to its weights (the hooks of `weights`, then dropout), or None."""
    if not weights.is_hooked and (rng is None or dropout.p == 0):
        return None

    def hook_and_drop(scores):
        hooked, hook_backward = weights(scores)
        dropped, dropout_backward = dropout(hooked, rng=rng)

        def backward(ddropped):
            dhooked = dropout_backward(ddropped)
            return hook_backward(dhooked)

        return dropped, backward

    return hook_and_drop


def as_heads(xw: Array, d_head: int, steps: Sequence[Step]) -> tuple[Array, Backward[Array]]:
    """Split xw (..., T, heads · D) into heads (..., heads, T, D), and apply the steps (see through)."""
    return through(xw, [partial(into_heads, d_head=d_head), *steps])


def into_heads(x: Array, *, d_head: int) -> tuple[Array, Backward[Array]]:
    """Split x (..., T, heads · D) into heads (..., heads, T, D). Saved for backward: nothing."""
    return split(x, d_head), merge


def through(x: Array, steps: Sequence[Step]) -> tuple[Array, Backward[Array]]:
    """Apply the steps, in order, that are not None. Saved for backward: the arrays that the steps save."""
    results, backwards = [x], []
    for step in steps:
        if step is not None:
            y, step_backward = step(results[-1])
            results.append(y)
            backwards.append(step_backward)

    def backward(dy):
        gradients = [dy]
        for through_step in reversed(backwards):
            gradients.append(through_step(gradients[-1]))
        return gradients[-1]

    return results[-1], backward


def projections(x, w_q, w_k, w_v):
    """Return (x W_q, x W_k, x W_v), for three Linear modules and x (..., C), and their backward(dxq, dxk, dxv).

    Saved for backward: the arrays that the three Linear modules save.
    """
    xq, q_backward = w_q(x)
    xk, k_backward = w_k(x)
    xv, v_backward = w_v(x)

    def backward(dxq, dxk, dxv):
        """x reaches all three, and paths add.

        Each is a linear map (see linear.py), so

            dx = dxq W_qᵀ + dxk W_kᵀ + dxv W_vᵀ             (6)
        """
        dx = q_backward(dxq) + k_backward(dxk) + v_backward(dxv)  # (6) ← x W_q (1), x W_k (1), x W_v (1)
        return dx

    return (xq, xk, xv), backward


def split(x, d_head):
    """Return a view of x (..., T, heads · D) with shape (..., heads, T, D). Its backward is merge."""
    return x.reshape(*x.shape[:-1], -1, d_head).swapaxes(-2, -3)


def merge(x):
    """Return x (..., heads, T, D) with shape (..., T, heads · D), the inverse of split. Its backward is split."""
    x = x.swapaxes(-2, -3)
    return x.reshape(*x.shape[:-2], -1)
