"""Partial rotary positions: only the first channels of a head turn (Black et al., 2022).

The other channels do not depend on the position, so a head can compare contents with them at any distance.
"""

from typing import Any

import numpy as np

from minitransformer.layers.positions import Rotary, rotary
from minitransformer.module import Array, Backward, apply


def partial_rotary(x: Array, *, channels: int, **options: Any) -> tuple[Array, Backward[Array]]:
    """Rotate the first `channels` channels of x (..., T, D). The options are those of rotary.

    Saved for backward: the arrays that rotary saves.
    """
    first, rest = x[..., :channels], x[..., channels:]
    turned, rotary_backward = rotary(first, **options)
    y = np.concatenate([turned, rest], axis=-1)

    def backward(dy):
        """The gradient of the first channels is turned back, and that of the others passes unchanged."""
        dfirst, drest = rotary_backward(dy[..., :channels]), dy[..., channels:]
        return np.concatenate([dfirst, drest], axis=-1)

    return y, backward


class PartialRotary(Rotary):
    """Rotary positions for the first `channels` channels of each head. The other arguments are those of Rotary."""

    def __init__(self, channels: int, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.channels = channels

    def forward(self, x: Array, *, positions: Array) -> tuple[Array, Backward[Array]]:
        """Rotate the first channels of x (..., T, D) by the angles of its position, given in `positions` (T,)."""
        options = {"base": self.base, "layout": self.layout, "scaling": self.scaling}
        return apply(partial_rotary, x, channels=self.channels, positions=positions, **options)
