"""Every core for one training step: replicas of a model, each with a share of the batch, side by side in threads.

The loss of a batch is the mean over its tokens, so loss and gradient are weighted sums over its shares r, of n_r tokens
each (see step.py):

    L = Σ_r (n_r / n) L_r    dθ = Σ_r (n_r / n) dθ_r            (1)

The shares can be worked on at once if no two of them write to the same gradient. So each thread has a replica of the
model: modules of its own, whose Parameters hold the very arrays of the model, but gradients of their own. These are
added up in the order of the replicas, never in that of arrival: the result has the same bits however the threads ran.

NumPy lets go of the interpreter's lock while it computes, which is nearly always. Meanwhile the matrix library has to
keep to one thread for each of ours (threadpoolctl sees to that). What this gains over leaving the cores to the matrix
library: it spreads only products, and those of a small model are too small to be shared well, while the elementwise
work leaves a core idle; a step is 1.25 times as fast for the tiny model, 1.15 times at nanoGPT's CPU size, 1.1 times
for 10 million parameters (two cores). A batch of one sequence cannot be shared.
"""

import contextvars
import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor
from copy import copy

import numpy as np

from minitransformer.extras import require
from minitransformer.module import Module, Parameter
from minitransformer.text import IGNORE_INDEX


class Replicas:
    """A model and `count` − 1 replicas of it, to be given to training_step in the model's place.

    The replicas follow the model where its Parameters change or get other arrays; hooks, and whether a parameter is
    frozen, are those of the time when the replicas were made. Raises ValueError for a count below 1, MissingExtra
    without threadpoolctl.
    """

    def __init__(self, model, count: int):
        if count < 1:
            raise ValueError(f"there must be at least 1 replica, not {count}")
        require("threadpoolctl", otherwise="train without replicas")
        from threadpoolctl import ThreadpoolController

        self.model = model
        self.models = [model, *(replica(model) for _ in range(count - 1))]
        twins = [twin.parameters() for twin in self.models[1:]]
        self.pairs = [pair for twin in twins for pair in zip(model.parameters(), twin, strict=True)]
        self.matrix_library = ThreadpoolController()
        self.threads = ThreadPoolExecutor(count)

    def parameters(self):
        """Return those of the model."""
        return self.model.parameters()

    def named_parameters(self):
        """Yield those of the model."""
        return self.model.named_parameters()

    def loss(self, ids, targets, *, rng=None):
        """Return the mean cross-entropy in nats of predicting targets (B, T) from ids (B, T), and its backward.

        As Transformer.loss, whose single call of backward(dloss=1.0) fills the gradients of the model. `rng` turns
        dropout on: each share has its own random numbers, which follow from it. Raises what Transformer.loss raises.
        """
        for parameter, own in self.pairs:
            own.data = parameter.data  # a checkpoint that is loaded brings arrays of its own
        n_shares = max(1, min(len(self.models), len(ids)))  # an empty batch is the model's to refuse
        shares = zip(np.array_split(ids, n_shares), np.array_split(targets, n_shares), strict=True)
        seeds = [None] * n_shares if rng is None else rng.integers(2**63, size=n_shares).tolist()
        jobs = [(model, *share, seed) for model, share, seed in zip(self.models[:n_shares], shares, seeds, strict=True)]
        counts = [np.count_nonzero(share != IGNORE_INDEX) for _, _, share, _ in jobs]
        weights = [float(count / max(sum(counts), 1)) for count in counts]

        def own_loss(job):
            model, share_ids, share_targets, seed = job
            share_rng = None if seed is None else np.random.default_rng(seed)
            return model.loss(share_ids, share_targets, rng=share_rng)

        losses, backwards = zip(*self.side_by_side(own_loss, jobs), strict=True)
        loss = sum(weight * share for weight, share in zip(weights, losses, strict=True))  # (1)

        def backward(dloss=1.0):
            self.side_by_side(lambda pair: pair[0](dloss * pair[1]), list(zip(backwards, weights, strict=True)))
            for parameter, own in self.pairs:
                if own.grad is not None:
                    parameter.accumulate(own.grad)  # (1)
                    own.grad = None

        return loss, backward

    def side_by_side(self, function, jobs):
        """Return [function(job) for job in jobs], each computed in a thread, under the caller's np.errstate."""
        with self.matrix_library.limit(limits=1):
            running = [self.threads.submit(contextvars.copy_context().run, function, job) for job in jobs]
            return [future.result() for future in running]


def replica(model):
    """Return a module like `model`, whose Parameters hold the same arrays and have gradients of their own."""
    made = {}

    def of(value):
        if isinstance(value, Parameter):
            if id(value) not in made:  # a tied one is one here as well
                made[id(value)] = copy(value)
                made[id(value)].grad = None
            return made[id(value)]
        if isinstance(value, Module):
            twin = copy(value)
            vars(twin).update({name: of(child) for name, child in vars(value).items()})
            return twin
        if isinstance(value, list):
            return [of(item) for item in value]
        return value

    return of(model)


def with_replicas(model, count: int):
    """Return Replicas of the model, or for a count of 1 the model itself: the matrix library then has all the cores."""
    return model if count == 1 else Replicas(model, count)


def replicas_that_pay(batch_size: int, cores: int | None = None) -> int:
    """Return how many replicas to use: one a core, but no more than sequences; 1 where threadpoolctl is missing.

    cores: how many to use; None: all that this process may.
    """
    if importlib.util.find_spec("threadpoolctl") is None:
        return 1
    return max(1, min(available_cores() if cores is None else cores, batch_size))


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
