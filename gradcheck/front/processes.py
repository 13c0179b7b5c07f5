"""Start processes, limit their time, and end them.

    Workers     an executor (concurrent.futures) for tasks that do not depend on each other
    Command     another program, with a time limit

Python processes are spawned, not forked. A forked process inherits locks that other threads hold, such as those of JAX
and PyTorch, and the libraries of macOS do not support forking. Only the parent handles Ctrl-C, and a process ends when
its parent ends.
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
def starting(variables, blocked, needs_program):
    """Set environment variables and block signals while a process is started.

    With `needs_program`, the process imports the main program, which must then have the usual `__main__` guard.
    """
    with _one_at_a_time, signals_blocked(*blocked):
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
def signals_blocked(*blocked):
    """Block signals in the child processes that are started within a `with` block.

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
            before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for signum in came:
        signal.raise_signal(signum)


def begin() -> None:
    """Make this worker process ignore Ctrl-C and exit when its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


# Many processes for many tasks.


class Workers(ProcessPoolExecutor):
    """A process pool with `count` workers of one thread each.

    Each worker first calls initializer(*arguments). At the end of the `with` block all workers are terminated.
    """

    def __init__(self, count: int, initializer, *arguments, needs_program=True):
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
    """A program that runs with a time limit.

    At the end, all processes that it started are killed. The arguments are those of subprocess.Popen. Raises OSError if
    the program cannot be started.
    """

    def __init__(self, arguments, **how):
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(arguments, start_new_session=True, **pipes, **how)

    def result(self, seconds: float | None):
        """Return (exit status, output), or (None, "") if the time limit is exceeded."""
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
        """Kill the program and its child processes. May be called from a signal handler."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):  # the process has just ended
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)  # the process leads a process group
            else:
                self.process.kill()
