"""Mixture of experts: E feed-forward layers, of which each position uses k (Shazeer et al., 2017; Jiang et al., 2024).

The parameters grow with E, but the computation of a position only with k. A router, one linear map, gives a logit to
each expert. The experts are gated layers as in feed_forward.py.

The result of an expert that a position has not chosen is multiplied by 0. In the plain form here every expert still
computes all positions, so that each equation is one statement. A program for many experts computes only the chosen
ones: the terms that it leaves out are 0, in y and in all gradients.
"""

import numpy as np
from numpy.typing import DTypeLike

from minitransformer.layers.attention import Weigh
from minitransformer.layers.feed_forward import swiglu
from minitransformer.layers.linear import rows
from minitransformer.layers.modern.balancing_bias import ChoiceBias
from minitransformer.layers.modern.checks import check_mixture
from minitransformer.layers.modern.top_k_gates import top_k_gates
from minitransformer.module import Array, Arrays, Backward, Identity, Module, Parameter, apply, identity


def mixture_of_experts(
    x: Array,
    router: Array,
    w_gate: Array,
    w_up: Array,
    w_down: Array,
    *,
    k: int,
    balance: Array | None = None,
    on_logits: Weigh | None = None,
) -> tuple[Array, Backward[Arrays]]:
    """Map x (..., C) to y (..., C) by k of E experts: router (C, E), w_gate and w_up (E, C, F), w_down (E, F, C).

    For each position p and expert n, with W_n the n-th matrix of W:

        logits = x W_router                             (1)
        gates = top_k_gates(logits)                     (2)
        g_n = x W_gate_n    u_n = x W_up_n              (3)
        a = swiglu(g, u)                                (4)
        h_n = a_n W_down_n                              (5)
        y_pc = Σ_n gates_pn h_npc                       (6)

    For `balance` (E,), see top_k_gates. `on_logits` is a hook, a differentiable function of the logits (..., E), whose
    result takes their place in (2).

    Saved for backward: X (P, C), router (C, E), w_gate (E, C, F), w_up (E, C, F), w_down (E, F, C), G (E, P, 1), a (E,
    P, F), h (E, P, C), and the arrays that top_k_gates, swiglu and `on_logits` save. X are the P positions of
    x, and G the gates.

    Raises: TypeError for an array that is not floating-point, or a k that is not an integer; ValueError for
    inconsistent shapes, or a k that is not from 1 to E.
    """
    check_mixture(x, router, w_gate, w_up, w_down, k)
    shape, X = x.shape, rows(x)
    logits, by_position = X @ router, (*shape[:-1], len(w_gate))  # (1) (P, E)
    hooked, on_logits_backward = (on_logits or identity)(logits.reshape(by_position))
    gates, top_k_gates_backward = top_k_gates(rows(hooked), k=k, balance=balance)  # (2) (P, E)
    g, u = X @ w_gate, X @ w_up  # (3) (E, P, F)
    a, swiglu_backward = swiglu(g, u)  # (4)
    h = a @ w_down  # (5) (E, P, C)
    G = gates.T[..., None]  # (E, P, 1)
    Y = (G * h).sum(axis=0)  # (6) (P, C)

    def backward(dy):
        """Each factor of (6) gets the gradient times the other one; a gate is read by all channels of its expert:

            dgates_pn = Σ_c dy_pc h_npc    dh_npc = gates_pn dy_pc      (7)

        From there on each expert is a gated layer of its own. For each n separately, see feed_forward.py,

            da_n = dh_n W_down_nᵀ    dW_down_n = a_nᵀ dh_n      (8)
            dg, du = swigluᵀ(da)                            (9)
            dW_gate_n = xᵀ dg_n    dW_up_n = xᵀ du_n        (10)

        and the router is a linear map behind its gates, with fᵀ(dy) for the backward of f:

            dlogits = top_k_gatesᵀ(dgates)                  (11)
            dW_router = xᵀ dlogits                          (12)

        x reaches y along 2 E + 1 paths: through both maps of each expert, and through the router.

            dx = dlogits W_routerᵀ + Σ_n (dg_n W_gate_nᵀ + du_n W_up_nᵀ)    (13)

        Where a gate is 0, so are dh and all that follows from it: an expert learns only from the positions that have
        chosen it. Its gate has a gradient dgates that is not 0 there, but (11) ignores it. For k = 1 the gradient of
        the logits is zero too, and the router does not learn; load_balance.py is another. Without the last path,
        through the router, dx is nearly right when all experts are alike, as at the start of training, for then Σ_n
        dgates_pn ∂gates_pn/∂x vanishes: the gates sum to 1.
        """
        dY = rows(dy)
        dgates = (dY * h).sum(axis=-1).T  # (7) ← Σ_n gates_pn h_npc (6)
        dh = G * dY  # (7) ← Σ_n gates_pn h_npc (6)
        da = dh @ w_down.swapaxes(-1, -2)  # (8) ← a_n W_down_n (5)
        dw_down = a.swapaxes(-1, -2) @ dh  # (8) ← a_n W_down_n (5)
        dg, du = swiglu_backward(da)  # (9) ← swiglu(g, u) (4)
        dw_gate, dw_up = X.T @ dg, X.T @ du  # (10) ← x W_gate_n (3), x W_up_n (3)
        dhooked = top_k_gates_backward(dgates).reshape(by_position)
        dlogits = rows(on_logits_backward(dhooked))  # (11) ← top_k_gates(logits) (2)
        drouter = X.T @ dlogits  # (12) ← x W_router (1)
        experts = dg @ w_gate.swapaxes(-1, -2) + du @ w_up.swapaxes(-1, -2)
        dX = dlogits @ router.T + experts.sum(axis=0)  # (13) ← x W_router (1), x W_gate_n (3), x W_up_n (3)
        return dX.reshape(shape), drouter, dw_gate, dw_up, dw_down

    return Y.reshape(shape), backward


class MixtureOfExperts(Module):
    """E experts (`n_experts`), of which each position uses k (`n_active`), in place of one gated feed-forward layer.

    The layers have no biases. `std` and `residual_std` are as in FeedForward, which has the other arguments too.
    `balance` (E,) is the bias of the choice, initially 0.

    Hook: `logits` (..., E) of the router.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        n_experts: int,
        n_active: int,
        *,
        std: float = 0.02,
        residual_std: float | None = None,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ):
        rng = rng if rng is not None else np.random.default_rng(0)

        def drawn(std: float, *shape: int) -> Parameter:
            return Parameter(rng.normal(0, std, shape).astype(dtype))

        self.n_active = n_active
        self.router = drawn(std, d_model, n_experts)
        self.w_gate, self.w_up = drawn(std, n_experts, d_model, d_ff), drawn(std, n_experts, d_model, d_ff)
        self.w_down = drawn(std if residual_std is None else residual_std, n_experts, d_ff, d_model)

        self.balance = ChoiceBias(np.zeros(n_experts, dtype))
        self.logits = Identity()

    def forward(self, x: Array) -> tuple[Array, Backward[Array]]:
        """Map x (..., C) to (..., C) by mixture_of_experts."""
        arrays = x, self.router, self.w_gate, self.w_up, self.w_down
        on_logits = self.logits if self.logits.is_hooked else None
        return apply(mixture_of_experts, *arrays, k=self.n_active, balance=self.balance.data, on_logits=on_logits)

    def multiplications(self, T: int) -> int:
        """Return the multiplications of one position in matrix products: the router, and the chosen experts."""
        _, C, F = self.w_gate.data.shape
        return self.router.data.size + 3 * self.n_active * C * F
