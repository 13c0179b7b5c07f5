"""Divide work among the cores, in threads or in processes of one thread each.

Threads share all arrays, but between two computations a thread needs the interpreter's lock, and waking a thread takes
about 50 µs. Threads therefore save time only if each computation takes long. Processes are started with `spawn`. A fork
would inherit the number of threads, and locks that the parent's threads hold.
"""

import contextlib
import contextvars
import os
import signal
import threading
from functools import cache

from minitransformer.system.tuning import tune_process

ENOUGH_FOR_THREADS = 1 << 20  # entries of arrays; with fewer, waking a thread takes longer than the time saved
MOST_PROCESSES = 1024  # the largest number of processes or threads that an option accepts
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Threads.


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
    """Return the number of threads that the matrix library may use, which is 1 within `side_by_side`."""
    if matrix_library() is None:
        return 1
    return min([available_cores(), *(library.num_threads for library in matrix_library().lib_controllers)])


def side_by_side(function, jobs) -> list:
    """Return [function(job) for job in jobs], computed by `threads()` threads with the caller's np.errstate.

    The matrix library uses one thread for each job, so the results are bit-identical for any number of threads. After
    an exception no further job is started.
    """
    jobs = list(jobs)
    count = min(threads(), len(jobs))
    if count <= 1:
        return [function(job) for job in jobs]
    from concurrent.futures import wait  # see pool_of

    waiting, results = iter(range(len(jobs))), [None] * len(jobs)

    def work():
        try:
            for i in waiting:
                results[i] = function(jobs[i])
        finally:
            list(waiting)  # after an exception, this drops the remaining jobs

    with matrix_library().limit(limits=1):
        others = [pool_of(os.getpid()).submit(contextvars.copy_context().run, work) for _ in range(count - 1)]
        try:
            work()
        finally:
            wait(others)
    for thread in others:
        thread.result()
    return results


def decoding(ids):
    """Yield the ids of a generated text. After the first id, which needs large products, use only one thread."""
    with contextlib.ExitStack() as until_the_end:
        for number, token in enumerate(ids):
            if number == 0 and matrix_library() is not None:
                until_the_end.enter_context(matrix_library().limit(limits=1))
            yield token


# Processes.


@contextlib.contextmanager
def environment_of_processes(variables: dict):
    """Set environment variables for processes started within a `with` block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def one_thread_each():
    """Limit the matrix library of processes started in a `with` block to one thread."""
    return environment_of_processes(dict.fromkeys(THREAD_VARIABLES, "1"))


def ending(status: int, advice: str) -> str:
    """Describe how a process with this exit status ended. `advice` is added after SIGKILL."""
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    return f"was ended by {name}{f' ({advice})' if name == 'SIGKILL' else ''}"


def begin() -> None:
    """Prepare this worker process: tune it, ignore Ctrl-C, and exit when the parent ends."""
    tune_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    from multiprocessing import parent_process  # slow, and needed only in a worker process

    parent_process().join()
    os._exit(1)
