"""A replica of a model in a separate process, and the memory that it shares with the model.

One part of the shared memory contains the weights, which only the main process changes. Another part transfers the
gradients of a replica to the model, a few MB at a time. With room for all gradients at once, a step of a model with 10
million parameters took 1.15 times as much memory. A pipe transfers the shares of batches, and their losses.
"""

import ctypes
import math
import multiprocessing
import pickle
import warnings
from copy import deepcopy

import numpy as np

from gradcheck.front.processes import ONE_THREAD
from minitransformer.module import EditedTextbook, is_plain, plain
from minitransformer.system.cores import matrix_library
from minitransformer.system.files import naming
from minitransformer.system.processes import Lost, Process
from minitransformer.system.tuning import tune_process

ALIGNMENT = 64  # bytes
LOAD = 4 << 20  # bytes of gradients that are transferred at once


class ReplicaLost(Lost):
    """Raised if the process of a replica has ended unexpectedly."""


class SharedMemory:
    """Shared memory for the weights of `parameters`, and for one load of gradients per replica.

    `loads` is a list of lists of parameter indices. The gradients of one list have about LOAD bytes and are transferred
    together.
    """

    def __init__(self, parameters, replicas: int):
        self.kinds = [(parameter.data.shape, parameter.data.dtype) for parameter in parameters]
        self.sizes = [-(-parameter.data.nbytes // ALIGNMENT) * ALIGNMENT for parameter in parameters]
        self.loads = [[]]
        for i, size in enumerate(self.sizes):
            if self.loads[-1] and sum(self.sizes[j] for j in self.loads[-1]) + size > LOAD:
                self.loads.append([])
            self.loads[-1].append(i)
        self.room = max(sum(self.sizes[i] for i in load) for load in self.loads)
        size = sum(self.sizes) + self.room * replicas
        with naming(f"the file of {size:,} bytes that {replicas + 1} replicas share (one needs none)"):
            self.bytes = multiprocessing.get_context("spawn").RawArray(ctypes.c_char, max(size, 1))

    def weights(self) -> list:
        return self.arrays(range(len(self.kinds)), 0)

    def gradients(self, replica: int, n: int) -> list:
        return self.arrays(self.loads[n], sum(self.sizes) + self.room * replica)

    def arrays(self, numbers, start: int) -> list:
        """Return the arrays of the parameters `numbers`, which are stored one after another from byte `start`."""
        found = []
        for i in numbers:
            shape, dtype = self.kinds[i]
            found.append(np.frombuffer(self.bytes, dtype, math.prod(shape), start).reshape(shape))
            start += self.sizes[i]
        return found


def replica(model):
    """Return a copy of `model` whose Parameters have no arrays. Raises ValueError for a model with hooks."""
    for name, module in [("the model", model), *model.named_modules()]:
        if module.is_hooked:
            raise ValueError(f"a model with replicas must not have hooks, but {name} has one")
    arrays = {id(array): None for p in model.parameters() for array in (p.data, p.grad)}
    return deepcopy(model, arrays)  # an array is copied as None; a tied Parameter stays tied


class ReplicaProcess(Process):
    """A process with a replica of `model`. `send` sends a request, and `receive` waits for the answer."""

    def __init__(self, model, memory: SharedMemory, number: int):
        self.memory, self.number = memory, number
        twin = replica(model)
        needs_program = b"__main__" in pickle.dumps(twin)
        how = {"variables": ONE_THREAD, "daemon": True, "needs_program": needs_program}
        super().__init__(ReplicaWorker, twin, memory, number, **how)

    def send(self, *request) -> None:
        """Request a call of a method of ReplicaWorker, with the np.errstate and plain() of this process."""
        super().send("called", np.geterr(), is_plain(), *request)

    def gradients(self, parameters):
        """Yield each Parameter with its gradient, if it has one.

        A gradient is valid until the next one is requested.
        """
        for n, load in enumerate(self.memory.loads):
            self.send("hand_over", n)
            have_one = self.receive()
            for i, gradient in zip(load, self.memory.gradients(self.number, n), strict=True):
                if i in have_one:
                    yield parameters[i], gradient

    def lost(self) -> ReplicaLost:
        how = str(super().lost())
        advice = " (perhaps because the memory was full; use fewer replicas)" if "SIGKILL" in how else ""
        return ReplicaLost(f"the process of a replica {how}{advice}")


class ReplicaWorker:
    """The model in the process of a replica. Each method answers one kind of request."""

    def __init__(self, model, memory: SharedMemory, number: int):
        tune_process()
        warnings.simplefilter("ignore", EditedTextbook)  # the main process has already warned
        matrix_library().limit(limits=1)  # undoes a limit from the main program, if that has run here
        self.model, self.backward_of_loss = model, None
        self.memory, self.number = memory, number
        for parameter, data in zip(model.parameters(), memory.weights(), strict=True):
            data.flags.writeable = False
            parameter.data = data

    def called(self, errors, without_engine, request, *arguments):
        """Call a method by its name, with the np.errstate and plain() of the main process."""
        with np.errstate(**errors), plain(without_engine):
            return getattr(self, request)(*arguments)

    def loss(self, ids, targets, seed):
        self.backward_of_loss = None  # frees the activations of the previous loss
        rng = None if seed is None else np.random.default_rng(seed)
        loss, self.backward_of_loss = self.model.loss(ids, targets, rng=rng)
        return loss

    def backward(self, dloss):
        for parameter in self.model.parameters():
            parameter.grad = None
        self.backward_of_loss(dloss)

    def hand_over(self, n):
        """Move the gradients of the n-th load to the shared memory. Return the indices of their parameters."""
        parameters, have_one = self.model.parameters(), []
        for i, shared in zip(self.memory.loads[n], self.memory.gradients(self.number, n), strict=True):
            if parameters[i].grad is not None:
                shared[...] = parameters[i].grad
                parameters[i].grad = None
                have_one.append(i)
        return have_one
