"""A layer with a state of fixed size in place of attention: the gated delta rule, with projections and heads.

It reads like multi_head_attention.py: queries, keys and values are linear maps of x, split into heads, and the outputs
of the heads are joined by one more linear map. Two further linear maps give each head two numbers per position: the
size β of a step, and the gate that lets the state fade. It needs no mask and no positions, since the recurrence reads
one position after another. Models of this kind have some layers of attention too (Yang, Kautz and Hatamizadeh, 2024).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minitransformer.layers.checks import check_heads
from minitransformer.layers.linear import Linear
from minitransformer.layers.modern.delta_rule import delta_scan
from minitransformer.layers.modern.sigmoid import sigmoid
from minitransformer.layers.multi_head_attention import as_heads, merge, projections, split
from minitransformer.layers.rms_norm import rms_norm
from minitransformer.module import Array, Backward, Identity, Module, apply, faster

OPEN = 4.0  # the gate is sigmoid(4), about 0.98, at the start: in 38 positions the state fades to a half
EPS = 1e-6  # of the norms of queries and keys


class StateCache:
    """The states (B, H, D, D) of one layer after the positions so far, for model.predict(ids, cache=cache)."""

    def __init__(self, context: int):
        self.length = 0
        self.state: Any = None

    def store(self, state: Array, positions: int) -> None:
        """Replace the state by that after `positions` more positions."""
        self.length, self.state = self.length + positions, state

    def truncate(self, length: int) -> None:
        """Remove all positions if there are more than `length`, because a state cannot return to an earlier one."""
        if length < self.length:
            self.length, self.state = 0, None


class DeltaMixer(Module):
    """The gated delta rule with H heads (`n_heads`) of D channels (`d_head`, by default C / H).

    Hooks: `q`, `k` and `v` (..., H, T, D), where q and k have length 1; `beta` and `gate` (..., T, H); `heads` (..., H,
    T, D), the output of each head before W_o. `std` and `residual_std` are as in MultiHeadAttention.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_head: int | None = None,
        *,
        bias: bool = True,
        std: float = 0.02,
        residual_std: float | None = None,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ):
        check_heads(d_model, n_heads, n_heads, d_head)
        rng = rng if rng is not None else np.random.default_rng(0)
        self.d_head = d_model // n_heads if d_head is None else d_head
        options: dict[str, Any] = {"bias": bias, "rng": rng, "dtype": dtype}
        self.w_q = Linear(d_model, n_heads * self.d_head, std=std, **options)
        self.w_k = Linear(d_model, n_heads * self.d_head, std=std, **options)
        self.w_v = Linear(d_model, n_heads * self.d_head, std=std, **options)
        self.w_beta = Linear(d_model, n_heads, std=std, **options)
        self.w_gate = Linear(d_model, n_heads, std=std, **options)
        self.w_o = Linear(n_heads * self.d_head, d_model, std=std if residual_std is None else residual_std, **options)
        self.q, self.k, self.v = Identity(), Identity(), Identity()
        self.beta, self.gate = Identity(), Identity()
        self.heads = Identity()

    def forward(
        self,
        x: Array,
        *,
        mask: Array | None = None,
        positions: Array | None = None,
        rng: np.random.Generator | None = None,
        cache: StateCache | None = None,
    ) -> tuple[Array, Backward[Array]]:
        """Map x (..., T, C) to the same shape. The mask, the positions and `rng` are not used.

        `cache` contains the state after earlier positions, which is a constant in backward.
        """
        (xq, xk, xv), projections_backward = projections(x, self.w_q, self.w_k, self.w_v)
        q, q_backward = as_heads(xq, self.d_head, [unit_length, self.q])
        k, k_backward = as_heads(xk, self.d_head, [unit_length, self.k])
        v, v_backward = as_heads(xv, self.d_head, [self.v])
        beta, beta_backward = opening(x, self.w_beta, 0.0, self.beta)
        gate, gate_backward = opening(x, self.w_gate, OPEN, self.gate)
        shape = (*v.shape[:-2], self.d_head, self.d_head)
        before = np.zeros(shape, v.dtype) if cache is None or cache.state is None else cache.state
        (after, read), scan_backward = faster(delta_scan)(before, q, k, v, beta, gate)
        if cache is not None:
            cache.store(after, x.shape[-2])
        heads, heads_backward = self.heads(read)  # read, unless a hook changes it
        merged = merge(heads)
        y, w_o_backward = self.w_o(merged)

        def backward(dy):
            """The steps in reverse order. x reaches y along five paths, one for each of its maps, and they add."""
            dmerged = w_o_backward(dy)
            dread = heads_backward(split(dmerged, self.d_head))
            _, dq, dk, dv, dbeta, dgate = scan_backward(np.zeros(shape, dy.dtype), dread)
            dx = projections_backward(q_backward(dq), k_backward(dk), v_backward(dv))
            return dx + beta_backward(dbeta) + gate_backward(dgate)

        return y, backward

    def multiplications(self, T: int) -> int:
        """Return the multiplications of one position in matrix products, except those of its Linear modules."""
        return 3 * self.w_o.weight.data.shape[0] * self.d_head  # with the state: look up, write and read


def unit_length(x: Array) -> tuple[Array, Backward[Array]]:
    """Divide each vector of x (..., D) by its length, as the RMS norm with the constant gain 1/√D does.

    Saved for backward: the arrays that rms_norm saves.
    """
    gain = np.full(x.shape[-1], 1 / math.sqrt(x.shape[-1]), x.real.dtype)
    y, rms_norm_backward = apply(rms_norm, x, gain, eps=EPS)

    def backward(dy):
        dx, _ = rms_norm_backward(dy)  # the gain is a constant
        return dx

    return y, backward


def opening(x: Array, linear: Linear, shift: float, hooks: Identity) -> tuple[Array, Backward[Array]]:
    """Return sigmoid(shift + linear(x)) (..., H, T) of x (..., T, C), after the hooks of `hooks`.

    Saved for backward: the arrays that the Linear and sigmoid save.
    """
    logits, linear_backward = linear(x)
    opened, sigmoid_backward = apply(sigmoid, shift + logits)
    hooked, hooks_backward = hooks(opened)

    def backward(dy):
        dhooked = dy.swapaxes(-1, -2)
        return linear_backward(sigmoid_backward(hooks_backward(dhooked)))

    return hooked.swapaxes(-1, -2), backward
