"""Feed-forward layers: what a transformer does at each position by itself.

The gated layer has three matrices in place of two: with F = 8/3 C it has the parameters of the plain one at F = 4 C.
"""

from functools import partial

import numpy as np

from minitransformer.layers.activations import gelu, relu, silu
from minitransformer.layers.linear import Linear
from minitransformer.module import Module, apply, require_floating

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
        """Map x (..., C) to (..., C) (Vaswani et al., 2017).

        With an activation f and a hidden width F, usually 4 C:

            h = x W_up + b_up                               (1)
            y = f(h) W_down + b_down                        (2)
        """
        h, up_backward = self.up(x)  # (1)
        a, activation_backward = apply(self.activation, h)
        y, down_backward = self.down(a)  # (2)

        def backward(dy):
            """Each step in reverse.

            By linear.py and activations.py, with a = f(h),

                da = dy W_downᵀ                                 (3)
                dx = (da · f′(h)) W_upᵀ                         (4)
            """
            da = down_backward(dy)  # (3)
            dx = up_backward(activation_backward(da))  # (4)
            return dx

        return y, backward


def swiglu(g, u):
    """Return silu(g) · u, for g and u of one shape.

        a = silu(g)                                     (5)
        p = a · u                                       (6)

    Raises TypeError for an array that is not floating-point, ValueError where the shapes differ. Saved for backward:
    a (...), u (...), and what silu saves.
    """
    check_arguments(g, u)
    a, silu_backward = silu(g)  # (5)
    p = a * u  # (6)

    def backward(dp):
        """A product sends its gradient to both factors, to each times the other.

        And silu is reached through its value, so

            da = dp · u    du = dp · a                      (7)
            dg = da · silu′(g)                              (8)
        """
        da = dp * u  # (7)
        du = dp * a  # (7)
        dg = silu_backward(da)  # (8)
        return dg, du

    return p, backward


def check_arguments(g, u):
    """Raise TypeError unless g and u are floating-point, ValueError unless they have one shape."""
    require_floating("swiglu", g=g, u=u)
    if g.shape != u.shape:
        raise ValueError(f"swiglu: g {g.shape} and u {u.shape} must have the same shape")


class GatedFeedForward(Module):
    """SwiGLU, which Llama uses: three linear maps, without biases unless asked for."""

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
        """Map x (..., C) to (..., C) (Shazeer, 2020).

        One projection decides how much of the other passes:

            g = x W_gate    u = x W_up                      (9)
            p = silu(g) · u                                 (10)
            y = p W_down                                    (11)
        """
        g, gate_backward = self.gate(x)  # (9)
        u, up_backward = self.up(x)  # (9)
        p, swiglu_backward = apply(swiglu, g, u)  # (10)
        y, down_backward = self.down(p)  # (11)

        def backward(dy):
            """Each step in reverse.

            x is reached along both projections, and paths add:

                dp = dy W_downᵀ                                 (12)
                dg, du = swiglu's backward of dp                (13)
                dx = dg W_gateᵀ + du W_upᵀ                      (14)
            """
            dp = down_backward(dy)  # (12)
            dg, du = swiglu_backward(dp)  # (13)
            dx = gate_backward(dg) + up_backward(du)  # (14)
            return dx

        return y, backward
