"""A model whose weights are still to come: from a file, one after the other."""

import numpy as np


class Unset:
    """In the place of a random generator: weights of the right shape and dtype that take no memory, and are read-only.

    For a model that gets its weights from a file, one after the other: drawing them first would take as long as reading
    them, and keep each of them twice for a while.
    """

    def normal(self, mean, std, shape):
        """Return what stands for a draw of this shape."""
        return UnsetDraw(shape)


class UnsetDraw:
    """One number in the place of all of an array."""

    def __init__(self, shape):
        self.shape = shape

    def astype(self, dtype):
        """Return an array of that dtype, every entry of which is the same zero in memory."""
        return np.broadcast_to(np.zeros((), dtype), self.shape)
