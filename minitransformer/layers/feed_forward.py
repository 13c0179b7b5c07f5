"""Feed-forward layers: the same function at each position, independently of the other positions.

A linear map takes the C channels of a position to F hidden ones, usually more. A function that is not linear acts on
each of these, and a second linear map takes them back to C. Without the function, the two would be a single linear map,
with the matrix W_up W_down: products of matrices are associative.

The gated layer, GatedFeedForward, has two maps to F channels, applies the function to the result of one, and multiplies
it by that of the other. So it has three matrices of C times F entries instead of two. With F = 8 C/3, the three have as
many entries as the two matrices of the plain layer, FeedForward, with F = 4 C.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minitransformer.layers.activations import gelu, relu, silu
from minitransformer.layers.checks import check_choice, check_swiglu
from minitransformer.layers.linear import Linear
from minitransformer.layers.modern.relu_squared import relu_squared
from minitransformer.module import Array, Arrays, Backward, Module, apply


class FeedForward(Module):
    """Two linear maps with an activation between them, which is the key of an entry of FEED_FORWARDS below.

    `std` is the standard deviation of the initial weights. `residual_std`, if given, replaces it in the last map (see
    transformer.py).
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: str = "gelu",
        *,
        bias: bool = True,
        std: float = 0.02,
        residual_std: float | None = None,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ):
        check_choice("activation", activation, names(gated=False))
        rng = rng if rng is not None else np.random.default_rng(0)
        self.up = Linear(d_model, d_ff, bias, std=std, rng=rng, dtype=dtype)
        self.down = Linear(d_ff, d_model, bias, std=std if residual_std is None else residual_std, rng=rng, dtype=dtype)
        self.activation = FEED_FORWARDS[activation].function

    def forward(self, x: Array) -> tuple[Array, Backward[Array]]:
        """Map x (..., C) to (..., C) (Vaswani et al., 2017).

        With an activation f and a hidden width F, usually 4 C:

            h = x W_up + b_up                               (1)
            a = f(h)                                        (2)
            y = a W_down + b_down                           (3)
        """
        h, up_backward = self.up(x)  # (1) (..., F)
        a, activation_backward = apply(self.activation, h)  # (2)
        y, down_backward = self.down(a)  # (3) (..., C)

        def backward(dy):
            """Apply the chain rule from the last step to the first.

            With the gradients derived in linear.py and activations.py,

                da = dy W_downᵀ                                 (4)
                dh = da · f′(h)                                 (5)
                dx = dh W_upᵀ                                   (6)

            The backward of each Linear also accumulates the gradients of its weight and bias.
            """
            da = down_backward(dy)  # (4) ← a W_down (3)
            dh = activation_backward(da)  # (5) ← f(h) (2)
            dx = up_backward(dh)  # (6) ← x W_up (1)
            return dx

        return y, backward


def swiglu(g: Array, u: Array) -> tuple[Array, Backward[Arrays]]:
    """Return silu(g) · u, for g and u of the same shape.

        a = silu(g)                                     (7)
        p = a · u                                       (8)

    For g far below 0, silu(g) is nearly 0, and for g far above 0 it is nearly g. So g, the gate, determines how much of
    u is passed on.

    Saved for backward: a (...), u (...), and the arrays that silu saves.

    Raises: TypeError if an array is not floating-point; ValueError if the shapes differ.
    """
    check_swiglu(g, u)
    a, silu_backward = silu(g)  # (7)
    p = a * u  # (8)

    def backward(dp):
        """The gradient of each factor is that of the product, multiplied by the other factor.

        Entry by entry ∂p/∂a = u and ∂p/∂u = a, and g is reached through a, so

            da = dp · u    du = dp · a                      (9)
            dg = da · silu′(g)                              (10)
        """
        da = dp * u  # (9) ← a · u (8)
        du = dp * a  # (9) ← a · u (8)
        dg = silu_backward(da)  # (10) ← silu(g) (7)
        return dg, du

    return p, backward


class GatedFeedForward(Module):
    """A gated layer, by default SwiGLU, which Llama uses: three linear maps, by default without biases.

    The name stands for a gated linear unit whose activation is Swish, another name of SiLU. `activation` is the key of
    an entry of FEED_FORWARDS below, whose function is in the place of swiglu in (12). `std` and `residual_std` are as
    in FeedForward.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: str = "swiglu",
        *,
        bias: bool = False,
        std: float = 0.02,
        residual_std: float | None = None,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ):
        check_choice("activation", activation, names(gated=True))
        rng = rng if rng is not None else np.random.default_rng(0)
        self.gate = Linear(d_model, d_ff, bias, std=std, rng=rng, dtype=dtype)
        self.up = Linear(d_model, d_ff, bias, std=std, rng=rng, dtype=dtype)
        self.down = Linear(d_ff, d_model, bias, std=std if residual_std is None else residual_std, rng=rng, dtype=dtype)
        self.activation = FEED_FORWARDS[activation].function

    def forward(self, x: Array) -> tuple[Array, Backward[Array]]:
        """Map x (..., C) to (..., C) (Shazeer, 2020).

        One linear map of x, the gate g, determines how much of the other, u, is passed on:

            g = x W_gate    u = x W_up                      (11)
            p = silu(g) · u                                 (12)
            y = p W_down                                    (13)

        A bias is added to each product if the layer has biases.
        """
        g, gate_backward = self.gate(x)  # (11) (..., F)
        u, up_backward = self.up(x)  # (11) (..., F)
        p, swiglu_backward = apply(self.activation, g, u)  # (12)
        y, down_backward = self.down(p)  # (13) (..., C)

        def backward(dy):
            """Apply the chain rule from the last step to the first.

            x reaches y along two paths, through g and through u, and the paths add. fᵀ(dy) is the backward pass of f,
            applied to dy, and swigluᵀ returns two gradients, by (10) and (9):

                dp = dy W_downᵀ                                 (14)
                dg, du = swigluᵀ(dp)                            (15)
                dx = dg W_gateᵀ + du W_upᵀ                      (16)
            """
            dp = down_backward(dy)  # (14) ← p W_down (13)
            dg, du = swiglu_backward(dp)  # (15) ← silu(g) · u (12)
            dx = gate_backward(dg) + up_backward(du)  # (16) ← x W_gate (11), x W_up (11)
            return dx

        return y, backward


@dataclass(frozen=True)
class FeedForwardChoice:
    """One of the values of Config.feed_forward: all that other files need to know of it.

    function   differentiable, of h for a FeedForward, or of g and u for a GatedFeedForward
    gated      True for a GatedFeedForward
    hub        names of the function in a config.json of the Hugging Face hub, the one to write first; () if it has none
    torch      the function in PyTorch, with torch.nn.functional as first argument; None if it has none
    """

    function: Callable[..., Any]
    gated: bool = False
    hub: tuple[str, ...] = ()
    torch: Callable[..., Any] | None = None

    @property
    def matrices(self) -> int:
        """Return the number of matrices of C times F entries."""
        return 3 if self.gated else 2

    def default_width(self, d_model: int) -> int:
        """Return F, by default 4 C, or for three matrices 8 C/3, rounded up to a multiple of 8."""
        return math.ceil(d_model / 3) * 8 if self.gated else 4 * d_model


FEED_FORWARDS = {
    "gelu": FeedForwardChoice(gelu, hub=("gelu",), torch=lambda f, h: f.gelu(h)),
    "gelu_tanh": FeedForwardChoice(
        partial(gelu, approximate="tanh"),
        hub=("gelu_new", "gelu_pytorch_tanh"),
        torch=lambda f, h: f.gelu(h, approximate="tanh"),
    ),
    "relu": FeedForwardChoice(relu, hub=("relu",), torch=lambda f, h: f.relu(h)),
    "relu_squared": FeedForwardChoice(relu_squared, hub=("relu2",), torch=lambda f, h: f.relu(h).square()),
    "swiglu": FeedForwardChoice(swiglu, gated=True, hub=("silu", "swish"), torch=lambda f, g, u: f.silu(g) * u),
}


def names(*, gated: bool) -> list[str]:
    """Return the keys of the gated entries of FEED_FORWARDS, or of the others."""
    return [name for name, choice in FEED_FORWARDS.items() if choice.gated == gated]


def feed_forward_layer(kind: str, d_model: int, d_ff: int, **options: Any) -> FeedForward | GatedFeedForward:
    """Return the layer of an entry of FEED_FORWARDS. The options are those of the two classes."""
    layer = GatedFeedForward if FEED_FORWARDS[kind].gated else FeedForward
    return layer(d_model, d_ff, kind, **options)
