"""Data-parallel training on several machines: each process computes a share of every batch.

MPI starts N processes, called ranks 0 … N − 1, and passes messages between them:

    mpirun -n 2 python -m minitransformer train ...

Every rank has the whole model and draws the same batch, because all ranks have the same seed. The loss is the mean over
the n tokens of the batch. Rank r processes some of the sequences, which have n_r tokens and the mean loss L_r. The
backward pass of rank r begins with dL/dL_r = n_r / n, and the ranks add up their gradients:

    L = Σ_r (n_r / n) L_r              (1)
    dθ = Σ_r (n_r / n) ∂L_r/∂θ         (2)

Equal factors of 1/N would be right only if all n_r were equal. They differ if there is padding, or if 2 ranks share 5
sequences. Σ_r is MPI's Allreduce. Every rank receives the same sum and takes the same step, so the weights of all ranks
stay bit-identical without being sent. A different number of ranks may change the last bits of the result. Only the
first rank writes files, prints and draws.
"""

import atexit
import importlib
import os
import time
import zlib
from contextlib import ExitStack, contextmanager

import numpy as np

from minitransformer.language_model import mean_loss
from minitransformer.system.cores import available_cores
from minitransformer.system.extras import MissingExtra, require
from minitransformer.system.folders import at_work_in
from minitransformer.training.step import token_shares

# Environment variables that MPI sets in each process: those of Open MPI, then of MPICH and its derivatives.
RANK_VARIABLES = "OMPI_COMM_WORLD_RANK", "PMI_RANK"
SIZE_VARIABLES = "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"
NEIGHBOURS_VARIABLES = "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"
PATIENCE = 2.0  # seconds that a failing rank waits for the other ranks to fail too


class RanksDiffer(ValueError):  # noqa: N818
    """Raised if the weights of the ranks are no longer equal, because their machines compute differently."""


class Ranks:
    """The ranks of an MPI communicator, or a single rank if it is None.

    All ranks must call the same methods in the same order.
    """

    def __init__(self, communicator=None):
        self.communicator = communicator
        self.rank, self.size = (communicator.rank, communicator.size) if communicator is not None else (0, 1)
        self.first = self.rank == 0

    def summed(self, array):
        """Sum an array over all ranks. The call polls, because a blocking MPI call does not handle signals."""
        if self.communicator is None:
            return array
        total = np.empty_like(array)
        request = self.communicator.Iallreduce(array, total)
        while not request.Test():
            time.sleep(0)
        return total

    def any(self, flag: bool) -> bool:
        return bool(self.summed(np.array([float(flag)]))[0])

    def from_first(self, make):
        """Call make() on the first rank only, and return its result on every rank.

        Raises the exception of make() on the first rank, and SystemExit on the others.
        """
        if self.communicator is None:
            return make()
        made = []
        try:
            if self.first:
                made.append(make())
        finally:  # after an exception, too, the others must receive an answer
            received = self.communicator.bcast(made)
        if not received:
            raise SystemExit(0)
        return (made or received)[0]

    @contextmanager
    def at_work_in(self, folder):
        """Return a context manager in which the first rank holds the lock of a folder (see folders.py)."""
        with ExitStack() as first:
            self.from_first(lambda: first.enter_context(at_work_in(folder)))
            yield

    def mean_loss(self, model, ids, batch_size: int) -> float:
        """Return mean_loss(model, ids, batch_size) on every rank. Each rank evaluates a part of `ids`."""
        if self.communicator is None:
            return mean_loss(model, ids, batch_size)
        context, predicted = model.config.context, len(ids) - 1
        contexts = -(-predicted // context)
        start, stop = (min(contexts * r // self.size * context, predicted) for r in (self.rank, self.rank + 1))
        own = mean_loss(model, ids[start : stop + 1], batch_size) * (stop - start) if start < stop else 0.0
        return float(self.summed(np.array([own]))[0]) / predicted

    def check_equal_weights(self, model) -> None:
        """Raise RanksDiffer on every rank if the weights of the ranks are not bit-identical."""
        if self.communicator is None:
            return
        checksums = np.zeros(self.size, np.uint64)
        for parameter in model.parameters():
            data = np.ascontiguousarray(parameter.data)
            checksums[self.rank] = zlib.crc32(data, int(checksums[self.rank]))
        differing = np.flatnonzero(np.diff(self.summed(checksums))) + 1
        if len(differing):
            raise RanksDiffer(f"the weights of rank {differing[0]} differ from those of rank 0; use equal processors")

    @contextmanager
    def failing_together(self):
        """Return a context manager that ends all ranks, with one message, if an exception is raised.

        If all ranks raise an exception, the first rank raises its exception, and the other ranks raise SystemExit with
        status 0. Otherwise mpirun might end the first rank before it has printed its message. If only this rank raises
        an exception, MPI ends the other ranks, which would wait forever.
        """
        if self.communicator is None:
            yield
            return
        apart = self.communicator.Dup()  # its messages cannot be confused with others
        try:
            yield
        except BaseException:
            if not all_ranks_arrive(apart):
                atexit.register(self.communicator.Abort, 1)
            elif not self.first:
                raise SystemExit(0) from None
            raise


def all_ranks_arrive(communicator) -> bool:
    request, start = communicator.Ibarrier(), time.monotonic()
    while not request.Test():
        if time.monotonic() - start > PATIENCE:
            return False
        time.sleep(0.01)
    return True


class ModelOnRanks:
    """A model, or Replicas of it, on one of several ranks with equal weights. It can be passed to training_step."""

    def __init__(self, model, ranks: Ranks):
        self.model, self.ranks = model, ranks
        self.parameters, self.named_parameters = model.parameters, model.named_parameters

    def loss(self, ids, targets, *, rng=None):
        """Return the loss of the whole batch and its backward function on every rank, as Transformer.loss does.

        Each rank derives its own random numbers from `rng`. An empty batch has a loss of 0.
        """
        rank, size = self.ranks.rank, self.ranks.size
        target_shares = np.array_split(targets, size)
        own_ids, own_targets = np.array_split(ids, size)[rank], target_shares[rank]
        own_rng = None if rng is None else np.random.default_rng(int(rng.integers(2**63, size=size)[rank]))
        weight, part, part_backward = token_shares(target_shares)[rank], 0.0, None
        if len(own_ids):  # with fewer sequences than ranks, some ranks have none
            part, part_backward = self.model.loss(own_ids, own_targets, rng=own_rng)
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


# Processes started by mpirun.


def world() -> Ranks:
    """Return the ranks that mpirun has started, or a single rank. The ranks of a machine share its cores."""
    if world_size() == 1:
        return Ranks()
    try:
        for package in ("mpi4py", "threadpoolctl"):
            require(package, extra="mpi", otherwise="run the command without mpirun")
    except MissingExtra:
        if environment_number(RANK_VARIABLES, 0):  # only the first rank reports it
            raise SystemExit(0) from None
        raise
    from threadpoolctl import threadpool_limits

    ranks = Ranks(importlib.import_module("mpi4py.MPI").COMM_WORLD)
    threadpool_limits(cores_of_a_rank())
    return ranks


def world_size() -> int:
    return environment_number(SIZE_VARIABLES, 1)


def cores_of_a_rank() -> int:
    """Return the number of cores that this rank may use, at most an equal share of the machine's cores."""
    return max(1, min(available_cores(), os.cpu_count() // environment_number(NEIGHBOURS_VARIABLES, 1)))


def environment_number(names, otherwise: int) -> int:
    return next((int(os.environ[name]) for name in names if name in os.environ), otherwise)
