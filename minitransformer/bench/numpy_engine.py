"""This package as an engine, with the training step of `train` and the decoding of `generate`.

If threadpoolctl is installed and the batch is large enough, replicas of the model share it in a training step, one per
thread and each in a process. Otherwise, and in decoding, the matrix library has all threads. Every engine has

    training_step(ids, targets) -> loss     forward, loss, backward, clipping, AdamW
    stream(ids, n)                          yield the n likeliest tokens one by one, with a key–value cache
    counting_products()                     count the matrix products of a `with` block, or None (products.py)
    share_of_products(ids)                  share of a token's time that its matrix products need, or None
    restart_replicas()                      free the memory that replicas keep between steps
    random(*shape), multiply(a, b, out)     float32 arrays of the engine's library, and their product
"""

from contextlib import contextmanager
from statistics import median

import numpy as np

from minitransformer.bench.products import counted_in_model
from minitransformer.bench.timing import seconds_of
from minitransformer.generation import stream
from minitransformer.layers.linear import Linear
from minitransformer.optim import AdamW
from minitransformer.system.cores import decoding
from minitransformer.training.replicas import replicas_that_pay, with_replicas
from minitransformer.training.step import training_step
from minitransformer.transformer import Transformer

LEARNING_RATE = 1e-4
CLIP = 1.0


class NumPyEngine:
    """A model of this package and its optimizer. Up to `threads` processes share a batch."""

    def __init__(self, config, seed: int = 0, threads: int = 1):
        self.threads = threads
        self.model = Transformer(config, seed)
        self.trained = {1: self.model}  # by the number of replicas
        self.optimizer = AdamW(self.model.parameters(), lr=LEARNING_RATE)

    def training_step(self, ids, targets) -> float:
        """Update the weights once and return the loss."""
        count = replicas_that_pay(len(ids), self.threads)
        if count not in self.trained:
            self.trained[count] = with_replicas(self.model, count)
        self.sequences = [len(ids), -(-len(ids) // count)]  # of all replicas together, and of this process
        loss, _ = training_step(self.trained[count], self.optimizer, [(ids, targets)], clip=CLIP)
        return loss

    def stream(self, ids, n: int):
        """Yield n tokens after ids (T,)."""
        yield from decoding(stream(self.model, ids, n, temperature=0))

    @contextmanager
    def counting_products(self):
        """Count the matrix products of one training step. Their time is that of this process's share of the batch."""
        with counted_in_model(self.model) as products:
            yield products
        every, own = self.sequences
        products.flops = products.flops * every // own

    def share_of_products(self, ids, tokens: int = 40) -> float:
        """Return the time of one row times each matrix of the model, divided by that of a token after ids (T,).

        Both alternate, and the result is the median of the quotients.
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

    def restart_replicas(self):
        """Replace the processes of the replicas by new ones, which have read the weights and nothing else."""
        for count in self.trained.keys() - {1}:
            self.trained[count].stop()
            one_token_each = np.zeros((count, 1), int)
            self.trained[count].loss(one_token_each, one_token_each)

    def random(self, *shape):
        """Return a float32 array of uniform numbers."""
        return np.random.default_rng(0).random(shape, dtype=np.float32)

    def multiply(self, a, b, out):
        """Write a @ b into out."""
        np.matmul(a, b, out=out)
