"""Processes: start one, ask it, limit it, end it with all that it has started, and say how it ended.

All processes of both packages start here, except those of `subprocess.run` and of MPI:

    Process     an object in a process, whose methods are called, such as a replica of a model
    Workers     a concurrent.futures executor for tasks that do not depend on each other
    Command     another program, with a limit of time
    Bounded     other people's code, with limits of time, memory and the number of processes (bounded.py)

Processes of Python are spawned, not forked. A fork inherits locks that other threads hold, those of JAX and PyTorch
among them, and the libraries of macOS do not support it. Only the parent handles Ctrl-C, and a process ends when its
parent ends.
"""

import atexit
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from types import ModuleType
from typing import Any

from gradcheck.front.signals import SIGNALS, handled
from gradcheck.front.streams import error_in_words

SPAWN = multiprocessing.get_context("spawn")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
ONE_THREAD = dict.fromkeys(THREAD_VARIABLES, "1")
MOST_ON_WINDOWS = 61  # processes that a ProcessPoolExecutor can wait for on Windows
GRACE = 5  # seconds within which a process must end when it is told to


class Lost(ChildProcessError):  # noqa: N818
    """A process has ended before it answered. The message says how."""


def ending(status: int) -> str:
    """Describe how a process with this exit status ended."""
    if status >= 0:
        return f"ended with status {status}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was ended by {names.get(-status, f'signal {-status}')}"


# The start and the end of a process.


def start(target, *arguments, variables=None, unheard=tuple(SIGNALS), daemon=False, needs_program=False):
    """Spawn a process that calls target(pipe, *arguments). Return (process, the other end of the pipe).

    variables       environment variables of the process
    unheard         signals that the process does not receive
    daemon          True if it starts no processes of its own with multiprocessing
    needs_program   True if the arguments contain objects of the main program, which is then imported in the process;
                    it needs the usual guard, `if __name__ == "__main__":`
    """
    pipe, other_end = SPAWN.Pipe()
    process = SPAWN.Process(target=target, args=(other_end, *arguments), daemon=daemon)
    with starting(variables or {}, unheard, needs_program):
        process.start()
    other_end.close()
    _running[process] = os.getpid()
    return process, pipe


def stop(process, pipe, patience=0.0) -> None:
    """Close the pipe, and kill the process if it still runs after `patience` seconds."""
    pipe.close()
    process.join(patience)
    process.kill()
    process.join()
    _running.pop(process, None)


_running: dict[Any, int] = {}  # {process: the id of the process that called `start`}


@atexit.register  # after `multiprocessing` has registered its handler, which would wait for them, and so before that
def _kill_running():
    for process, owner in _running.items():
        if owner == os.getpid():  # and not a fork of it
            process.kill()


_one_at_a_time = threading.Lock()  # threads may start processes, but the environment belongs to all of them


@contextlib.contextmanager
def starting(variables, unheard, needs_program):
    """Start a process within the `with` block (see `start`)."""
    with _one_at_a_time, birth(*unheard):
        main, before = sys.modules["__main__"], {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        if not needs_program:
            sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            for name, value in before.items():
                del os.environ[name]
                if value is not None:
                    os.environ[name] = value


@contextlib.contextmanager
def birth(*unheard):
    """Block the signals `unheard` in child processes started within a `with` block, because the parent handles them.

    Signals to this process are delivered at the end of the block. On Windows, which has no signal masks, the block only
    delays signals.
    """
    came = []
    with handled(dict.fromkeys(SIGNALS, lambda signum, frame: came.append(signum))):
        if not hasattr(signal, "pthread_sigmask"):
            yield
        else:
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()  # starting this helper of Python would lift the mask
            before = signal.pthread_sigmask(signal.SIG_BLOCK, unheard)
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for signum in came:
        signal.raise_signal(signum)


def begin() -> None:
    """Prepare this worker process: ignore Ctrl-C, and exit when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


# An object in a process.


class Process:
    """A process with the object make(*arguments). `ask` calls a method of the object. Use it in a `with` block."""

    def __init__(self, make, *arguments, patience=0.0, **how):
        """`patience` is the time in seconds for the process to end by itself; `how` are the arguments of `start`."""
        self.patience = patience
        self.process, self.pipe = start(_answer_calls, make, *arguments, **how)

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        self.stop(self.patience if kind is None else 0)

    def ask(self, method: str, *arguments, **options):
        """Return the result of object.method(*arguments, **options), or raise its exception. Raises Lost."""
        self.send(method, *arguments, **options)
        return self.receive()

    def send(self, method: str, *arguments, **options) -> None:
        try:
            self.pipe.send((method, arguments, options))
        except OSError:
            raise self.lost() from None

    def receive(self):
        """Wait for the answer to the oldest call that was sent."""
        try:
            error, answer = self.pipe.recv()
        except (EOFError, OSError):
            raise self.lost() from None
        if error is not None:
            raise error
        return answer

    def lost(self) -> Lost:
        self.process.join()
        return Lost(ending(self.process.exitcode))

    def stop(self, patience=0.0) -> None:
        stop(self.process, self.pipe, patience)


def _answer_calls(pipe, make, *arguments):
    begin()
    target = make(*arguments)
    with contextlib.suppress(EOFError):
        while True:
            method, arguments, options = pipe.recv()
            try:
                answer = None, getattr(target, method)(*arguments, **options)
            except Exception as error:
                answer = error, None
            try:
                pipe.send(answer)
            except (TypeError, AttributeError, ValueError):  # an exception that cannot be pickled
                pipe.send((RuntimeError(error_in_words(answer[0])), None))


# Many processes for many tasks.


class Workers(ProcessPoolExecutor):
    """An executor with `count` processes of one thread each, which are ended at the end of the `with` block."""

    def __init__(self, count: int, initializer, *arguments, needs_program=True):
        """Each process first calls initializer(*arguments)."""
        count = min(count, MOST_ON_WINDOWS) if sys.platform == "win32" else count
        super().__init__(count, SPAWN, _begin_worker, (initializer, arguments))
        self.needs_program = needs_program
        self.processes = set()

    def submit(self, function, /, *arguments, **options) -> Future:
        before = set(multiprocessing.active_children())
        with starting(ONE_THREAD, (signal.SIGINT,), self.needs_program):  # SIGTERM is received: it ends a worker
            future = super().submit(function, *arguments, **options)
        self.processes |= set(multiprocessing.active_children()) - before
        return future

    def __exit__(self, *exception):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(GRACE)
            process.kill()
        self.shutdown(cancel_futures=True)


def _begin_worker(initializer, arguments):
    begin()
    initializer(*arguments)


# Another program.


class Command:
    """A program that runs with a limit of time. At the end, all processes that it has started are killed.

    Raises OSError if it cannot be started. The arguments are those of subprocess.Popen.
    """

    def __init__(self, arguments, **how):
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(arguments, start_new_session=True, **pipes, **how)

    def result(self, seconds: float | None):
        """Return (exit status, output as text), or (None, "") if the command exceeds the limit of time."""
        try:
            output, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            self.kill()
            self.process.wait()
            self.process.stdout.close()
        return self.process.returncode, output.decode("utf-8", "replace")

    def kill(self) -> None:
        """Kill the command, if it still runs, and all processes that it started. A signal handler may call this."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):  # the process has just ended
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)  # the process leads a process group
            else:
                self.process.kill()
