"""A replica of a model, at work in a process of its own, and the memory that it shares with the model.

Weights and gradients are too large to be sent at every step. They lie in memory that all processes see: one part with
the weights, which only the first process changes, and one part for the gradients of each replica but the first, the
model itself. What is sent through a pipe is small: a share of a batch, and its loss.
"""

import atexit
import ctypes
import math
import multiprocessing
from copy import copy

import numpy as np

from gradcheck.stopping import SIGNALS, birth
from minitransformer.cores import begin, ending, matrix_library, one_thread_each
from minitransformer.files import naming
from minitransformer.module import Module, Parameter, is_plain, plain

ALIGNMENT = 64  # bytes


class ReplicaLost(ChildProcessError):  # noqa: N818
    """The process of a replica has ended before its work was done."""


class SharedMemory:
    """Memory in `parts`, each with room for arrays of the shapes and dtypes of all `parameters`, zero at first."""

    def __init__(self, parameters, parts: int):
        self.layout, size = [], 0
        for parameter in parameters:
            self.layout.append((parameter.data.shape, parameter.data.dtype, size))
            size += -(-parameter.data.nbytes // ALIGNMENT) * ALIGNMENT
        self.size = size
        with naming(f"the file of {size * parts:,} bytes that {parts} replicas share (one needs none)"):
            self.bytes = multiprocessing.get_context("spawn").RawArray(ctypes.c_char, max(size * parts, 1))

    def arrays(self, part: int) -> list:
        """Return the arrays of a part."""
        return [
            np.frombuffer(self.bytes, dtype, math.prod(shape), part * self.size + start).reshape(shape)
            for shape, dtype, start in self.layout
        ]


class ReplicaParameter(Parameter):
    """A Parameter whose array is another process's, and whose gradient gathers in the array `memory`."""

    def __init__(self, requires_grad: bool):
        super().__init__(None)
        self.requires_grad = requires_grad
        self.memory = None

    def accumulate(self, grad):
        """Add `grad` to the gradient."""
        if not self.requires_grad:
            return
        if self.grad is None:
            self.memory[...] = grad
            self.grad = self.memory
        else:
            self.memory += grad


def replica(model):
    """Return a module like `model`, with a ReplicaParameter without an array in the place of each Parameter.

    Raises ValueError for a model with hooks, which are functions of this process alone.
    """
    hooked = [name for name, module in model.named_modules() if module.is_hooked]
    if hooked or model.is_hooked:
        raise ValueError(f"a model with hooks cannot have replicas; there is one on {(hooked or ['the model'])[0]}")
    made = {}

    def of(value):
        if isinstance(value, Parameter):
            if id(value) not in made:  # a tied one is one here as well
                made[id(value)] = ReplicaParameter(value.requires_grad)
            return made[id(value)]
        if isinstance(value, Module):
            twin = copy(value)
            vars(twin).update({name: of(child) for name, child in vars(value).items()})
            return twin
        if isinstance(value, list):
            return [of(item) for item in value]
        return value

    return of(model)


class ReplicaProcess:
    """A process that works on what `send` gives it, and whose answers `receive` returns.

    It has a replica of `model`, with part 0 of `memory` for its weights and part `part` for its gradients. It ends when
    this object does.
    """

    def __init__(self, model, memory: SharedMemory, part: int):
        spawn = multiprocessing.get_context("spawn")
        self.pipe, other_end = spawn.Pipe()
        self.process = spawn.Process(target=work, args=(other_end, replica(model), memory, part), daemon=True)
        with one_thread_each(), birth(*SIGNALS):  # whichever this process hears, it may still finish the step
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

    def __init__(self, model, memory: SharedMemory, part: int):
        self.model, self.backward_of_loss = model, None
        for parameter, data, gradient in zip(model.parameters(), memory.arrays(0), memory.arrays(part), strict=True):
            parameter.data, parameter.memory = data, gradient
            data.flags.writeable = False

    def loss(self, ids, targets, seed):
        """Return the loss of a share of a batch. `seed` turns dropout on."""
        self.backward_of_loss = None  # what the one before has saved is free now
        rng = None if seed is None else np.random.default_rng(seed)
        loss, self.backward_of_loss = self.model.loss(ids, targets, rng=rng)
        return loss

    def backward(self, dloss):
        """Fill the gradients of the loss before. Returns of each parameter whether it has one."""
        for parameter in self.model.parameters():
            parameter.grad = None
        self.backward_of_loss(dloss)
        return [parameter.grad is not None for parameter in self.model.parameters()]


def work(pipe, model, memory, part) -> None:
    """Answer requests until the other end of the pipe is closed."""
    begin()
    matrix_library().limit(limits=1)  # the program's own first lines, which run here as well, may have asked for more
    worker = ReplicaWorker(model, memory, part)
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
