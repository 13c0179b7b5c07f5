"""One training step on all cores: replicas of a model in several processes, each with a share of the batch.

The loss of a batch is the mean over its tokens, so loss and gradient are weighted sums over its shares r, of n_r tokens
each (see step.py):

    L = Σ_r (n_r / n) L_r    dθ = Σ_r (n_r / n) dθ_r            (1)

The shares can be processed in parallel if no two of them write to the same gradient. Each process therefore has a
replica of the model, whose Parameters share the arrays of the model's weights but have their own gradients (see
replica_process.py). The model itself is the first replica, in this process. The gradients are added in the order of the
replicas, not in the order in which they arrive, so the result does not depend on the timing of the processes.

Without replicas, only the matrix library uses several cores. It parallelises only matrix products. In a small model
these are too small to benefit, and the other cores are idle during elementwise operations. Threads could share arrays
directly. However, a thread needs the interpreter's lock between any two operations, which take about 20 µs each in a
small model, so it waits for the lock too often. The time of a step on two cores, relative to the matrix library with
both cores:

                     tiny    nano    llama   baby
    two threads      0.90    0.92    0.95    0.95
    two processes    0.77    0.82    0.93    0.91
"""

import importlib.util

import numpy as np

from minitransformer.system.cores import available_cores, matrix_library
from minitransformer.system.extras import require
from minitransformer.training.replica_process import ReplicaProcess, SharedMemory
from minitransformer.training.step import token_shares


class Replicas:
    """A model and `count` − 1 replicas of it, with the interface that training_step needs.

    The replicas follow all changes of the model's weights. They do not follow later changes of requires_grad, and a
    hook that is installed later is applied only to the first share. The processes end together with this object. They
    do not run the main program, unless the main program defines classes of the model. It then needs the guard
    `if __name__ == "__main__":`.

    Raises ValueError if count is below 1, or if it is above 1 and the model has hooks. Raises MissingExtra if
    threadpoolctl is not installed.
    """

    def __init__(self, model, count: int):
        if count < 1:
            raise ValueError(f"count, which includes the model itself, must be at least 1, not {count}")
        require("threadpoolctl", otherwise="train without replicas: --replicas 1")
        self.model, self.count = model, count
        self.memory = SharedMemory(model.parameters(), replicas=count - 1)
        self.weights = self.memory.weights()
        self.losses = 0  # number of calls of loss
        self.start()

    def start(self) -> None:
        self.processes = [ReplicaProcess(self.model, self.memory, i) for i in range(self.count - 1)]

    def stop(self) -> None:
        """Kill the processes. The next call of `loss` starts new ones."""
        self.losses += 1  # invalidates the backward of the previous loss
        while self.processes:
            self.processes.pop().stop()

    def parameters(self):
        return self.model.parameters()

    def named_parameters(self):
        return self.model.named_parameters()

    def loss(self, ids, targets, *, rng=None):
        """Return the mean cross-entropy of targets (B, T) in nats, and its backward.

        Works like Transformer.loss. backward(dloss=1.0) adds the gradients to those of the model. It may be called
        once, and only before the next call of `loss`. If `rng` is given, dropout is applied, and each share of the
        batch derives its own random numbers from it. Raises the exceptions of Transformer.loss, and ReplicaLost if a
        process has ended.
        """
        number = self.begin_loss()
        n_shares = max(1, min(self.count, len(ids)))  # the model raises for an empty batch
        id_shares, target_shares = np.array_split(ids, n_shares), np.array_split(targets, n_shares)
        seeds = [None] * n_shares if rng is None else rng.integers(2**63, size=n_shares).tolist()
        weights = token_shares(target_shares)

        def own_loss(own_ids, own_targets, seed):
            own_rng = None if seed is None else np.random.default_rng(seed)
            return self.model.loss(own_ids, own_targets, rng=own_rng)

        jobs = zip(id_shares, target_shares, seeds, strict=True)
        (own, own_backward), *others = self.side_by_side(own_loss, "loss", jobs)
        loss = sum(weight * share for weight, share in zip(weights, [own, *others], strict=True))  # (1)

        def backward(dloss=1.0):
            if number != self.losses:
                raise RuntimeError(
                    "backward must be called before stop() and before the next loss, which release its activations"
                )
            self.side_by_side(own_backward, "backward", [(dloss * weight,) for weight in weights])
            try:
                for process in self.processes[: n_shares - 1]:
                    for parameter, gradient in process.gradients(self.parameters()):
                        parameter.accumulate(gradient if parameter.grad is not None else gradient.copy())  # (1)
            except BaseException:  # such as Ctrl-C or ReplicaLost
                self.stop()
                raise

        return loss, backward

    def begin_loss(self) -> int:
        """Prepare the processes for another call of `loss`, and return the number of this call."""
        if len(self.processes) < self.count - 1:
            self.start()
        for parameter, shared in zip(self.parameters(), self.weights, strict=True):
            if address(parameter.data) != address(shared):  # such as after loading a checkpoint
                shared[...] = parameter.data
                parameter.data = shared
        self.losses += 1
        return self.losses

    def side_by_side(self, own, request: str, jobs) -> list:
        """Call own(*job) for the first job, and send `request` with each other job to a process.

        Returns the list of results. After an exception, which may be that of a process, all processes are replaced.
        """
        first, *rest = jobs
        processes = self.processes[: len(rest)]  # a small batch has fewer shares than processes
        try:
            for process, job in zip(processes, rest, strict=True):
                process.send(request, *job)
            with matrix_library().limit(limits=1):
                answer = own(*first)
            return [answer, *(process.receive() for process in processes)]
        except BaseException:  # such as Ctrl-C or ReplicaLost: do not wait for the other answers
            self.stop()
            raise


def address(array) -> int:
    return array.__array_interface__["data"][0]


def with_replicas(model, count: int):
    """Return Replicas of the model, or the model itself if `count` is 1."""
    return model if count == 1 else Replicas(model, count)


def replicas_that_pay(batch_size: int, cores: int | None = None) -> int:
    """Return the recommended number of replicas: one per core, at most the batch size.

    `cores` is the number of cores (default: all that this process may use). Returns 1 if threadpoolctl is not
    installed.
    """
    if importlib.util.find_spec("threadpoolctl") is None:
        return 1
    return max(1, min(available_cores() if cores is None else cores, batch_size))
