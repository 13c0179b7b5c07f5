"""Dropout (Srivastava et al., 2014): during training, set each entry to zero with probability p and scale the others.

The mask is an argument and is drawn by the caller. If the function drew it, it would be a different function of x at
each call and could not be checked. A check with p = 0 does not detect a backward pass that omits the mask.
"""

import numpy as np
from numpy.typing import NDArray

from minitransformer.layers.checks import check_dropout, check_generator, check_probability
from minitransformer.module import Array, Backward, Module, apply, identity


def dropout(x: Array, *, keep: NDArray[np.bool_], p: float) -> tuple[Array, Backward[Array]]:
    """Set x to zero where the boolean array `keep` is False, and divide the rest by 1 − p. Returns y, of x's shape.

        y = x · keep / (1 − p)                          (1)

    The division keeps the expectation of y equal to x, so no factor is needed when dropout is off.

    Saved for backward: keep (...), one byte per entry.

    Raises: TypeError if x is not floating-point; ValueError unless 0 ≤ p < 1 and `keep` is a boolean array of x's
    shape.
    """
    check_dropout(x, keep, p)
    scale = 1 / (1 - float(p))
    y = x * keep * scale  # (1)

    def backward(dy):
        """Each entry is multiplied by a constant, so its gradient is multiplied by the same constant.

        That is,

            dx = dy · keep / (1 − p)                        (2)
        """
        dx = dy * keep * scale  # (2) ← x · keep / (1 − p) (1)
        return dx

    return y, backward


class Dropout(Module):
    """Dropout, with a mask drawn from the generator that the caller passes. Without a generator, it is the identity."""

    def __init__(self, p: float):
        check_probability(p)
        self.p = p

    def forward(self, x: Array, *, rng: np.random.Generator | None = None) -> tuple[Array, Backward[Array]]:
        """Drop entries of x at random if `rng`, a numpy Generator, is given. Otherwise return x."""
        check_generator(rng)
        if not self.p or rng is None:
            return apply(identity, x)
        return apply(dropout, x, keep=rng.random(x.shape, dtype=np.float32) >= self.p, p=self.p)
