"""Positions of the tokens: learned, sinusoidal or rotary.

Attention is a sum over keys, and a sum does not depend on the order of its terms. The causal mask hides the later
tokens from a query, but within one layer nothing tells it which of the earlier ones is near and which is far. So the
model is given the position of each token.

**Learned** positions (GPT-2) are an embedding of the numbers 0, 1, 2, …, that is, a learned vector for each position,
added to the vector of the token: see embedding.py. **Sinusoidal** positions are a fixed table, added in the same place.
**Rotary** positions rotate queries and keys instead, and leave the values unchanged. The positions of a query and a key
then enter their score only through the difference.

Sinusoidal and rotary positions take the channels, the entries of a vector, in pairs. A pair is a point in a plane. It
turns by the same angle from each position to the next. The angle is large for the first pair and small for the last, so
the fast pairs distinguish neighbours, and the slow pairs distant positions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from minitransformer.layers.checks import check_even, check_rotary
from minitransformer.layers.embedding import Embedding
from minitransformer.layers.modern.checks import check_scaling
from minitransformer.layers.modern.yarn import yarn_keep, yarn_length
from minitransformer.module import Array, Backward, Module, apply


def frequencies(channels: int, base: float = 10000.0, scaling: dict[str, Any] | None = None) -> Array:
    """Return ω (C/2,), the angle in radians by which each pair turns per position, float64.

    Of C channels, pair i turns at the frequency

        ω_i = base^(−2i/C),   i = 0 … C/2 − 1           (1)

    The first pair completes a circle in about 6 positions. With many channels, the last pair needs nearly `base` times
    as many.

    `scaling` stretches a trained model to longer texts, in which slow pairs would otherwise reach angles that did not
    occur in training. {"rope_type": "linear", "factor": s} makes every pair turn s times as slowly, as if positions
    were s times as close:

        ω′ = ω / s                                      (2)

    {"rope_type": "llama3"} (Llama 3.1) slows down only the pairs that complete few circles within the original context,
    the N positions of the longest text in training. The other pairs have taken every angle there. For each pair:

        circles = N ω / 2π                              (3)
        keep = min(1, max(0, (circles − low) / (high − low)))     (4)
        ω′ = keep · ω + (1 − keep) · ω / s              (5)

    Pairs with at least `high` circles do not change, because keep = 1. Pairs with at most `low` circles turn s times as
    slowly, because keep = 0. Between them, (5) interpolates. Here s is "factor", N "original_max_position_embeddings",
    low "low_freq_factor" and high "high_freq_factor".

    {"rope_type": "yarn"} has other shares in (5), see modern/yarn.py.
    """
    check_scaling(scaling)
    omega = base ** (-np.arange(0, channels, 2) / channels)  # (1) (C/2,)
    if scaling is None:
        return omega
    s = scaling["factor"]
    if scaling["rope_type"] == "linear":
        return omega / s  # (2)
    if scaling["rope_type"] == "yarn":
        share = yarn_keep(channels, float(base), scaling)
        return share * omega + (1 - share) * omega / s  # (5)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    circles = scaling["original_max_position_embeddings"] * omega / (2 * math.pi)  # (3)
    keep = np.clip((circles - low) / (high - low), 0, 1)  # (4)
    return keep * omega + (1 - keep) * omega / s  # (5)


def sinusoidal_positions(T: int, C: int) -> NDArray[np.float64]:
    """Return a fixed table P (T, C), float64 (Vaswani et al., 2017). Raises ValueError for an odd C.

    It has a row of C channels for each of the positions 0, 1, …, T − 1.
    """
    return sinusoidal_rows(np.arange(T), C)


def sinusoidal_rows(positions, C: int):
    """Return the rows (T, C) of `positions` (T,) in the sinusoidal table, float64. Raises ValueError for an odd C.

    For a position t and a pair i of the C channels, with ω_i of (1):

        P[t, 2i] = sin(t ω_i)    P[t, 2i+1] = cos(t ω_i)          (6)

    From one position to the next, pair i turns by the angle ω_i, the same everywhere. So the rotation of the pairs from
    row t to row t + n depends only on n. It is a linear map, which a layer can learn. The table itself is not learned,
    so it needs no gradient.
    """
    check_even(C)
    angles = np.asarray(positions)[:, None] * frequencies(C)
    return joined(np.sin(angles), np.cos(angles), "interleaved")  # (6) (T, C)


def rotary(
    x: Array,
    *,
    positions: ArrayLike,
    base: float = 10000.0,
    layout: str = "half",
    scaling: dict[str, Any] | None = None,
) -> tuple[Array, Backward[Array]]:
    """Rotate each pair of channels of x (..., T, D) by the angle t ω of its position t (Su et al., 2021).

    x are queries or keys, with a row of D channels for each of T tokens. `positions` (T,) are any integers, one for
    each row. ω is given by (1) for D channels. For `scaling`, see `frequencies`, and for `layout`, `pairs`.

    Returns y, of x's shape. Saved for backward: the arrays that `turned` saves.

    Raises: TypeError if x is not floating-point; ValueError for fewer than two axes, an odd D, an unknown layout or
    scaling, or a wrong number of positions.
    """
    check_rotary(x, positions, layout, scaling)
    cos, sin = cos_and_sin(positions, x.shape[-1], base, scaling, x.real.dtype)
    return turned(x, cos=cos, sin=sin, layout=layout)


def cos_and_sin(positions, D, base, scaling, dtype):
    """Return cos(t ω) and sin(t ω) (T, D/2) of positions t (T,), computed in float64 and converted to `dtype`.

    With YaRN, both are multiplied by its factor of queries and keys.
    """
    angles = np.asarray(positions)[:, None] * frequencies(D, float(base), scaling)
    length = yarn_length(scaling) if scaling is not None and scaling["rope_type"] == "yarn" else 1.0
    return (length * np.cos(angles)).astype(dtype), (length * np.sin(angles)).astype(dtype)


def turned(x, *, cos, sin, layout):
    """Rotate each pair of channels (a, b) of x (..., T, D) by an angle, given by `cos` and `sin` (T, D/2).

    Returns y (..., T, D). The angle of pair i at position t is t ω_i:

        a′ = a · cos − b · sin                          (7)
        b′ = b · cos + a · sin                          (8)

    For one pair, as a column with the entries a and b, this is the product with the matrix R_t of the rotation by the
    angle t ω. Let q and k be this pair of a query at t and of a key at u. A score adds the products of all channels, so
    the pair contributes (R_u k)ᵀ (R_t q) = kᵀ R_uᵀ R_t q to it. By the addition theorems of sine and cosine

        R_uᵀ R_t = │ cos uω   sin uω│ │cos tω  −sin tω│
                   │−sin uω   cos uω│ │sin tω   cos tω│

                 = │cos (t−u)ω  −sin (t−u)ω│ = R_{t−u}
                   │sin (t−u)ω   cos (t−u)ω│

    so the positions enter the scores only through their difference. Saved for backward: cos (T, D/2), sin (T, D/2).
    """
    a, b = pairs(x, layout)
    a_turned = a * cos - b * sin  # (7) (..., T, D/2)
    b_turned = b * cos + a * sin  # (8)
    y = joined(a_turned, b_turned, layout)  # (..., T, D)

    def backward(dy):
        """A pair is multiplied by R_t, so its Jacobian is R_t itself, and dx = R_tᵀ dy.

        Its entries are ∂a′/∂a = cos, ∂a′/∂b = −sin, ∂b′/∂a = sin and ∂b′/∂b = cos. So a reaches a′ with the factor cos
        and b′ with sin, and b reaches b′ with cos and a′ with −sin:

            da = da′ · cos + db′ · sin                      (9)
            db = db′ · cos − da′ · sin                      (10)

        The transpose of a rotation is the rotation by the opposite angle: the gradient is turned back. Rotation keeps
        every length, so ‖dx‖ = ‖dy‖, but a rotation in the wrong direction keeps it too, and a comparison of lengths
        does not detect it. Nor does a check with position 0 alone, where the angle is zero.
        """
        da_turned, db_turned = pairs(dy, layout)
        da = da_turned * cos + db_turned * sin  # (9) ← a · cos (7), a · sin (8)
        db = db_turned * cos - da_turned * sin  # (10) ← b · cos (8), − b · sin (7)
        dx = joined(da, db, layout)
        return dx

    return y, backward


def pairs(x, layout):
    """Return the first and the second channels of all pairs of x (..., D), each (..., D/2).

    There are two conventions for the channels of a pair, and weights trained with one cannot be used with the other.
    `interleaved` pairs neighbours (0, 1), (2, 3), … as in the paper. `half` pairs channel i with i + D/2, as in Llama's
    weights on the Hugging Face hub, because halves are contiguous in memory. The two differ only by a permutation of
    the channels, which is the same for queries and keys and does not change their products. For a model trained from
    scratch they are therefore equivalent.
    """
    half = x.shape[-1] // 2
    return (x[..., :half], x[..., half:]) if layout == "half" else (x[..., 0::2], x[..., 1::2])


def joined(a, b, layout):
    """Return the array (..., D) whose pairs are a and b (..., D/2). This is the inverse of pairs."""
    if layout == "half":
        return np.concatenate([a, b], axis=-1)
    return np.stack([a, b], axis=-1).reshape(*a.shape[:-1], 2 * a.shape[-1])


def fixed_rows(positions, *, channels, dtype):
    """Return the rows y (T, C) of positions (T,) in table (6), and a backward that returns no gradient.

    Saved for backward: nothing.
    """
    y = sinusoidal_rows(positions, channels).astype(dtype)

    def backward(dy):
        return ()

    return y, backward


class SinusoidalPositions(Module):
    """The fixed table of (6), without parameters. Its rows are computed on demand."""

    def __init__(self, d_model: int, dtype: DTypeLike = np.float32):
        self.d_model, self.dtype = d_model, dtype

    def forward(self, positions: Array) -> tuple[Array, Backward[None]]:
        """Return the rows (T, C) of positions (T,)."""
        return apply(fixed_rows, positions, channels=self.d_model, dtype=self.dtype)


class Rotary(Module):
    """Rotary positions with a fixed base, layout and scaling, without parameters."""

    def __init__(self, base: float = 10000.0, layout: str = "half", scaling: dict[str, Any] | None = None):
        self.base, self.layout, self.scaling = base, layout, scaling

    def forward(self, x: Array, *, positions: Array) -> tuple[Array, Backward[Array]]:
        """Rotate each vector of x (..., T, D) by the angles of its position, given in `positions` (T,)."""
        return apply(rotary, x, positions=positions, base=self.base, layout=self.layout, scaling=self.scaling)


@dataclass(frozen=True)
class PositionsChoice:
    """One of the values of Config.positions: all that other files need to know of it.

    table        returns a module whose rows (T, C) are added to the embeddings, from the context, C, and the options
                 std, rng and dtype of Embedding; None if there is none
    is_learned   True if the table has weights, a row for each position of the context
    turns        True if queries and keys are rotated
    even         the size that must be even, "d_model" or "d_head", or None
    """

    table: Callable[..., Module] | None = None
    is_learned: bool = False
    turns: bool = False
    even: str | None = None


def fixed_table(context, d_model, *, dtype, **drawing):
    return SinusoidalPositions(d_model, dtype)


POSITIONS = {
    "learned": PositionsChoice(Embedding, is_learned=True),
    "sinusoidal": PositionsChoice(fixed_table, even="d_model"),
    "rotary": PositionsChoice(turns=True, even="d_head"),
}
