"""Feed-forward layers: what a transformer does at each position by itself.

**Plain** (Vaswani et al., 2017), with an activation f and a hidden width F, usually 4 C:

    h = x W_up + b_up                               (1)
    y = f(h) W_down + b_down                        (2)

Backward, each step in reverse, with linear.py and activations.py:

    da = dy W_downᵀ                                 (3)
    dx = (da · f′(h)) W_upᵀ                         (4)

**Gated**, SwiGLU (Shazeer, 2020), which Llama uses: a second projection decides how much of the first passes,

    g = x W_gate    u = x W_up                      (5)
    p = silu(g) · u                                 (6)
    y = p W_down                                    (7)

Backward. The product (6) sends its gradient to both factors, each times the other, and x is reached along both:

    dp = dy W_downᵀ                                 (8)
    dg = dp · u · silu′(g)    du = dp · silu(g)     (9)
    dx = dg W_gateᵀ + du W_upᵀ                      (10)

With three matrices in place of two, F = 8/3 C has the parameters of the plain layer at 4 C.

Saved for backward: what linear and the activations save, for W_down that is p; the gated layer also g and u, each
(..., F). silu(g) and its slope are worked out again from g: to keep silu(g) and σ took a quarter more memory for a
Llama's whole training step, and no less time, since what is not written need not be read.
"""

from functools import partial

import numpy as np

from minitransformer.layers.activations import gelu, logistic, relu, silu_slope
from minitransformer.layers.elementwise import elementwise
from minitransformer.layers.linear import Linear
from minitransformer.module import Module, apply

ACTIVATIONS = {"gelu": gelu, "gelu_tanh": partial(gelu, approximate="tanh"), "relu": relu}


class FeedForward(Module):
    """Two linear maps with an activation between them: `gelu`, `gelu_tanh` or `relu`."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: str = "gelu",
        *,
        bias: bool = True,
        std: float = 0.02,
        residual_std: float | None = None,
        rng=None,
        dtype=np.float32,
    ):
        if activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}; known are {', '.join(ACTIVATIONS)}")
        rng = rng if rng is not None else np.random.default_rng(0)
        self.up = Linear(d_model, d_ff, bias, std=std, rng=rng, dtype=dtype)
        self.down = Linear(d_ff, d_model, bias, std=std if residual_std is None else residual_std, rng=rng, dtype=dtype)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x):
        """Map x (..., C) to (..., C)."""
        h, up_backward = self.up(x)  # (1)
        a, activation_backward = apply(self.activation, h)
        y, down_backward = self.down(a)  # (2)

        def backward(dy):
            da = down_backward(dy)  # (3)
            return up_backward(activation_backward(da))  # (4)

        return y, backward


def swiglu(g, u):
    """Return silu(g) · u, for g and u of one shape. Raises ValueError for two."""
    if g.shape != u.shape:
        raise ValueError(f"swiglu: g {g.shape} and u {u.shape} must have the same shape")

    def product(g, u):
        return g * logistic(g) * u  # (6)

    def backward(dp):
        def factors(dp, g, u):
            sigma = logistic(g)
            return dp * u * silu_slope(g, sigma), dp * (g * sigma)  # (9)

        return elementwise(factors, dp, g, u)

    return elementwise(product, g, u), backward


class GatedFeedForward(Module):
    """SwiGLU: three linear maps, without biases unless asked for."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        bias: bool = False,
        std: float = 0.02,
        residual_std: float | None = None,
        rng=None,
        dtype=np.float32,
    ):
        rng = rng if rng is not None else np.random.default_rng(0)
        self.gate = Linear(d_model, d_ff, bias, std=std, rng=rng, dtype=dtype)
        self.up = Linear(d_model, d_ff, bias, std=std, rng=rng, dtype=dtype)
        self.down = Linear(d_ff, d_model, bias, std=std if residual_std is None else residual_std, rng=rng, dtype=dtype)

    def forward(self, x):
        """Map x (..., C) to (..., C)."""
        g, gate_backward = self.gate(x)  # (5)
        u, up_backward = self.up(x)  # (5)
        p, swiglu_backward = apply(swiglu, g, u)  # (6)
        y, down_backward = self.down(p)  # (7)

        def backward(dy):
            dp = down_backward(dy)  # (8)
            dg, du = swiglu_backward(dp)  # (9)
            return gate_backward(dg) + up_backward(du)  # (10)

        return y, backward
