"""Low-rank adapters (LoRA; Hu et al., 2021): a frozen linear map plus a learned correction of low rank.

Fine-tuning continues the training of a given model, mostly with few texts of one kind. A parameter that it leaves
unchanged is frozen. It needs no memory for its gradient and for the averages of the optimizer (optim.py), and many
fine-tuned models can share it.

An adapted layer gives x W + b + y, in which W and b are frozen by fine-tuning, and y = s · x A B is the correction. The
adapters A (I, R) and B (R, O) have R (I + O) entries, which are learned instead of I · O. For 768 features in and out
and an R of 8, these are 12,288 instead of 589,824. R is called the rank, because the matrix A B has at most this rank.
The setting α gives the scale s = α / R, with the intention that a learning rate found for one R also suits another.

Only the product A B matters: for any invertible M (R, R), A M and M⁻¹ B define the same layer, with the same loss. Let
M be the identity matrix plus ε N, with a small number ε and any N. Up to terms of ε², its inverse is the identity minus
ε N. Then A changes by ε A N, B by −ε N B, and the loss by ε times the sum over the entries of dA · (A N) − dB · (N B),
up to terms of ε². This is the sum over the entries of (Aᵀ dA − dB Bᵀ) · N, which is zero for every N. So the two
gradients are related by Aᵀ dA = dB Bᵀ. Indeed, by (1), (3), (5) and (6) below, both sides equal s · hᵀ dy Bᵀ with h = x
A.

B is initialized to zero and A is not, so y = 0, and training starts from exactly the given model. A check at these
values would compare zeros: with a B of zero, dh is zero by (3), so that even a wrong (4) or (5) gives dA = 0 and dx =
0. The cases of this layer (cases.py) therefore draw B at random. If A were zero as well, h and dB would also be zero,
and neither A nor B would ever change.
"""

import difflib
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial

import numpy as np

from minitransformer.layers.checks import check_low_rank, check_rank
from minitransformer.layers.linear import Linear, linear, rows
from minitransformer.module import Array, Arrays, Backward, Module, Parameter, apply


def low_rank(x: Array, a: Array, b: Array, *, scale: float = 1.0) -> tuple[Array, Backward[Arrays]]:
    """Map x (..., I) to scale · x @ a @ b, with a (I, R) and b (R, O), where R is small. Returns y (..., O).

    This is only the correction; LowRankLinear adds it to the frozen map. For each position separately, with A and B for
    a and b, and s the scale:

        h = x A                                         (1)
        y = s · h B                                     (2)

    With h computed first, the matrix A B, which is as large as W, is never formed.

    Saved for backward: x (..., I), h (..., R), a (I, R), b (R, O).

    Raises: TypeError for an array that is not floating-point; ValueError if the last axis of x is not I, or the rows of
    b are not R.
    """
    check_low_rank(x, a, b)
    s = float(scale)
    h = x @ a  # (1) (..., R)
    y = s * (h @ b)  # (2) (..., O)

    def backward(dy):
        """x reaches y only through h, which has only R features.

        These are two linear maps in reverse (see linear.py). The output h B of the second is multiplied by s, so its
        upstream gradient is s · dy:

            dh = s · dy Bᵀ                                  (3)
            dx = dh Aᵀ                                      (4)
            dA = xᵀ dh      (summed over positions)         (5)
            dB = hᵀ (s · dy)      (summed over positions)   (6)
        """
        scaled = s * dy
        dh = scaled @ b.T  # (3) ← s · h B (2)
        dx = dh @ a.T  # (4) ← x A (1)
        da = rows(x).T @ rows(dh)  # (5) ← x A (1)
        db = rows(h).T @ rows(scaled)  # (6) ← s · h B (2)
        return dx, da, db

    return y, backward


class LowRankLinear(Module):
    """A Linear with adapters a (I, R), initially drawn from N(0, 1/I), and b (R, O), initially zero.

    With the variance 1/I, the entries of h are about as large as those of x. The layer has the same Parameters, weight
    (I, O) and bias, as the Linear. The correction is multiplied by `alpha` / `rank`.

    Raises: ValueError if the rank is not from 1 to min(I, O).
    """

    def __init__(self, layer: Linear, rank: int, alpha: float, *, rng: np.random.Generator | None = None):
        d_in, d_out = layer.weight.data.shape
        check_rank(rank, d_in, d_out)
        rng = rng if rng is not None else np.random.default_rng(0)
        dtype = layer.weight.data.dtype
        self.weight, self.bias = layer.weight, layer.bias
        self.a = Parameter(rng.normal(0, d_in**-0.5, (d_in, rank)).astype(dtype))
        self.b = Parameter(np.zeros((rank, d_out), dtype))
        self.scale = alpha / rank

    def forward(self, x: Array) -> tuple[Array, Backward[Array]]:
        """Map x (..., I) to (..., O).

        The frozen map and the correction both read x, so backward adds their gradients of x.
        """
        y, linear_backward = apply(linear, x, self.weight, self.bias)
        correction, low_rank_backward = apply(low_rank, x, self.a, self.b, scale=self.scale)

        def backward(dy):
            return linear_backward(dy) + low_rank_backward(dy)

        return y + correction, backward

    def merged_weight(self) -> Array:
        """Return the matrix (I, O) of the layer with its correction.

        The frozen map and the correction are both linear in x, so one matrix replaces three, and computing with the
        fine-tuned model costs no more than with the given one:

            W′ = W + s · A B                                (7)
        """
        return self.weight.data + self.scale * (self.a.data @ self.b.data)  # (7)


def add_adapters(model: Module, patterns, rank: int, alpha: float, *, rng=None) -> list[str]:
    """Replace every Linear whose dotted name matches a pattern with a LowRankLinear.

    A dotted name, such as "blocks.0.attention.w_q", is the path of attributes to the layer. In a pattern, such as
    "*.attention.w_q", * matches any characters. Returns the names of the adapted layers. Raises ValueError, without
    changing the model, if no Linear matches a pattern or if the rank is out of range.
    """
    rng = rng if rng is not None else np.random.default_rng(0)
    linears = {name: (linear, put) for name, linear, put in slots(model, Linear)}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in linears):
            near = difflib.get_close_matches(pattern, linears, n=1, cutoff=0.0)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"LoRA: no linear layer matches {pattern!r}{hint}")
    adapted = [name for name in linears if any(fnmatchcase(name, pattern) for pattern in patterns)]
    layers = [LowRankLinear(linears[name][0], rank, alpha, rng=rng) for name in adapted]
    for name, layer in zip(adapted, layers, strict=True):
        linears[name][1](layer)
    return adapted


def merge_adapters(model: Module) -> None:
    """Replace every LowRankLinear of the model with a Linear that has the merged weight."""
    for _, layer, put in slots(model, LowRankLinear):
        layer.weight.data = layer.merged_weight()
        put(unadapted(layer, layer.weight))


@contextmanager
def merged(model: Module):
    """Merge all adapters, as merge_adapters does, inside a `with` block. Restore them at the end.

    A checkpoint saved in the block contains an ordinary model, which can be loaded without adapters.
    """
    adapted = slots(model, LowRankLinear)
    try:
        for _, layer, put in adapted:
            put(unadapted(layer, Parameter(layer.merged_weight())))
        yield model
    finally:
        for _, layer, put in adapted:
            put(layer)


def unmerged_parameters(model: Module) -> dict:
    """Return {parameter name: array} of every LowRankLinear.

    Merging replaces the weights and removes the adapters, so training can be resumed only with these arrays.
    """
    prefixes = tuple(f"{name}." for name, *_ in slots(model, LowRankLinear))
    return {name: parameter.data for name, parameter in model.named_parameters() if name.startswith(prefixes)}


def slots(model: Module, kind: type):
    """Return (dotted name, module, put) for every submodule whose class is exactly `kind`.

    put(other) replaces the module with another one, in the attribute or the list that contains it.
    """
    parents = [("", model), *((f"{name}.", module) for name, module in model.named_modules())]
    return [
        (prefix + attribute, child, partial(put_in_slot, parent, attribute))
        for prefix, parent in parents
        for attribute, child in parent.children()
        if type(child) is kind
    ]


def put_in_slot(parent: Module, attribute: str, module: Module) -> None:
    """Replace a child of `parent`. `attribute` is its name, or "name.i" for entry i of a list."""
    name, _, index = attribute.partition(".")
    if index:
        getattr(parent, name)[int(index)] = module
    else:
        setattr(parent, name, module)


def unadapted(layer: LowRankLinear, weight: Parameter) -> Linear:
    d_in, d_out = weight.data.shape
    linear_layer = Linear(d_in, d_out, bias=False)
    linear_layer.weight, linear_layer.bias = weight, layer.bias
    return linear_layer
