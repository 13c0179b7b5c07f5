"""Rotary positions with remembered angles.

Their cosines and sines are worked out in float64, for 256 positions as long as it takes to turn the queries of four
heads. But they are the same for the queries and the keys of every block, and so they are kept: forward and backward for
four sequences of six heads then take 0.89 of the time.
"""

from functools import lru_cache

import numpy as np

from minitransformer.fast.digests import twin_of
from minitransformer.layers import positions as textbook
from minitransformer.layers.positions import SCALINGS, turned


@twin_of(textbook.rotary, "50130fcf60ab")
def rotary(x, *, positions, base=10000.0, layout="half", scaling=None):
    """Turn each pair of channels of x (..., T, D) by the angle of its position. Returns y, of x's shape.

    Saved for backward: what turned saves.
    """
    textbook.check_arguments(x, positions, layout, scaling)
    known = scaling and tuple((name, scaling[name]) for name in ("rope_type", *SCALINGS[scaling["rope_type"]]))
    at = np.asarray(positions)
    cos, sin = remembered(at.tobytes(), at.dtype, x.shape[-1], float(base), known, x.dtype)
    return turned(x, cos=cos, sin=sin, layout=layout)


@lru_cache(maxsize=4)
def remembered(positions: bytes, kind, D: int, base: float, scaling: tuple | None, dtype):
    """Return the textbook's cos_and_sin, read-only, for positions of dtype `kind`."""
    cos, sin = textbook.cos_and_sin(np.frombuffer(positions, kind), D, base, scaling and dict(scaling), dtype)
    cos.flags.writeable = sin.flags.writeable = False
    return cos, sin
