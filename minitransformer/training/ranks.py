"""More than one machine: processes that train one model together, each with a share of every batch.

MPI starts N processes, called ranks 0 … N − 1, and passes messages between them:

    mpirun -n 2 python -m minitransformer train ...

Every rank holds the whole model, and draws the same batch, as all have the same seed. The loss is the mean over the
batch's n tokens. Rank r works on some of the sequences, with n_r of the tokens; of its own mean L_r the backward pass
begins with dL/dL_r = n_r / n, and the ranks add up what each has found:

    L = Σ_r (n_r / n) L_r              (1)
    dθ = Σ_r (n_r / n) ∂L_r/∂θ         (2)

To weigh all ranks alike, 1/N each, would be right only where all n_r are equal: 5 sequences among 2 ranks are not, nor
are sequences with padding. And to add up L_r's own gradients would be N times too much, which AdamW, that ignores a
gradient's scale, would hide.

Σ_r is MPI's Allreduce: every rank receives the same sum, so all take the same step, and weights that were equal stay
equal in every bit, without ever being sent. Two numbers of ranks add in two orders, so their last bits differ; one
number gives the same bits each time. Only the first rank writes files, prints and draws.

What may depend on the ranks, a run asks of its `ranks`: Alone, with the answers of one process, or Together.

The gradients go in one message when the backward pass is over. Parts of it could go while the rest is computed, but
where embedding and unembedding are one matrix, its gradient, often the largest, is complete only at the very end; and
on one machine all messages of a step took a tenth of it at most (nanoGPT's CPU size). So that is left out.
"""

import atexit
import importlib
import os
import time
import zlib
from contextlib import ExitStack, contextmanager, nullcontext

import numpy as np

from minitransformer.cores import available_cores
from minitransformer.folders import at_work_in
from minitransformer.language_model import mean_loss
from minitransformer.system.extras import MissingExtra, require
from minitransformer.text import IGNORE_INDEX

# What MPI tells a process before it joins: Open MPI; MPICH and those that descend from it.
RANK_VARIABLES = "OMPI_COMM_WORLD_RANK", "PMI_RANK"
SIZE_VARIABLES = "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"
NEIGHBOURS_VARIABLES = "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"
PATIENCE = 2.0  # seconds that a rank which fails waits for others to fail likewise


class RanksDiffer(ValueError):  # noqa: N818
    """The weights of the ranks are no longer equal: some machine computes otherwise than the rest."""


class Alone:
    """The ranks of a run where this process is the only one: what it asks, it answers."""

    communicator = None
    first = True  # whether this rank is the one that writes, prints and draws

    def any(self, flag: bool) -> bool:
        """Return, to every rank, whether `flag` is true on one."""
        return flag

    def from_first(self, make):
        """Return, to every rank, what make() returned on the first, which alone calls it.

        Raises what make() raised there, and SystemExit on the others.
        """
        return make()

    @contextmanager
    def at_work_in(self, folder):
        """Within the block, keep other runs out of a folder, as the first rank of this one does: see folders.py.

        Raises what at_work_in does there on the first rank, and SystemExit on the others.
        """
        with ExitStack() as first:
            self.from_first(lambda: first.enter_context(at_work_in(folder)))
            yield

    def mean_loss(self, model, ids, batch_size: int) -> float:
        """Return mean_loss(model, ids, batch_size), to every rank."""
        return mean_loss(model, ids, batch_size)

    def check_equal_weights(self, model) -> None:
        """Raise RanksDiffer, on every rank, unless all have the same weights in every bit."""

    def failing_together(self):
        """Return a context: an exception within it ends all ranks, in the words of one."""
        return nullcontext()


class Together(Alone):
    """The ranks of an MPI communicator, this process one of them. All must call the same methods in the same order."""

    def __init__(self, communicator):
        self.communicator, self.first = communicator, communicator.rank == 0

    def summed(self, array):
        """Return the sum of the ranks' arrays, to every rank the same bits.

        Waits here and not in MPI: Python acts on signals, such as the one that ends a run which has lost a rank, only
        between steps of its own.
        """
        total = np.empty_like(array)
        request = self.communicator.Iallreduce(array, total)
        while not request.Test():
            time.sleep(0)
        return total

    def any(self, flag):
        return bool(self.summed(np.array([float(flag)]))[0])

    def from_first(self, make):
        made = []
        try:
            if self.first:
                made.append(make())
        finally:  # that there is none the others are told too
            received = self.communicator.bcast(made)
        if not received:
            raise SystemExit(0)
        return (made or received)[0]

    def mean_loss(self, model, ids, batch_size):
        """As Alone's. Each rank evaluates a stretch of whole contexts."""
        rank, size, context = self.communicator.rank, self.communicator.size, model.config.context
        predicted = len(ids) - 1
        contexts = -(-predicted // context)
        start, stop = (min(contexts * r // size * context, predicted) for r in (rank, rank + 1))
        own = mean_loss(model, ids[start : stop + 1], batch_size) * (stop - start) if start < stop else 0.0
        return float(self.summed(np.array([own]))[0]) / predicted

    def check_equal_weights(self, model):
        checksum = 0
        for parameter in model.parameters():
            checksum = zlib.crc32(np.ascontiguousarray(parameter.data), checksum)
        checksums = np.zeros(self.communicator.size, np.uint64)
        checksums[self.communicator.rank] = checksum
        differing = np.flatnonzero(np.diff(self.summed(checksums))) + 1
        if len(differing):
            raise RanksDiffer(
                f"the weights of rank {differing[0]} are no longer those of rank 0: their machines compute "
                "differently; use machines with the same processor and the same packages"
            )

    @contextmanager
    def failing_together(self):
        """As Alone's. An exception that all ranks raise, the first raises alone.

        The others leave by SystemExit, in silence and with status 0: at another, mpirun might end the first before it
        has spoken. After one that the others do not share, they would wait for this rank for ever: MPI ends them when
        this process is over.
        """
        apart = self.communicator.Dup()  # so that no message here is taken for one of those
        try:
            yield
        except BaseException:
            if not all_arrive(apart):
                atexit.register(self.communicator.Abort, 1)
            elif not self.first:
                raise SystemExit(0) from None
            raise


def all_arrive(communicator) -> bool:
    """Whether all ranks call this within PATIENCE."""
    request, start = communicator.Ibarrier(), time.monotonic()
    while not request.Test():
        if time.monotonic() - start > PATIENCE:
            return False
        time.sleep(0.01)
    return True


class ModelOnRanks:
    """A model, or its Replicas, on one of the ranks that are Together: for training_step, in the model's place.

    All ranks must make one, of models with equal weights, and take the same steps.
    """

    def __init__(self, model, ranks: Together):
        self.model, self.ranks = model, ranks

    def parameters(self):
        """Return those of the model."""
        return self.model.parameters()

    def named_parameters(self):
        """Yield those of the model."""
        return self.model.named_parameters()

    def loss(self, ids, targets, *, rng=None):
        """Return the mean cross-entropy in nats of predicting targets (B, T) from ids (B, T), and its backward.

        As Transformer.loss, and with the same arguments on every rank; backward(dloss=1.0), to be called once, adds
        the gradients of the whole batch to those of the model, to each that is not frozen. `rng` turns dropout on: each
        rank has its own random numbers, which follow from it. Raises what Transformer.loss
        raises, but for an empty batch, whose loss is 0.
        """
        rank, size = self.ranks.communicator.rank, self.ranks.communicator.size
        own = slice(len(ids) * rank // size, len(ids) * (rank + 1) // size)
        own_rng = None if rng is None else np.random.default_rng(int(rng.integers(2**63, size=size)[rank]))
        weight = counted(targets[own]) / max(counted(targets), 1)
        part, part_backward = 0.0, None
        if own.start < own.stop:  # fewer sequences than ranks leave some without
            part, part_backward = self.model.loss(ids[own], targets[own], rng=own_rng)
        loss = float(self.ranks.summed(np.array([weight * float(part)]))[0])  # (1)

        def backward(dloss=1.0):
            trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
            earlier = [parameter.grad for parameter in trained]
            for parameter in trained:
                parameter.grad = None
            if part_backward is not None:
                part_backward(dloss * weight)
            own_gradients = [np.zeros_like(p.data) if p.grad is None else p.grad for p in trained]  # None: no share
            total = self.ranks.summed(np.concatenate(own_gradients, axis=None))  # (2)
            ends = np.cumsum([gradient.size for gradient in own_gradients])
            for parameter, before, gradient in zip(trained, earlier, np.split(total, ends[:-1]), strict=True):
                parameter.grad = before
                gradient = gradient.reshape(parameter.data.shape).astype(parameter.data.dtype, copy=False)
                parameter.accumulate(gradient)

        return loss, backward


def counted(targets) -> int:
    """Return how many targets (B, T) are to be predicted."""
    return int(np.count_nonzero(targets != IGNORE_INDEX))


# The processes that mpirun started.


def world() -> Alone:
    """Return the ranks that mpirun started, this process among them: Together, or Alone where there is no other.

    Shares the cores of a machine among its ranks. Raises MissingExtra without mpi4py and threadpoolctl.
    """
    if world_size() == 1:
        return Alone()
    try:
        for package in ("mpi4py", "threadpoolctl"):
            require(package, extra="mpi", otherwise="do without mpirun")
    except MissingExtra:
        if environment_number(RANK_VARIABLES, 0):  # the first says it
            raise SystemExit(0) from None
        raise
    from threadpoolctl import threadpool_limits

    ranks = Together(importlib.import_module("mpi4py.MPI").COMM_WORLD)
    threadpool_limits(cores_of_a_rank())
    return ranks


def world_size() -> int:
    """Return of how many processes that mpirun started this is one."""
    return environment_number(SIZE_VARIABLES, 1)


def cores_of_a_rank() -> int:
    """Return how many cores this process should use: those it is bound to, or its share of the machine's."""
    return max(1, min(available_cores(), os.cpu_count() // environment_number(NEIGHBOURS_VARIABLES, 1)))


def environment_number(names, otherwise: int) -> int:
    """Return the value of the first of these variables of the environment that is set."""
    return next((int(os.environ[name]) for name in names if name in os.environ), otherwise)
