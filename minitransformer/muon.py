"""Muon: momentum, and the orthogonal matrix nearest to it (Jordan et al., 2024).

AdamW moves every entry by about lr, whatever the other entries of the matrix do. But a matrix acts on vectors, and its
gradient has a few directions that are much larger than all others. A step along the gradient changes the outputs in
those few directions only. Muon makes all directions of the step equally large. It is for matrices: the weights of the
blocks. Embeddings, gains and biases are trained with AdamW (see optim.py).
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from minitransformer.module import Array, Parameter, faster
from minitransformer.optim import AdamW, Optimizer, decay_groups
from minitransformer.system.validation import check_int, number, true_or_false
from minitransformer.transformer import Transformer

SLOPE, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315  # a, b and c of (3), found by Jordan et al. with a numerical search


def orthogonalize(G: Array, *, steps: int = 5) -> Array:
    """Return a matrix near the orthogonal matrix that is nearest to G (..., M, N), as the step of Muon needs it.

    Here ⟨G, O⟩ is the sum of the products of the entries, and ‖G‖² = ⟨G, G⟩. A matrix that is not square is called
    orthogonal if its rows or its columns, whichever are fewer, are orthonormal.

    Every matrix is G = U S Vᵀ, its singular value decomposition. The columns u_i of U are orthonormal, as are the
    columns v_i of V. G maps v_i to σ_i u_i, and the diagonal matrix S contains the singular values σ_i > 0. A step O
    changes the output of the matrix by at most ‖O‖₂, the largest singular value of O, times the length of the input. Of
    all steps with ‖O‖₂ ≤ 1, the one along which a loss with the gradient G changes most maximizes

        ⟨G, O⟩ = Σ_i σ_i (u_iᵀ O v_i) ≤ Σ_i σ_i

    where the bound holds because no u_iᵀ O v_i exceeds 1. O = U Vᵀ reaches it, since u_iᵀ U Vᵀ v_i = 1. This is G with
    all singular values replaced by 1. If G has full rank, it is also the nearest orthogonal matrix: ‖O‖² is the same
    number for all of them, and ‖G − O‖² = ‖G‖² − 2 ⟨G, O⟩ + ‖O‖² is least where ⟨G, O⟩ is largest.

    A decomposition at each step is slow. The iteration of Newton and Schulz needs products only. It begins with

        X = G / ‖G‖                                     (1)

    where ‖G‖² = Σ_i σ_i², so no singular value of X exceeds 1. With the numbers a, b and c in SLOPE, CUBIC and QUINTIC,
    each step is

        A = X Xᵀ                                        (2)
        X′ = a X + (b A + c A²) X                       (3)

    With X = U S Vᵀ, A is U S² Uᵀ, and A² is U S⁴ Uᵀ, because UᵀU = I. Therefore

        X′ = U (a S + b S³ + c S⁵) Vᵀ

    U and V do not change, and each singular value s becomes φ(s) = a s + b s³ + c s⁵, without being computed.

    Why the singular values end near 1 and not at 1. A small s becomes about a s, so `steps` steps multiply it by
    a^steps. An iteration converges to 1 if φ(1) = 1 and |φ′(1)| < 1, and fast if φ′(1) = 0. With the usual choice φ″(1)
    = 0 as well, a is 15/8, and five steps multiply by 23. The published a = 3.4445 multiplies by 485. Its price is that
    φ(1) = 0.701, and that at the fixed point of φ, s = 0.868, the slope φ′(s) is −1.58. A distance to the fixed point
    grows in each step, so the iteration does not converge. But it stays close: φ maps 0 … 1.203 into itself, with its
    maximum 1.2024 at s = 0.555, and 0.211 … 1.203 into 0.681 … 1.203, with the minimum at s = 1.050. After five steps,
    every singular value that was at least 0.0016 in (1) is between 0.681 and 1.203. A step of Muon needs the order of
    magnitude, not the last digits.

    If M > N, the iteration is applied to Gᵀ, and the result is transposed. It is the same, since Xᵀ has the singular
    values of X, but A has the smaller of the two sizes, and most of the work is in the products with A.

    G is float32 or float64 and the result has its dtype. Leading axes are a batch of matrices. A matrix of zeros has
    the result 0. Raises ValueError unless G has at least two axes and `steps` is at least 0, and TypeError if G is not
    floating-point.
    """
    if G.ndim < 2 or not np.issubdtype(G.dtype, np.floating):
        error = ValueError if G.ndim < 2 else TypeError
        raise error(f"orthogonalize: G must be a floating-point matrix, not {G.dtype} with shape {G.shape}")
    check_int("orthogonalize: steps", steps, minimum=0)
    is_tall = G.shape[-2] > G.shape[-1]
    wide = G.swapaxes(-1, -2) if is_tall else G
    # In float64, because squares of float32 may overflow or vanish.
    norm = np.sqrt(np.sum(np.square(wide, dtype=np.float64), axis=(-2, -1), keepdims=True))
    X = np.divide(wide, np.where(norm > 0, norm, 1), dtype=np.float64).astype(G.dtype)  # (1)
    for _ in range(steps):
        A = X @ X.swapaxes(-1, -2)  # (2)
        X = SLOPE * X + (CUBIC * A + QUINTIC * (A @ A)) @ X  # (3)
    return X.swapaxes(-1, -2) if is_tall else X


def muon(
    theta: Array, g: Array, m: Array, *, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> tuple[Array, Array]:
    """Return θ′ and m′ after a step of Muon. θ (..., I, O), its gradient g and the momentum m have the same shape.

        decayed = θ − lr · λ · θ                        (4)
        m′ = μ m + g                                    (5)
        u = g + μ m′ with `nesterov`, otherwise m′      (6)
        θ′ = decayed − lr · √max(1, O/I) · orthogonalize(u)             (7)

    m is 0 before the first step, `momentum` is μ, and λ is `weight_decay`, which is decoupled from the gradient as in
    AdamW. (5) sums the gradients with weights that decrease by μ in each step. (6) uses the sum that the next step
    would have if it had the same gradient (Nesterov, 1983). A positive factor of all gradients changes nothing, since
    (1) divides by the norm. Therefore the factor 1 − μ, with which (5) would be an average, is left out.

    The factor in (7). θ maps I inputs to O outputs, as in x θ. If all singular values of a step are 1, and O ≥ I, the
    outputs have the length ‖x‖ of the inputs, so that an output is √(I/O) times as large as an input on average. The
    factor √(O/I) makes them equally large, and one lr suits all shapes. If O < I, the step maps some inputs to 0, and
    is not enlarged. Jordan et al. have weights of shape (O, I), and write rows / columns for O/I.
    """
    decayed = theta - lr * weight_decay * theta  # (4)
    m_new = momentum * m + g  # (5)
    u = g + momentum * m_new if nesterov else m_new  # (6)
    fan_in, fan_out = theta.shape[-2:]
    theta_new = decayed - lr * math.sqrt(max(1, fan_out / fan_in)) * orthogonalize(u)  # (7)
    return theta_new, m_new


def muon_in_place(moves, gradient_scale=1.0):
    """Take a step of Muon for every tuple (theta, g, m, settings) in `moves`, changing θ and m in place.

    `settings` are the options of muon. Each g is multiplied by gradient_scale.
    """
    for theta, g, m, settings in moves:
        theta[...], m[...] = muon(theta, gradient_scale * g, m, **settings)


class Muon(Optimizer):
    """Momentum that is orthogonalized, for matrices.

    `params` is a list of Parameters with at least two axes, or of groups as in AdamW. The entries "lr", "momentum",
    "nesterov" and "weight_decay" of a group replace the arguments of the same name.

    Raises the exceptions of AdamW, and ValueError if a parameter is not a matrix.
    """

    averages = ("m",)

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[dict[str, Any]],
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay})

    def check_group(self, group: dict[str, Any]) -> None:
        for name in ("lr", "weight_decay"):
            group[name] = number(f"Muon: {name}", group[name], minimum=0)
        group["momentum"] = number("Muon: momentum", group["momentum"], minimum=0, below=1)
        true_or_false("Muon: nesterov", group["nesterov"])
        for parameter in group["params"]:
            if parameter.data.ndim < 2:
                raise ValueError(f"Muon: params must be matrices, not a parameter of shape {parameter.data.shape}")

    def step(self, gradient_scale: float = 1.0) -> None:
        """Update in place every parameter that has a gradient. The gradients are multiplied by `gradient_scale`."""
        moves = [(theta, g, m, settings) for theta, g, (_, m), settings in self.moving()]
        faster(muon_in_place)(moves, gradient_scale)


class Together:
    """Several optimizers that take each step together. It has the interface of one."""

    def __init__(self, *parts: Optimizer):
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self, gradient_scale: float = 1.0) -> None:
        """Take a step of each optimizer."""
        for part in self.parts:
            part.step(gradient_scale)

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for part in self.parts:
            part.zero_grad()


def muon_with_adamw(
    model: Transformer, *, lr: float, betas: tuple[float, float], muon_lr: float, weight_decay: float, embeddings: bool
) -> Together:
    """Return Muon for the matrices of the blocks, and AdamW for the other parameters.

    `lr` and `betas` are those of AdamW. The decay is that of decay_groups.
    """
    of_blocks = {id(parameter) for block in model.blocks for parameter in block.parameters()}
    matrices, groups = [], []
    for group in decay_groups(model, weight_decay, embeddings=embeddings):
        groups.append({**group, "params": []})
        for parameter in group["params"]:
            is_for_muon = parameter.data.ndim >= 2 and id(parameter) in of_blocks
            (matrices if is_for_muon else groups[-1]["params"]).append(parameter)
    parts: list[Optimizer] = []
    if any(group["params"] for group in groups):  # some fine-tuning trains matrices only
        parts.append(AdamW(groups, lr=lr, betas=betas))
    if matrices:
        parts.append(Muon(matrices, lr=muon_lr, weight_decay=weight_decay))
    return Together(*parts)
