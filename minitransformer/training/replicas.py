"""Every core for one training step: replicas of a model, each with a share of the batch, side by side in processes.

The loss of a batch is the mean over its tokens, so loss and gradient are weighted sums over its shares r, of n_r tokens
each (see step.py):

    L = Σ_r (n_r / n) L_r    dθ = Σ_r (n_r / n) dθ_r            (1)

The shares can be worked on at once if no two of them write to the same gradient. So each process has a replica of the
model: modules of its own, whose Parameters hold the very arrays of the model, but gradients of their own (see
replica_process.py). The model itself is the first of the replicas, and this process works with it. The gradients are
added up in the order of the replicas, never in that of arrival: the result has the same bits however the processes ran.

What this gains over leaving the cores to the matrix library: it spreads only products, and those of a small model are
too small to be shared well, while the elementwise work leaves a core idle. Threads share arrays without any of this,
but a thread needs the interpreter's lock between any two computations, of 20 µs each in a small model, and waits for it
too often. A step takes, on two cores, as a share of the time that the matrix library takes with both:

                     tiny    nano    llama   baby
    two threads      0.90    0.92    0.95    0.95
    two processes    0.77    0.82    0.93    0.91
"""

import importlib.util

import numpy as np

from minitransformer.cores import available_cores, matrix_library
from minitransformer.system.extras import require
from minitransformer.text import IGNORE_INDEX
from minitransformer.training.replica_process import ReplicaProcess, SharedMemory


class Replicas:
    """A model and `count` − 1 replicas of it, in the model's place: for its loss, and for training_step.

    The replicas follow the model where its Parameters change or get other arrays; whether a parameter is frozen is that
    of the time when the replicas were made, and a hook that is installed later sees the first share alone. The
    processes end with this object. They do not run the program that makes them, unless the model has classes of its
    own: then that needs the guard `if __name__ == "__main__":`.
    Raises ValueError for a count below 1, or above 1 for a model with hooks, MissingExtra without threadpoolctl.
    """

    def __init__(self, model, count: int):
        if count < 1:
            raise ValueError(f"there must be at least 1 replica, not {count}")
        require("threadpoolctl", otherwise="train without replicas: --replicas 1")
        self.model, self.count = model, count
        self.memory = SharedMemory(model.parameters(), replicas=count - 1)
        self.weights = self.memory.weights()
        self.losses = 0  # asked for so far
        self.start()

    def start(self) -> None:
        """Begin with new processes."""
        self.processes = [ReplicaProcess(self.model, self.memory, i) for i in range(self.count - 1)]

    def stop(self) -> None:
        """End the processes, whatever they are doing; the next loss begins with new ones."""
        self.losses += 1  # the backward of the one before cannot run any more
        while self.processes:
            self.processes.pop().stop()

    def parameters(self):
        """Return those of the model."""
        return self.model.parameters()

    def named_parameters(self):
        """Yield those of the model."""
        return self.model.named_parameters()

    def loss(self, ids, targets, *, rng=None):
        """Return the mean cross-entropy in nats of predicting targets (B, T) from ids (B, T), and its backward.

        As Transformer.loss, whose single call of backward(dloss=1.0) fills the gradients of the model, before the
        next loss is asked for. `rng` turns dropout on: each share has its own random numbers, which follow from it.
        Raises what Transformer.loss raises, and ReplicaLost where a process has ended.
        """
        number = self.begin_loss()
        n_shares = max(1, min(self.count, len(ids)))  # an empty batch is the model's to refuse
        id_shares, target_shares = np.array_split(ids, n_shares), np.array_split(targets, n_shares)
        seeds = [None] * n_shares if rng is None else rng.integers(2**63, size=n_shares).tolist()
        counts = [np.count_nonzero(share != IGNORE_INDEX) for share in target_shares]
        weights = [float(count / max(sum(counts), 1)) for count in counts]

        def own_loss(own_ids, own_targets, seed):
            own_rng = None if seed is None else np.random.default_rng(seed)
            return self.model.loss(own_ids, own_targets, rng=own_rng)

        jobs = zip(id_shares, target_shares, seeds, strict=True)
        (own, own_backward), *others = self.side_by_side(own_loss, "loss", jobs)
        loss = sum(weight * share for weight, share in zip(weights, [own, *others], strict=True))  # (1)

        def backward(dloss=1.0):
            if number != self.losses:
                raise RuntimeError("its activations are gone: the replicas were stopped, or asked for another loss")
            jobs = [(dloss * weight,) for weight in weights]
            _, *have_gradients = self.side_by_side(own_backward, "backward", jobs)
            for process, has_gradient in zip(self.processes, have_gradients, strict=False):
                self.add_gradients(process, has_gradient)

        return loss, backward

    def add_gradients(self, process, has_gradient) -> None:
        """Add to the gradients of the model those that a replica has. Raises ReplicaLost."""
        parameters = self.parameters()
        try:
            for i, gradient in process.gradients():
                if has_gradient[i]:
                    parameter = parameters[i]
                    parameter.accumulate(gradient if parameter.grad is not None else gradient.copy())  # (1)
        except BaseException:  # Ctrl-C, a process that is lost
            self.stop()
            raise

    def begin_loss(self) -> int:
        """Prepare the processes for another loss, and return its number."""
        if len(self.processes) < self.count - 1:
            self.start()
        self.share_weights()
        self.losses += 1
        return self.losses

    def share_weights(self) -> None:
        """Have each Parameter hold the array that all processes see, with the numbers that it has."""
        for parameter, shared in zip(self.parameters(), self.weights, strict=True):
            if address(parameter.data) != address(shared):  # a checkpoint that is loaded brings arrays of its own
                shared[...] = parameter.data
                parameter.data = shared

    def side_by_side(self, own, request: str, jobs) -> list:
        """Return [own(*first job), *answers to `request` of the others], each job worked on in a process.

        Raises the first of their exceptions, and ReplicaLost.
        """
        first, *rest = jobs
        processes = self.processes[: len(rest)]  # a small batch has shares for some of them
        try:
            for process, job in zip(processes, rest, strict=True):
                process.send(request, *job)
            with matrix_library().limit(limits=1):
                answers = [answer_or_exception(own, first)]
            answers += [process.receive() for process in processes]
        except BaseException:  # Ctrl-C, a process that is lost: what the others answer is not waited for
            self.stop()
            raise
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


def answer_or_exception(function, arguments):
    """Return function(*arguments), or the exception that it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


def address(array) -> int:
    """Return where the numbers of an array lie."""
    return array.__array_interface__["data"][0]


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
