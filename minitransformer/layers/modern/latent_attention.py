"""Multi-head latent attention: all keys and values of a position from one short vector (DeepSeek-V2, 2024).

Generation keeps the keys and values of all earlier positions. With H heads of D channels these are 2 H D numbers for
each position. Here each position makes a *latent* c of L entries, far fewer, and each head makes its key and its value
from c by linear maps. So only c is kept. Grouped heads (attention.py) save memory too, but groups of heads then share
their keys and values, while here every head still has its own.

**Rotary positions** would stand between a query and the map that makes its key, and change from key to key. So they act
on channels of their own: each head has R more channels of its query, and a position has one key of R channels, which
all heads share. Both are rotated. A score is the sum of the two products.

**Two forms.** `latent_attention` makes the keys and values, and suits training. `absorbed_attention` computes the same
function without making them: the map of the keys is applied to the query, and that of the values to the result. Its
work for a new position does not contain the maps of all earlier latents, so it suits generation. In this form, latent
attention is attention in which all heads share one key and value, which are the latent.
"""

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minitransformer.layers.attention import attention
from minitransformer.layers.checks import check_heads
from minitransformer.layers.dropout import Dropout
from minitransformer.layers.key_value_cache import LayerCache
from minitransformer.layers.linear import Linear
from minitransformer.layers.modern.checks import check_latent_attention
from minitransformer.layers.multi_head_attention import hooks_and_dropout, into_heads, merge, split, through
from minitransformer.layers.positions import Rotary
from minitransformer.layers.rms_norm import RMSNorm
from minitransformer.module import Array, Arrays, Backward, Identity, Module, Parameter, apply, faster


def latent_attention(
    q: Array, qr: Array, c: Array, kr: Array, w_key: Array, w_value: Array, **options: Any
) -> tuple[Array, Backward[Arrays]]:
    """Attend from q (..., H, Tq, D) and qr (..., H, Tq, R) to c (..., Tk, L) and kr (..., Tk, R).

    With w_key (H, L, D) and w_value (H, L, Dv), and W_n the n-th matrix of W, for each head n:

        k_n = c W_key_n    v_n = c W_value_n            (1)
        queries = join(q, qr)    keys = share(k, kr)    (2)
        y = attend(queries, keys, v)                    (3)

    `join` appends the channels of the second to those of the first, and `share` appends the same kr to the keys of all
    heads. A product of joined vectors is the sum of the products of their parts, so the scores of a head are s (q_n
    k_nᵀ + qr_n krᵀ). The scale s is 1/√(D + R), from the number of terms. `attend` is attention with this scale.
    `options` are its mask and `on_weights` (attention.py).

    Returns y (..., H, Tq, Dv). Saved for backward: c (..., Tk, L), w_key (H, L, D), w_value (H, L, Dv), and the
    arrays that attention saves.

    Raises: TypeError for an array that is not floating-point; ValueError for inconsistent shapes.
    """
    check_latent_attention("latent_attention", q, qr, c, kr, w_key, w_value)
    D, scale = q.shape[-1], 1 / math.sqrt(q.shape[-1] + qr.shape[-1])
    k, v = to_heads(c) @ w_key, to_heads(c) @ w_value  # (1) (..., H, Tk, D or Dv)
    queries = join(q, qr)  # (2) (..., H, Tq, D + R)
    keys, share_backward = share(k, kr)  # (2) (..., H, Tk, D + R)
    y, attend_backward = faster(attention)(queries, keys, v, scale=scale, **options)  # (3)

    def backward(dy):
        """From the last step to the first, with fᵀ(dy) for the backward of f:

            dqueries, dkeys, dv = attendᵀ(dy)               (4)
            dq, dqr = cut(dqueries)    dk, dkr = shareᵀ(dkeys)      (5)

        where `cut` is the inverse of `join`. All heads read the same kr, so shareᵀ adds their gradients. Likewise c
        reaches every key and every value, and the paths add, over the heads n:

            dc = Σ_n (dk_n W_key_nᵀ + dv_n W_value_nᵀ)      (6)
            dW_key_n = cᵀ dk_n    dW_value_n = cᵀ dv_n      (7)

        In a batch, (7) is summed over its sequences. A mean over the heads in place of the sum of shareᵀ has the right
        shape, and is right for one head.
        """
        dqueries, dkeys, dv = attend_backward(dy)  # (4) ← attend(queries, keys, v) (3)
        (dq, dqr), (dk, dkr) = cut(dqueries, D), share_backward(dkeys)  # (5) ← join(q, qr) (2), share(k, kr) (2)
        by_head = dk @ w_key.swapaxes(-1, -2) + dv @ w_value.swapaxes(-1, -2)
        dc = by_head.sum(axis=-3)  # (6) ← c W_key_n (1), c W_value_n (1)
        dw_key = over_batch(to_heads(c).swapaxes(-1, -2) @ dk)  # (7) ← c W_key_n (1)
        dw_value = over_batch(to_heads(c).swapaxes(-1, -2) @ dv)  # (7) ← c W_value_n (1)
        return dq, dqr, dc, dkr, dw_key, dw_value

    return y, backward


def absorbed_attention(
    q: Array, qr: Array, c: Array, kr: Array, w_key: Array, w_value: Array, **options: Any
) -> tuple[Array, Backward[Arrays]]:
    """Return latent_attention of the same arguments, without the keys and values of the heads.

    In the scores, q_n k_nᵀ = q_n (c W_key_n)ᵀ = (q_n W_key_nᵀ) cᵀ, so the query can absorb the map of the keys. The map
    of the values is applied after the average in place of before it, which is the same, because both are linear:

        p_n = q_n W_key_nᵀ                              (8)
        latent = c    values = c                        (9)
        queries = join(p, qr)    keys = join(latent, kr)        (10)
        z = attend(queries, keys, values)               (11)
        y_n = z_n W_value_n                             (12)

    The scale is that of (3), although the vectors have L + R entries here. Saved for backward: q (..., H, Tq, D), z
    (..., H, Tq, L), w_key (H, L, D), w_value (H, L, Dv), and the arrays that attention saves.

    Raises the exceptions of latent_attention.
    """
    check_latent_attention("absorbed_attention", q, qr, c, kr, w_key, w_value)
    L, scale = c.shape[-1], 1 / math.sqrt(q.shape[-1] + qr.shape[-1])
    p = q @ w_key.swapaxes(-1, -2)  # (8) (..., H, Tq, L)
    latent, values = c, c  # (9) (..., Tk, L)
    queries, keys = join(p, qr), join(latent, kr)  # (10) (..., H, Tq, L + R), (..., Tk, L + R)
    attended = faster(attention)(queries, to_heads(keys), to_heads(values), scale=scale, **options)
    z, attend_backward = attended  # (11) (..., H, Tq, L)
    y = z @ w_value  # (12) (..., H, Tq, Dv)

    def backward(dy):
        """Each map is a product of matrices, and attention returns the gradients of its three inputs:

            dz_n = dy_n W_value_nᵀ    dW_value_n = z_nᵀ dy_n        (13)
            dqueries, dkeys, dvalues = attendᵀ(dz)          (14)
            dp, dqr = cut(dqueries)    dlatent, dkr = cut(dkeys)    (15)
            dq_n = dp_n W_key_n    dW_key_n = dp_nᵀ q_n     (16)

        The latent is read as key and as value, and the paths add:

            dc = dlatent + dvalues                          (17)

        In a batch, dW is summed over its sequences. The gradients are those of (4) to (7), since the function is the
        same. The sums over the heads in (5) and (6) are those of grouped heads, within attendᵀ.
        """
        dz = dy @ w_value.swapaxes(-1, -2)  # (13) ← z_n W_value_n (12)
        dw_value = over_batch(z.swapaxes(-1, -2) @ dy)  # (13) ← z_n W_value_n (12)
        dqueries, *of_one_head = attend_backward(dz)
        dkeys, dvalues = (g[..., 0, :, :] for g in of_one_head)  # (14) ← attend(queries, keys, values) (11)
        (dp, dqr), (dlatent, dkr) = cut(dqueries, L), cut(dkeys, L)  # (15) ← join(p, qr) (10), join(latent, kr) (10)
        dq = dp @ w_key  # (16) ← q_n W_key_nᵀ (8)
        dw_key = over_batch(dp.swapaxes(-1, -2) @ q)  # (16) ← q_n W_key_nᵀ (8)
        dc = dlatent + dvalues  # (17) ← latent = c (9), values = c (9)
        return dq, dqr, dc, dkr, dw_key, dw_value

    return y, backward


def to_heads(x):
    """Return x (..., T, D) with an axis of length 1 for the heads, which then all read the same."""
    return x[..., None, :, :]


def share(k, kr):
    """Append the same kr (..., T, R) to the keys k (..., heads, T, D) of all heads. Saved for backward: nothing."""
    D, of_each = k.shape[-1], np.broadcast_to(to_heads(kr), (*k.shape[:-1], kr.shape[-1]))
    keys = join(k, of_each)

    def backward(dkeys):
        """Each head reads kr, and the paths add."""
        dk, dof_each = cut(dkeys, D)
        dkr = dof_each.sum(axis=-3)
        return dk, dkr

    return keys, backward


def join(a, b):
    """Append the channels of b (..., T, R) to those of a (..., T, D)."""
    return np.concatenate([a, b], axis=-1)


def cut(x, width):
    """Return the first `width` channels of x (..., D + R), and the others."""
    return x[..., :width], x[..., width:]


def over_batch(x):
    """Add the matrices x (..., H, I, O) of all sequences. Returns an array (H, I, O)."""
    return x.reshape(-1, *x.shape[-3:]).sum(axis=0)


class LatentAttention(Module):
    """Latent attention with H heads (`n_heads`) of D channels (`d_head`, by default C / H).

    The latent has `d_latent` entries, and is normalized as in DeepSeek's models, `d_rotary` is R, and `rotary` is a
    Rotary module, or None for a model that adds its positions to x. `std` and `residual_std` are as in
    MultiHeadAttention. DeepSeek's largest models make the queries from a latent as well; these do not.

    Hooks: `q` (..., H, T, D), `q_rotary` (..., H, T, R), `latent` (..., T, L) after the norm, `k_rotary` (..., T, R);
    `weights` (..., H, T, Tk); `heads` (..., H, T, D), the output of each head before W_o.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_head: int | None = None,
        *,
        d_latent: int,
        d_rotary: int,
        rotary: Rotary | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        eps: float = 1e-5,
        std: float = 0.02,
        residual_std: float | None = None,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ):
        check_heads(d_model, n_heads, n_heads, d_head)
        rng = rng if rng is not None else np.random.default_rng(0)
        self.d_head = d_model // n_heads if d_head is None else d_head
        self.d_rotary = d_rotary
        options: dict[str, Any] = {"bias": bias, "rng": rng, "dtype": dtype}
        self.w_q = Linear(d_model, n_heads * self.d_head, std=std, **options)
        self.w_q_rotary = Linear(d_model, n_heads * d_rotary, std=std, **options)
        self.w_latent = Linear(d_model, d_latent, std=std, **options)
        self.latent_norm = RMSNorm(d_latent, eps, dtype)
        self.w_k_rotary = Linear(d_model, d_rotary, std=std, **options)
        shape = n_heads, d_latent, self.d_head
        self.w_key, self.w_value = (Parameter(rng.normal(0, std, shape).astype(dtype)) for _ in range(2))
        self.w_o = Linear(n_heads * self.d_head, d_model, std=std if residual_std is None else residual_std, **options)
        self.rotary = rotary
        self.q, self.q_rotary, self.latent, self.k_rotary = Identity(), Identity(), Identity(), Identity()
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
        """Map x (..., T, C) to the same shape. The options are those of MultiHeadAttention.

        `cache` contains the latents and the rotated keys of earlier positions, which are constants in backward. With a
        cache, the absorbed form is used.
        """
        T = x.shape[-2]
        start = 0 if cache is None else cache.length
        x_positions = np.arange(start, start + T) if positions is None else positions
        turn = None if self.rotary is None else partial(self.rotary, positions=x_positions)
        q, q_backward = through(x, [self.w_q, partial(into_heads, d_head=self.d_head), self.q])
        to_turn = partial(into_heads, d_head=self.d_rotary)
        qr, qr_backward = through(x, [self.w_q_rotary, to_turn, turn, self.q_rotary])
        c, c_backward = through(x, [self.w_latent, self.latent_norm, self.latent])
        kr, kr_backward = through(x, [self.w_k_rotary, turn, self.k_rotary])
        latents, keys = (c, kr) if cache is None else cache.append(c, kr)
        form = latent_attention if cache is None else absorbed_attention
        arrays = q, qr, latents, keys, self.w_key, self.w_value
        attended, attention_backward = apply(
            form, *arrays, mask=mask, on_weights=hooks_and_dropout(self.weights, self.dropout, rng)
        )
        heads, heads_backward = self.heads(attended)  # attended, unless a hook changes it
        y, w_o_backward = self.w_o(merge(heads))

        def backward(dy):
            """The steps in reverse order. x reaches y along four paths, one for each of its maps, and they add."""
            dheads = split(w_o_backward(dy), self.d_head)
            dq, dqr, dlatents, dkeys = attention_backward(heads_backward(dheads))
            dc, dkr = dlatents[..., -T:, :], dkeys[..., -T:, :]  # without those of the cache
            return q_backward(dq) + qr_backward(dqr) + c_backward(dc) + kr_backward(dkr)

        return y, backward

    def multiplications(self, T: int) -> int:
        """Return the multiplications of one position in matrix products, except those of its Linear modules."""
        H, L, D = self.w_key.data.shape
        return 2 * H * L * D + T * H * (2 * D + self.d_rotary)
