"""The key–value cache of one attention layer. generation.py explains why it gives the same results as no cache."""

from typing import Any

import numpy as np

from minitransformer.module import Array

LEAST_ROOM = 256  # smallest number of positions for which arrays are allocated


class LayerCache:
    """The keys and values (B, K, positions, D) that one block has computed.

    The arrays have room for more positions. When they are full, they are replaced with arrays of twice the length, so
    the memory grows with the number of positions and is not allocated for the whole context at once.
    """

    def __init__(self, context: int):
        self.context = context
        self.length = 0
        self.keys: Any = None
        self.values: Any = None

    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Append keys and values (..., K, T, D) of new positions. Return views of the keys and values so far."""
        start, self.length = self.length, self.length + k.shape[-2]
        if self.keys is None or self.length > self.keys.shape[-2]:
            self.keys, self.values = self.with_room(self.keys, k), self.with_room(self.values, v)
        self.keys[..., start : self.length, :] = k
        self.values[..., start : self.length, :] = v
        return self.keys[..., : self.length, :], self.values[..., : self.length, :]

    def truncate(self, length: int) -> None:
        """Remove all positions from `length` on."""
        self.length = length

    def with_room(self, before, new):
        """Return a larger array that begins with the contents of `before`.

        It has room for twice the current number of positions, but at most for the context. Its dtype and leading axes
        are those of `new` (..., K, T, D).
        """
        room = min(max(2 * self.length, LEAST_ROOM), self.context)
        array = np.empty((*new.shape[:-2], room, new.shape[-1]), new.dtype)
        if before is not None:
            array[..., : before.shape[-2], :] = before
        return array
