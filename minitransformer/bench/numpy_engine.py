"""This package as an engine: what `train` and `generate` do, and nothing besides.

As in `train`, the cores share a batch, where it has sequences enough and threadpoolctl is installed: each has a replica
of the model, in a process. Otherwise, and in decoding, the matrix library has them all.

An engine has

    training_step(ids, targets) -> loss     forward, loss, backward, clip, AdamW
    loss(ids, targets) -> loss              forward and loss alone, as in evaluation, in one process
    share_of_products(ids)                  what share of a token's time its products take alone, or None
    stream(ids, n)                          yields n new tokens, the likeliest each time, with a key–value cache
    random(*shape), multiply(a, b, out)     arrays of its own kind and their product, for peak.py
    counting_products()                     a `with` block that counts and times matrix products, or None (products.py)
    begin_anew()                            gives back what it keeps between steps
"""

from contextlib import contextmanager
from statistics import median

import numpy as np

from minitransformer.bench.products import counted_in_model
from minitransformer.bench.timing import seconds_of
from minitransformer.cores import decoding
from minitransformer.generation import stream
from minitransformer.layers.linear import Linear
from minitransformer.optim import AdamW
from minitransformer.training.replicas import replicas_that_pay, with_replicas
from minitransformer.training.step import training_step
from minitransformer.transformer import Transformer

LEARNING_RATE = 1e-4
CLIP = 1.0


class NumPyEngine:
    """A model of this package and its optimiser. As many as `threads` processes may share a batch."""

    def __init__(self, config, seed: int = 0, threads: int = 1):
        self.threads = threads
        self.model = Transformer(config, seed)
        self.trained = {1: self.model}  # by the number of replicas
        self.optimizer = AdamW(self.model.parameters(), lr=LEARNING_RATE)

    def training_step(self, ids, targets) -> float:
        """Move the weights once; return the loss before."""
        count = replicas_that_pay(len(ids), self.threads)
        if count not in self.trained:
            self.trained[count] = with_replicas(self.model, count)
        self.sequences = [len(ids), -(-len(ids) // count)]  # of all processes together, of this one
        loss, _ = training_step(self.trained[count], self.optimizer, [(ids, targets)], clip=CLIP)
        return loss

    def loss(self, ids, targets) -> float:
        """Return the loss."""
        return self.model.loss(ids, targets)[0]

    def stream(self, ids, n: int):
        """Yield n tokens after ids (T,)."""
        yield from decoding(stream(self.model, ids, n, temperature=0))

    def share_of_products(self, ids, tokens: int = 40) -> float:
        """Return the time of one row times each matrix of the model, over that of a token after ids (T,).

        Both are measured in turns, and the median of the quotients is returned. No token takes less than its products,
        in which each weight is read once.
        """
        linears = [module for _, module in self.model.named_modules() if isinstance(module, Linear)]
        matrices = [*(linear.weight.data for linear in linears), self.model.lm_head.weight.data.T]
        rows = [self.random(1, len(matrix)) for matrix in matrices]

        def products():
            for row, matrix in zip(rows, matrices, strict=True):
                row @ matrix

        new = self.stream(ids, tokens + 2)
        for _ in range(2):  # the first reads the prompt
            next(new)
        return median(seconds_of(products) / seconds_of(next, new) for _ in range(tokens))

    def random(self, *shape):
        """Return a float32 array of uniform numbers."""
        return np.random.default_rng(0).random(shape, dtype=np.float32)

    def multiply(self, a, b, out):
        """Write a @ b into out."""
        np.matmul(a, b, out=out)

    @contextmanager
    def counting_products(self):
        """Count the matrix products of a `with` block around a step, and time them.

        Of processes that share the batch, the time is this one's.
        """
        with counted_in_model(self.model) as products:
            yield products
        every, own = self.sequences
        products.flops = products.flops * every // own

    def begin_anew(self):
        """Start new processes, without what those before have kept; they read the weights."""
        for count in self.trained.keys() - {1}:
            self.trained[count].stop()
            one_token_each = np.zeros((count, 1), int)
            self.trained[count].loss(one_token_each, one_token_each)
