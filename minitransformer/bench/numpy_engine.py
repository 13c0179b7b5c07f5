"""This package as an engine: what `train` and `generate` do, and nothing besides.

An engine has

    training_step(ids, targets) -> loss     forward, loss, backward, clip, AdamW
    stream(ids, n)                          yields n new tokens, the likeliest each time, with a key–value cache
    random(*shape), multiply(a, b, out)     arrays of its own kind and their product, for peak.py
    counting_products()                     a `with` block that counts and times matrix products, or None (products.py)
"""

import numpy as np

from minitransformer.bench.products import counted_in_model
from minitransformer.generation import stream
from minitransformer.optim import AdamW
from minitransformer.training.step import training_step
from minitransformer.transformer import Transformer

LEARNING_RATE = 1e-4
CLIP = 1.0


class NumPyEngine:
    """A model of this package and its optimiser."""

    def __init__(self, config, seed: int = 0):
        self.model = Transformer(config, seed)
        self.optimizer = AdamW(self.model.parameters(), lr=LEARNING_RATE)

    def training_step(self, ids, targets) -> float:
        """Move the weights once; return the loss before."""
        loss, _ = training_step(self.model, self.optimizer, [(ids, targets)], clip=CLIP)
        return loss

    def stream(self, ids, n: int):
        """Yield n tokens after ids (T,)."""
        yield from stream(self.model, ids, n, temperature=0)

    def random(self, *shape):
        """Return a float32 array of uniform numbers."""
        return np.random.default_rng(0).random(shape, dtype=np.float32)

    def multiply(self, a, b, out):
        """Write a @ b into out."""
        np.matmul(a, b, out=out)

    def counting_products(self):
        """Count and time the matrix products of a `with` block."""
        return counted_in_model(self.model)
