"""How many cores there are, and processes that have one each.

The matrix library reads how many threads it may have when NumPy is imported, so that no function called later changes
it for a process to come: the variables must be in the environment that the process is born with. It inherits its
parent's, which is therefore changed for as long as that takes.

A process is born by `spawn`, not `fork`: a fork would inherit locks that the parent's threads hold, and its thread
count. Hence a program that has such processes needs the usual guard, `if __name__ == "__main__":`.
"""

import multiprocessing
import os
import signal
import threading
from contextlib import contextmanager
from multiprocessing import resource_tracker

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


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


@contextmanager
def deaf_to_ctrl_c():
    """Within the block, a process that is born does not hear Ctrl-C, which a terminal sends to it as well.

    It would end in the middle of its imports, with a traceback. This process hears it when the block ends. Windows has
    no such mask.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # Python's own helper, whose start would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin() -> None:
    """Prepare a process: it leaves Ctrl-C to its parent, and ends with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait for the end of the process that this one was spawned by."""
    multiprocessing.parent_process().join()
    os._exit(1)
