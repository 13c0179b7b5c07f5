"""A replica of a model, at work in a process of its own, and the memory that it shares with the model.

Weights and gradients are too large to be sent at every step. They lie in memory that all processes see. One part has
the weights, which only the first process changes. Through the other come the gradients of each replica but the first,
the model itself: a few MB at a time, so that there is one whole set of them, the model's. While a replica works on its
gradients, they take the place of the activations that they make superfluous: with room for each set a step of 10
million parameters took 1.15 times the memory. What is sent through a pipe is small: a share of a batch, and its loss.
"""

import atexit
import ctypes
import math
import multiprocessing
import pickle
import sys
import warnings
from contextlib import contextmanager, nullcontext
from copy import copy
from types import ModuleType

import numpy as np

from minitransformer.cores import begin, ending, matrix_library, one_thread_each
from minitransformer.files import naming
from minitransformer.module import EditedTextbook, Module, Parameter, is_plain, plain
from minitransformer.system.stopping import SIGNALS, birth

ALIGNMENT = 64  # bytes
LOAD = 4 << 20  # bytes of gradients that are handed over at once


class ReplicaLost(ChildProcessError):  # noqa: N818
    """The process of a replica has ended before its work was done."""


class SharedMemory:
    """Memory for the weights of all `parameters`, and for two loads, at most, of gradients from each of some replicas.

    loads: lists of parameters' numbers, whose gradients are handed over together: LOAD bytes, or a single larger one.
    """

    def __init__(self, parameters, replicas: int):
        self.kinds = [(parameter.data.shape, parameter.data.dtype) for parameter in parameters]
        self.sizes = [-(-parameter.data.nbytes // ALIGNMENT) * ALIGNMENT for parameter in parameters]
        self.loads = []
        for i in range(len(self.sizes)):
            if self.loads and sum(self.sizes[j] for j in (*self.loads[-1], i)) <= LOAD:
                self.loads[-1].append(i)
            else:
                self.loads.append([i])
        self.room = max((sum(self.sizes[i] for i in load) for load in self.loads), default=0)
        self.rooms = min(len(self.loads), 2)
        size = sum(self.sizes) + self.rooms * self.room * replicas
        with naming(f"the file of {size:,} bytes that {replicas + 1} replicas share (one needs none)"):
            self.bytes = multiprocessing.get_context("spawn").RawArray(ctypes.c_char, max(size, 1))

    def weights(self) -> list:
        """Return the arrays of the weights."""
        return list(self.arrays(range(len(self.kinds)), 0))

    def gradients(self, replica: int, n: int) -> list:
        """Return pairs of a parameter's number and an array for its gradient, of load n of a replica, 0 the first."""
        start = sum(self.sizes) + (self.rooms * replica + n % self.rooms) * self.room
        return list(zip(self.loads[n], self.arrays(self.loads[n], start), strict=True))

    def arrays(self, numbers, start: int):
        """Yield arrays for these parameters, one behind the other from byte `start` on."""
        for i in numbers:
            shape, dtype = self.kinds[i]
            yield np.frombuffer(self.bytes, dtype, math.prod(shape), start).reshape(shape)
            start += self.sizes[i]


def replica(model):
    """Return a module like `model`, with a Parameter without an array in the place of each Parameter.

    Raises ValueError for a model with hooks, which are functions of this process alone.
    """
    hooked = [name for name, module in model.named_modules() if module.is_hooked]
    if hooked or model.is_hooked:
        raise ValueError(f"a model with hooks cannot have replicas; there is one on {(hooked or ['the model'])[0]}")
    made = {}

    def of(value):
        if isinstance(value, Parameter):
            if id(value) not in made:  # a tied one is one here as well
                made[id(value)] = Parameter(None)
                made[id(value)].requires_grad = value.requires_grad
            return made[id(value)]
        if isinstance(value, Module):
            twin = copy(value)
            vars(twin).update({name: of(child) for name, child in vars(value).items()})
            return twin
        if isinstance(value, list):
            return [of(item) for item in value]
        return value

    return of(model)


@contextmanager
def without_the_program():
    """Within the block, a process that is born does not run the program first.

    It would to have the program's own classes, and so a script that makes a process needs a guard against making it
    again there.
    """
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


class ReplicaProcess:
    """A process that works on what `send` gives it, and whose answers `receive` returns.

    It has a replica of `model`, with weights in `memory`, through which its gradients come: `number` says which replica
    it is, 0 the first. It ends when this object does.
    """

    def __init__(self, model, memory: SharedMemory, number: int):
        self.memory, self.number = memory, number
        spawn = multiprocessing.get_context("spawn")
        self.pipe, other_end = spawn.Pipe()
        twin = replica(model)
        self.process = spawn.Process(target=work, args=(other_end, twin, memory, number), daemon=True)
        alone = nullcontext() if b"__main__" in pickle.dumps(twin) else without_the_program()
        with alone, one_thread_each(), birth(*SIGNALS):  # whichever this process hears, it may still finish the step
            self.process.start()
        other_end.close()
        atexit.register(self.process.kill)  # before Python would send it SIGTERM, and wait

    def send(self, *request) -> None:
        """Ask for the method of Worker that is named first, with the other arguments. Raises ReplicaLost.

        It runs under this process's np.errstate, and with the engine on or off as here.
        """
        try:
            self.pipe.send((np.geterr(), is_plain(), *request))
        except OSError:
            raise self.lost() from None

    def receive(self):
        """Return the answer to the request before: what the method returned, or the exception that it raised.

        Raises ReplicaLost.
        """
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            raise self.lost() from None

    def gradients(self):
        """Yield pairs of a parameter's number and its gradient, for all parameters, after the answer to "backward".

        Where there is none, the numbers in the array mean nothing. An array is another one's when the next load comes:
        while the pairs of one are used, the process hands over the next. Raises ReplicaLost, or what the process does.
        """
        last = len(self.memory.loads) - 1
        for n in range(last + 1):
            if n < last:
                self.send("hand_over", n + 1)
            yield from self.memory.gradients(self.number, n)
            if n < last and isinstance(answer := self.receive(), Exception):
                raise answer

    def lost(self) -> ReplicaLost:
        """Return an error that says how the process ended."""
        self.process.join()
        how = ending(self.process.exitcode, "for want of memory? fewer replicas need less")
        return ReplicaLost(f"the process of a replica {how}")

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        atexit.unregister(self.process.kill)
        self.process.kill()
        self.process.join()
        self.pipe.close()


class ReplicaWorker:
    """What a replica's process does: each method answers one request."""

    def __init__(self, model, memory: SharedMemory, number: int):
        self.model, self.backward_of_loss = model, None
        self.memory, self.number = memory, number
        for parameter, data in zip(model.parameters(), memory.weights(), strict=True):
            data.flags.writeable = False
            parameter.data = data

    def loss(self, ids, targets, seed):
        """Return the loss of a share of a batch. `seed` turns dropout on."""
        self.backward_of_loss = None  # what the one before has saved is free now
        rng = None if seed is None else np.random.default_rng(seed)
        loss, self.backward_of_loss = self.model.loss(ids, targets, rng=rng)
        return loss

    def backward(self, dloss):
        """Hand over the first gradients of the loss before. Returns of each parameter whether it has one."""
        parameters = self.model.parameters()
        for parameter in parameters:
            parameter.grad = None
        self.backward_of_loss(dloss)
        have_one = [parameter.grad is not None for parameter in parameters]
        if parameters:
            self.hand_over(0)
        return have_one

    def hand_over(self, n) -> None:
        """Put load n of the gradients where the first process sees it, and forget it here."""
        parameters = self.model.parameters()
        for i, gradient in self.memory.gradients(self.number, n):
            if parameters[i].grad is not None:
                gradient[...] = parameters[i].grad
                parameters[i].grad = None


def work(pipe, model, memory, number) -> None:
    """Answer requests until the other end of the pipe is closed."""
    begin()
    warnings.simplefilter("ignore", EditedTextbook)  # the first process has said it
    matrix_library().limit(limits=1)  # the program's own first lines, which run here as well, may have asked for more
    worker = ReplicaWorker(model, memory, number)
    while True:
        try:
            errors, without_engine, request, *arguments = pipe.recv()
        except EOFError:
            return
        try:
            with np.errstate(**errors), plain(without_engine):
                answer = getattr(worker, request)(*arguments)
        except Exception as error:
            answer = error
        pipe.send(answer)
