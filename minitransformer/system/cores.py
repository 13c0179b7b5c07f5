"""Divide work among the cores, in threads.

Threads share all arrays, but between two computations a thread needs the interpreter's lock, and waking a thread takes
about 50 µs. Threads therefore save time only if each computation takes long. Processes are in gradcheck/front.
"""

import contextlib
import contextvars
import math
import os
from functools import cache
from pathlib import Path

ENOUGH_FOR_THREADS = 1 << 20  # entries of arrays; with fewer, waking a thread takes longer than the time saved
LIMIT_OF_CONTAINER = "/sys/fs/cgroup/cpu.max"  # "200000 100000": 200 ms of processor time in each 100 ms, so two cores
MOST_PROCESSES = 1024  # the largest number of processes or threads that an option accepts


def available_cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    A container with a limit of processor time, such as ``docker run --cpus 2``, still shows all cores of the machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path(LIMIT_OF_CONTAINER).read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return cores


@cache
def matrix_library():
    """Return the controller of the matrix library's threads, or None if threadpoolctl is not installed."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController().select(user_api="blas")


@cache
def pool_of(process: int):
    """Return the thread pool of the process with this id. A forked process does not inherit the threads."""
    from concurrent.futures import ThreadPoolExecutor  # this import takes 10 ms, and not every process needs it

    return ThreadPoolExecutor(available_cores(), thread_name_prefix="minitransformer")


def threads() -> int:
    """Return the number of threads that may compute side by side.

    It is the number of threads that the matrix library may use. Within `decoding` it is the number before, and within
    `side_by_side` it is 1.
    """
    if matrix_library() is None:
        return 1
    libraries = matrix_library().lib_controllers
    return _threads or min([available_cores(), *(library.num_threads for library in libraries)])


_threads: int | None = None  # within `one_thread_each`


@contextlib.contextmanager
def one_thread_each(count):
    """Let the matrix library use one thread inside a `with` block, of which `count` may run side by side."""
    global _threads
    before, _threads = _threads, count
    try:
        with matrix_library().limit(limits=1):
            yield
    finally:
        _threads = before


def side_by_side(function, jobs) -> list:
    """Return [function(job) for job in jobs], computed by `threads()` threads with the caller's np.errstate.

    The matrix library uses one thread for each job, so the results are bit-identical for any number of threads. After
    an exception no further job is started.
    """
    jobs = list(jobs)
    count = min(threads(), len(jobs)) if len(jobs) > 1 else 1
    if count == 1:
        return [function(job) for job in jobs]
    from concurrent.futures import wait  # see pool_of

    waiting, results = iter(range(len(jobs))), [None] * len(jobs)

    def work():
        try:
            for i in waiting:
                results[i] = function(jobs[i])
        finally:
            list(waiting)  # after an exception, this drops the remaining jobs

    with one_thread_each(1):
        others = [pool_of(os.getpid()).submit(contextvars.copy_context().run, work) for _ in range(count - 1)]
        try:
            work()
        finally:
            wait(others)
    for thread in others:
        thread.result()
    return results


def decoding(ids):
    """Yield the ids of a generated text. Only the first id needs large products.

    For the others the matrix library has one thread, since on busy cores the threads of a small product wait for each
    other. fast/one_position.py divides the largest of them.
    """
    with contextlib.ExitStack() as until_the_end:
        for number, token in enumerate(ids):
            if number == 0 and matrix_library() is not None:
                until_the_end.enter_context(one_thread_each(threads()))
            yield token
