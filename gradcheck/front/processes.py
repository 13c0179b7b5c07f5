"""Processes: start one, limit it, and end it with all that it has started.

    Workers     a concurrent.futures executor for tasks that do not depend on each other
    Command     another program, with a limit of time

Processes of Python are spawned, not forked. A fork inherits locks that other threads hold, those of JAX and PyTorch
among them, and the libraries of macOS do not support it. Only the parent handles Ctrl-C, and a process ends when its
parent ends.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from types import ModuleType

from gradcheck.front.signals import SIGNALS, handled

SPAWN = multiprocessing.get_context("spawn")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
ONE_THREAD = dict.fromkeys(THREAD_VARIABLES, "1")
MOST_ON_WINDOWS = 61  # processes that a ProcessPoolExecutor can wait for on Windows
GRACE = 5  # seconds within which a process must end when it is told to

_one_at_a_time = threading.Lock()  # threads may start processes, but the environment belongs to all of them


@contextlib.contextmanager
def starting(variables, unheard, needs_program):
    """Start a process within the `with` block, with environment variables, and without the signals `unheard`.

    It imports the main program if it needs that, which then has the usual guard, `if __name__ == "__main__":`.
    """
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
