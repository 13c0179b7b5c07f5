"""Positions: attention treats its keys as a set, so where each token stands has to be told.

**Learned** positions (GPT-2) are an embedding of the numbers 0, 1, 2, …, added to that of the tokens: see embedding.py.

**Sinusoidal** positions (Vaswani et al., 2017) are a fixed table, added in the same place. With C channels in C/2
pairs, pair i turns at frequency ω_i:

    ω_i = base^(−2i/C),   i = 0 … C/2 − 1           (1)
    P[t, 2i] = sin(t ω_i)    P[t, 2i+1] = cos(t ω_i)          (2)

A step of one position is then the same rotation of every pair, wherever it is taken; nothing is learned and no gradient
is needed.

**Rotary** positions (Su et al., 2021) use that rotation directly: each pair of channels (a, b) of a query or key
is turned by the angle t ω_i of its position t, with ω_i from (1) for the D channels of one head:

    a′ = a cos − b sin                              (3)
    b′ = b cos + a sin                              (4)

An inner product of two vectors turned by s ω and t ω depends on the difference s − t alone: the scores see relative
positions. Nothing is added to the values.

Backward. A rotation is orthogonal: its transpose is the rotation by the opposite angle. So the gradient is turned back,

    da = da′ cos + db′ sin                          (5)
    db = db′ cos − da′ sin                          (6)

Rotation keeps every length, so ‖dx‖ = ‖dy‖: a useful test. What a careless check misses: at position 0 the angle
is zero and a backward that turns the wrong way looks right; a check with that position alone sees nothing else.

**Which channels form a pair** is a convention, and weights trained with one are useless with the other:
`interleaved` pairs neighbours (0, 1), (2, 3), … as in the paper; `half` pairs channel i with i + D/2, as Llama's
weights on the Hugging Face hub do, because halves are contiguous. One is the other after a permutation of the
channels, the same for queries and keys, so a model trained from scratch cannot tell them apart.

Saved for backward: cos and sin, each (T, D/2).
"""

import math
import numbers
from functools import lru_cache

import numpy as np

from minitransformer.module import Module, require_floating

LAYOUTS = ("half", "interleaved")
SCALINGS = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


def sinusoidal_positions(T: int, C: int):
    """Return the table P of (2), (T, C), float64. Raises ValueError for an odd C."""
    if C % 2:
        raise ValueError(f"sinusoidal positions need an even number of channels, not {C}")
    angles = np.arange(T)[:, None] * frequencies(C)
    table = np.empty((T, C))
    table[:, 0::2] = np.sin(angles)  # (2)
    table[:, 1::2] = np.cos(angles)  # (2)
    return table


def frequencies(channels: int, base: float = 10000.0, scaling: dict | None = None):
    """Return ω (channels/2,) of (1), in radians per position, float64.

    `scaling` stretches a trained model to longer texts: {"rope_type": "linear", "factor": s} divides every frequency
    by s; {"rope_type": "llama3", "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}
    divides only those that turn too slowly to complete a circle in the original context, with a smooth step between
    (Llama 3.1).
    """
    omega = base ** (-np.arange(0, channels, 2) / channels)  # (1)
    check_scaling(scaling)
    if scaling is None:
        return omega
    if scaling["rope_type"] == "linear":
        return omega / scaling["factor"]
    turns = scaling["original_max_position_embeddings"] * omega / (2 * math.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    keep = np.clip((turns - low) / (high - low), 0, 1)
    return omega * (keep + (1 - keep) / scaling["factor"])


def check_scaling(scaling):
    """Raise TypeError or ValueError unless scaling is None or one that `frequencies` knows."""
    if scaling is None:
        return
    if not isinstance(scaling, dict):
        raise TypeError(f"rope_scaling must be a dictionary, not {scaling!r}")
    kind = scaling.get("rope_type")
    if kind not in SCALINGS:
        raise ValueError(f"rope_scaling has rope_type {kind!r}; known are {', '.join(SCALINGS)}")
    for name in SCALINGS[kind]:
        if name not in scaling:
            raise ValueError(f"rope_scaling of type {kind!r} lacks {name!r}")
        if not isinstance(scaling[name], numbers.Real) or not scaling[name] > 0:
            raise ValueError(f"rope_scaling: {name} must be a positive number, not {scaling[name]!r}")
    if kind == "llama3" and scaling["low_freq_factor"] >= scaling["high_freq_factor"]:
        raise ValueError("rope_scaling: low_freq_factor must be less than high_freq_factor")


def rotary(x, *, positions, base=10000.0, layout="half", scaling=None):
    """Turn each pair of channels of x (..., T, D) by the angle of its position. Returns y, of x's shape.

    `positions` (T,) holds the position of each row, any integers; `scaling` is described at `frequencies`.
    Raises ValueError for an odd D, an unknown layout, or positions that are not one for each row.
    """
    require_floating(x, "rotary")
    if x.ndim < 2:
        raise ValueError(f"rotary: x {x.shape} must be (..., positions, channels)")
    T, D = x.shape[-2:]
    if D % 2:
        raise ValueError(f"rotary positions need an even number of channels per head, not {D}")
    if np.shape(positions) != (T,):
        raise ValueError(f"rotary: positions {np.shape(positions)} must be one for each of the {T} rows of x {x.shape}")
    if layout == "half":
        first, second = slice(0, D // 2), slice(D // 2, D)
    elif layout == "interleaved":
        first, second = slice(0, D, 2), slice(1, D, 2)
    else:
        raise ValueError(f"unknown rotary layout {layout!r}; known are {', '.join(LAYOUTS)}")
    check_scaling(scaling)
    known = scaling and tuple((name, scaling[name]) for name in ("rope_type", *SCALINGS[scaling["rope_type"]]))
    at = np.asarray(positions)
    cos, sin = cos_and_sin(at.tobytes(), at.dtype, D, float(base), known, x.real.dtype)
    a, b = x[..., first], x[..., second]
    y = np.empty_like(x)
    y[..., first] = a * cos - b * sin  # (3)
    y[..., second] = b * cos + a * sin  # (4)

    def backward(dy):
        da, db = dy[..., first], dy[..., second]
        dx = np.empty_like(dy)
        dx[..., first] = da * cos + db * sin  # (5)
        dx[..., second] = db * cos - da * sin  # (6)
        return dx

    return y, backward


@lru_cache(maxsize=4)
def cos_and_sin(positions: bytes, kind, D: int, base: float, scaling: tuple | None, dtype):
    """Return cos ω p and sin ω p (T, D/2) for positions p of dtype `kind`, in `dtype`.

    They are worked out in float64, for 256 positions as long as it takes to turn the queries of four heads. But they
    are the same for the queries and the keys of every block, and so they are kept.
    """
    angles = np.frombuffer(positions, kind)[:, None] * frequencies(D, base, scaling and dict(scaling))
    cos, sin = np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)
    cos.flags.writeable = sin.flags.writeable = False
    return cos, sin


class SinusoidalPositions(Module):
    """The fixed table of (2), looked up like learned positions; it has no parameters."""

    def __init__(self, context: int, d_model: int, dtype=np.float32):
        self.table = sinusoidal_positions(context, d_model).astype(dtype)

    def forward(self, positions):
        """Return the rows (T, C) of positions (T,)."""

        def backward(dy):
            return None

        return self.table[positions], backward


class Rotary(Module):
    """Rotary positions with a fixed base, layout and scaling; it has no parameters."""

    def __init__(self, base: float = 10000.0, layout: str = "half", scaling: dict | None = None):
        self.base, self.layout, self.scaling = base, layout, scaling

    def forward(self, x, *, positions):
        """Turn x (..., T, D) by its positions (T,)."""
        return rotary(x, positions=positions, base=self.base, layout=self.layout, scaling=self.scaling)
