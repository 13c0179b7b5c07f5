"""Settings of the whole process that make training and generation faster: `minitransformer.tune_process()`.

Importing this package changes nothing in the process. The commands, the processes of replicas and the benchmark call
this function first, and so can a program of yours.

**Memory.** A training step allocates and frees the same large arrays over and over. By default glibc maps every array
above a threshold, unmaps it when it is freed, and the kernel then faults its pages in again, zeroed, at the
next use: on two cores that took a fifth of the tiny model's training step. The threshold cannot be raised above 32 MB,
but mapping can be forbidden altogether, which makes a step of GPT-2, whose embedding takes 154 MB, 1.06 times as fast.
The price is that freed memory stays with the process.

**Threads.** After a product, the threads of OpenBLAS wait for the next one in a loop, by default for some 25 ms, and
keep other threads of the process from their core. With 3 ms, GPT-2 reads a prompt of 1,000 tokens in 0.9 of the time.
"""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # from malloc.h
KEEP = 1 << 30  # bytes that may stay free at the top of the heap
GROW = 64 << 20  # bytes by which the heap grows
WAIT = "23"  # OpenBLAS's threads wait for 2²³ ticks of the processor's clock


def tune_process() -> None:
    """Tune this process for speed: malloc keeps freed memory, OpenBLAS's threads wait less.

    Settings that the system does not have are skipped: the first needs glibc, the second NumPy's OpenBLAS. OpenBLAS
    reads its setting, the environment variable OPENBLAS_THREAD_TIMEOUT, when NumPy is imported, so call this function
    before the first import of NumPy to have both. A value that is already set is kept. Child processes inherit the
    variable; nothing else in the process changes.
    """
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", WAIT)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Forbid malloc to map and trim. Return True if the C library accepted every setting."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has no mallopt
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, KEEP), (M_TOP_PAD, GROW))
    accepted = [mallopt(name, value) == 1 for name, value in settings]
    return all(accepted)
