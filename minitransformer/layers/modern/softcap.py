"""Soft capping: numbers are kept between −cap and cap, smoothly (Gemma 2, 2024).

Gemma 2 caps the scores of attention at 50 and the logits at 30. So neither can grow without bound in training, while
numbers far below the cap pass nearly unchanged.
"""

import numpy as np

from minitransformer.layers.embedding import Unembedding
from minitransformer.layers.modern.checks import check_softcap
from minitransformer.module import Array, Backward, Parameter, apply


def softcap(x: Array, *, cap: float) -> tuple[Array, Backward[Array]]:
    """Return cap · tanh(x / cap), of x's shape, for a positive number `cap`.

        t = tanh(x / cap)                               (1)
        y = cap · t                                     (2)

    In attention, the cap is applied before the mask, because the cap of −∞ is −cap, which hides nothing.

    Saved for backward: t (...).

    Raises: TypeError if x is not floating-point, or cap is not a number; ValueError if cap is not positive.
    """
    check_softcap(x, cap)
    bound = float(cap)
    t = np.tanh(x / bound)  # (1)
    y = bound * t  # (2)

    def backward(dy):
        """With ∂t/∂x = (1 − t²) / cap, the cap of (2) cancels that of (1):

            dx = dy · (1 − t²)                              (3)

        The slope is 1 at x = 0 and falls to 0 as y approaches the cap, so a number far above the cap is moved no
        longer. With y in place of t, the slope is right only for cap = 1. With a factor cap too many, for which the
        cancellation is the place, it is right only there too: a check must use another cap, and numbers of its size.
        """
        dx = dy * (1 - t * t)  # (3) ← cap · t (2), tanh(x / cap) (1)
        return dx

    return y, backward


class CappedUnembedding(Unembedding):
    """The unembedding, whose logits are kept between −cap and cap."""

    def __init__(self, weight: Parameter, cap: float):
        super().__init__(weight)
        self.cap = cap

    def forward(self, x: Array) -> tuple[Array, Backward[Array]]:
        """Return the capped logits (..., V) of x (..., C)."""
        logits, unembedding_backward = super().forward(x)
        capped, cap_backward = apply(softcap, logits, cap=self.cap)

        def backward(dcapped):
            return unembedding_backward(cap_backward(dcapped))

        return capped, backward
