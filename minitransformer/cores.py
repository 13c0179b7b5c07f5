"""How many cores there are, and how work is spread over them: in threads, or in processes that have one each.

**Threads** share all arrays, and NumPy lets go of the interpreter's lock while it computes. But between two
computations a thread needs the lock, and to be woken costs it some 50 µs: threads pay only where single computations
take long. Meanwhile the matrix library keeps to one thread for each of ours, which threadpoolctl sees to; without it
there is one thread. And OpenBLAS's own threads must not wait too long: after a product they wait for the next one in a
loop, by default for some 25 ms, and keep ours from their core. With 3 ms, GPT-2 reads a prompt of 1,000 tokens in 0.9
of the time; with less, they must often be woken, which made training steps 1.04 to 1.4 times as long. OpenBLAS reads
that as well when NumPy is imported, so it is set here for a program that imports minitransformer before numpy, as every
command does.

**Processes** have a lock each. The matrix library reads how many threads it may have when NumPy is imported, so that no
function called later changes it for a process to come: the variables must be in the environment that the process is
born with. It inherits its parent's, which is therefore changed for as long as that takes. A process is born by `spawn`,
not `fork`: a fork would inherit locks that the parent's threads hold, and its thread count. Hence a program that has
such processes needs the usual guard, `if __name__ == "__main__":`, but for replicas, which see to that themselves.
"""

import contextvars
import importlib.util
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache

from minitransformer.crowd import crowd

os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "23")  # 2²³ ticks of the processor's clock

ENOUGH_FOR_THREADS = 1 << 20  # entries of arrays; with fewer, threads gain too little to be woken for
MOST_PROCESSES = 1024  # to compute in, or threads: nobody has more cores
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Threads.


@cache
def matrix_library():
    """Return what tells and limits the threads of the matrix library; None without threadpoolctl."""
    if importlib.util.find_spec("threadpoolctl") is None:
        return None
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@cache
def pool() -> ThreadPoolExecutor:
    """Return the threads that wait for work."""
    return ThreadPoolExecutor(available_cores(), thread_name_prefix="minitransformer")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)  # a fork has none of its parent's threads


def threads() -> int:
    """Return how many threads may compute side by side: as many as the matrix library may have at this moment.

    So OPENBLAS_NUM_THREADS holds for all that is computed, and within `side_by_side` there is one.
    """
    if matrix_library() is None:
        return 1
    return min([available_cores(), *(library.num_threads for library in matrix_library().lib_controllers)])


def free_threads() -> int:
    """Return how many of `threads()` there are cores for that nobody else wants, but at least 1."""
    return threads() if crowd.is_small() else max(1, min(threads(), (os.cpu_count() or 1) - round(crowd.others)))


def fairly(function, *arguments, evenly=False, alone=None):
    """Return function(*arguments), computed while the matrix library has no more than `free_threads()`.

    With evenly, it has so many that what `threads()` would share evenly is shared evenly by them. With alone, which
    returns what to compute in place of so many threads, or None, it has them all or is alone. Where it may have one
    anyway, it is not looked who else is there: that might be replicas of the model, or threads, that share their work
    with this one.
    """
    if crowd.is_small() or threads() == 1:
        result, own = function(*arguments), None
    else:
        own = free_threads()
        while evenly and threads() % own:
            own -= 1
        if alone is not None:
            instead = alone(threads(), *arguments) if own == 1 else None
            own, function = (threads(), function) if instead is None else (1, instead)
        with matrix_library().limit(limits=own):
            result = function(*arguments)
    if crowd.is_due() and threads() > 1:
        crowd.look(own or threads())
    return result


def side_by_side(function, jobs) -> list:
    """Return [function(job) for job in jobs], computed in `free_threads()` under the caller's np.errstate.

    Where there may be several, the matrix library has one thread for each job, in a crowd as well, so that the bits are
    the same. Each thread, of which this is one, takes the next job when it is done with one, and none does after an
    exception. One of these is raised when all threads have stopped.
    """
    jobs = list(jobs)
    if min(threads(), len(jobs)) <= 1:
        return [function(job) for job in jobs]
    count = min(free_threads(), len(jobs))
    if count == 1:
        with matrix_library().limit(limits=1):
            return [function(job) for job in jobs]
    waiting, results = iter(range(len(jobs))), [None] * len(jobs)

    def work():
        try:
            for i in waiting:
                results[i] = function(jobs[i])
        finally:
            list(waiting)  # after an exception, there are no more

    with matrix_library().limit(limits=1):
        others = [pool().submit(contextvars.copy_context().run, work) for _ in range(count - 1)]
        try:
            work()
        finally:
            wait(others)
    for thread in others:
        thread.result()
    return results


# Processes.


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


def ending(status: int, advice: str) -> str:
    """Say how a process ended, by its exit status; `advice` is added where it was killed, as for want of memory."""
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    return f"was ended by {name}{f' ({advice})' if name == 'SIGKILL' else ''}"


def begin() -> None:
    """Prepare a process: it leaves Ctrl-C to its parent, and ends with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait for the end of the process that this one was spawned by."""
    multiprocessing.parent_process().join()
    os._exit(1)
