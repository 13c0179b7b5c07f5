"""A model whose weights are still to be read from a file.

Its matrices have their shapes and dtypes but take no memory. So a reader compares names and shapes with the file before
it allocates anything, and then fills one Parameter after the other. Drawing random weights first would take as long as
reading them.
"""

import math

import numpy as np

from minitransformer.config import Config
from minitransformer.transformer import Transformer

MOST_MISSING = 10**7  # weights; a file that lacks no more is compared name by name


def unset_model(config: Config, shapes: list[tuple]) -> Transformer:
    """Return a Transformer with read-only zeros for matrices, to be filled from a file with arrays of these shapes.

    Raises ValueError if the configuration claims more blocks than there are arrays, or far more weights than there are
    numbers. A file of a few bytes can claim a model that would exhaust the memory.
    """
    if config.n_layers > len(shapes):
        raise ValueError(f"the configuration says {config.n_layers:,} blocks, and the file has {len(shapes):,} arrays")
    stored = sum(map(math.prod, shapes))
    if config.fewest_weights > stored + MOST_MISSING:
        raise ValueError(
            f"the configuration says {config.fewest_weights:,} weights or more, and the file has {stored:,} numbers"
        )
    return model_without_values(config)


def model_without_values(config: Config) -> Transformer:
    """Return a Transformer whose matrices are read-only zeros that take no memory."""
    return Transformer(config, rng=Unset())  # type: ignore[arg-type]


class Unset:
    """A stand-in for a random generator, whose draws take no memory."""

    def normal(self, mean, std, shape):
        return UnsetDraw(shape)


class UnsetDraw:
    """A draw of this shape that has no values."""

    def __init__(self, shape):
        self.shape = shape

    def astype(self, dtype):
        """Return a read-only array of this dtype in which every entry is the same zero in memory."""
        return np.broadcast_to(np.zeros((), dtype), self.shape)
