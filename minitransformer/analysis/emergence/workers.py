"""Processes to train in: one model in each at a time, and one thread of the matrix library in each.

Two things decide how fast a sweep is. A matrix product of these sizes gains little from a second thread, while two
models gain all of a second core; so each process has one thread, and there are as many processes as cores. And the
matrix library reads how many threads it may have when NumPy is imported, so that no function called later changes it:
the variables must be in the environment that the process is born with. It inherits its parent's, which is therefore
changed for as long as that takes. One thread is also why a result has the same bits everywhere: see
training/environment.py.

A process is born by `spawn`, not `fork`: a fork would inherit locks that the parent's threads hold, and its thread
count. Hence a program that calls this needs the usual guard, `if __name__ == "__main__":`.

When the parent is killed, its workers would go on and then wait for ever for their next model; each of them watches its
parent, and ends with it.
"""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager

from minitransformer.training.environment import THREAD_VARIABLES


class WorkerProcesses:
    """An executor of `count` processes that can be made anew when it is broken, and stopped at once."""

    def __init__(self, count: int):
        self.count = count
        self.start()

    def start(self) -> None:
        """Begin with new processes; they are born when there is something to do."""
        self.processes = set()
        spawn = multiprocessing.get_context("spawn")
        self.executor = ProcessPoolExecutor(self.count, mp_context=spawn, initializer=begin)

    def submit(self, function, *arguments) -> Future:
        """Let a process call the function."""
        before = set(multiprocessing.active_children())
        with one_thread_each():
            future = self.executor.submit(function, *arguments)
        self.processes |= set(multiprocessing.active_children()) - before
        return future

    def restart(self) -> None:
        """Put new processes in the place of those of a broken executor."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End all processes at once, whatever they are doing."""
        for process in self.processes:
            process.kill()
        self.executor.shutdown(cancel_futures=True)


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread_each():
    """Within the block, a process that is born gets one thread of whichever matrix library NumPy was built with."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def begin() -> None:
    """Prepare a process: it leaves Ctrl-C, which a terminal sends to it too, to its parent, and ends with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait for the end of the process that this one was spawned by."""
    multiprocessing.parent_process().join()
    os._exit(1)
