"""This package as an engine, with the training step of `train` and the decoding of `generate`.

If threadpoolctl is installed and the batch is large enough, a training step divides it among replicas of the model.
There is one replica for each thread, in a separate process. Otherwise, and in decoding, the matrix library uses all
threads. Every engine has the methods

    training_step(ids, targets) -> loss     forward, loss, backward, clipping, AdamW
    stream(ids, n)                          decode n tokens greedily after ids (T,), with a cache, and yield them
    restart_replicas()                      free the memory that replicas keep between steps
    random(*shape)                          return a float32 array of uniform numbers
    multiply(a, b, out)                     write a @ b into out
"""

import numpy as np

from minitransformer.generation import stream
from minitransformer.optim import AdamW
from minitransformer.system.cores import decoding
from minitransformer.training.replicas import replicas_that_pay, with_replicas
from minitransformer.training.step import training_step
from minitransformer.transformer import Transformer

LEARNING_RATE = 1e-4
CLIP = 1.0


class NumPyEngine:
    """A model of this package and its optimizer. At most `threads` processes share each batch."""

    def __init__(self, config, seed: int = 0, threads: int = 1):
        self.threads = threads
        self.model = Transformer(config, seed)
        self.trained = {1: self.model}  # {number of replicas: model}
        self.optimizer = AdamW(self.model.parameters(), lr=LEARNING_RATE)

    def training_step(self, ids, targets) -> float:
        count = replicas_that_pay(len(ids), self.threads)
        if count not in self.trained:
            self.trained[count] = with_replicas(self.model, count)
        loss, _ = training_step(self.trained[count], self.optimizer, [(ids, targets)], clip=CLIP)
        return loss

    def stream(self, ids, n: int):
        yield from decoding(stream(self.model, ids, n, temperature=0))

    def restart_replicas(self):
        """Restart the processes of the replicas, which then hold only the weights."""
        for count in self.trained.keys() - {1}:
            self.trained[count].stop()
            one_token_each = np.zeros((count, 1), int)
            self.trained[count].loss(one_token_each, one_token_each)

    def random(self, *shape):
        return np.random.default_rng(0).random(shape, dtype=np.float32)

    def multiply(self, a, b, out):
        np.matmul(a, b, out=out)
