"""One training step on all cores: replicas of a model in several processes, each with a share of the batch.

The loss of a batch is the mean over its tokens. The loss and the gradient are therefore weighted sums over the shares
of the batch. If share r has n_r tokens (see step.py),

    L = Σ_r (n_r / n) L_r    dθ = Σ_r (n_r / n) dθ_r            (1)

Each process has a replica of the model, whose Parameters share the arrays of the model's weights but have their own
gradients (see replica_process.py). The model itself is the first replica. The gradients are added in the order of the
replicas, so the result does not depend on the timing of the processes.

Without replicas, only large matrix products use several cores. With two processes on two cores, a step takes from 0.77
(`tiny`) to 0.93 (`llama`) of the time. Two threads gain half as much, because they wait for the interpreter's lock.
"""

import importlib.util

import numpy as np

from minitransformer.system.cores import available_cores, matrix_library
from minitransformer.system.extras import require
from minitransformer.training.replica_process import ReplicaProcess, SharedMemory
from minitransformer.training.step import token_shares


class Replicas:
    """A model and `count` − 1 replicas of it, with the interface that training_step needs.

    The replicas follow all changes of the model's weights, but not later changes of requires_grad or hooks. If the main
    program defines a class that the model uses, each process runs the main program to obtain this class. The program
    then needs the guard `if __name__ == "__main__":`. Raises ValueError if count is below 1, or if it is above 1 and
    the model has hooks.
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
        """Return the loss of the batch and its backward function, as Transformer.loss does.

        The backward function may be called once, before the next call of `loss`. Each process derives its own random
        numbers from `rng`. Raises ReplicaLost if a process has ended.
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
                raise RuntimeError("backward must be called before stop() and the next loss, which release activations")
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
        """Prepare the processes for another call of `loss`, and return the number of calls so far."""
        if len(self.processes) < self.count - 1:
            self.start()
        for parameter, shared in zip(self.parameters(), self.weights, strict=True):
            if address(parameter.data) != address(shared):  # such as after loading a checkpoint
                shared[...] = parameter.data
                parameter.data = shared
        self.losses += 1
        return self.losses

    def side_by_side(self, own, request: str, jobs) -> list:
        """Run several jobs at the same time, one in this process, and return all results.

        The first of `jobs` is run by calling own(*job) here, and each other job by sending the request `request` to a
        process. After an exception, here or in a process, all processes are replaced.
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
    return model if count == 1 else Replicas(model, count)


def replicas_that_pay(batch_size: int, cores: int | None = None) -> int:
    """Return the recommended number of replicas: one per core up to the batch size, or 1 without threadpoolctl."""
    if importlib.util.find_spec("threadpoolctl") is None:
        return 1
    return max(1, min(available_cores() if cores is None else cores, batch_size))
