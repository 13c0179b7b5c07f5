"""Settings of the whole process that make training and generation faster: `minitransformer.tune_process()`.

**Memory.** By default glibc maps every array above a threshold and unmaps it when it is freed. At the next use the
kernel must provide zeroed pages again, which took a fifth of the tiny model's training step on two cores. The threshold
cannot be raised above 32 MB, but mapping can be disabled altogether. The process then keeps freed memory.

**Threads.** After a product, the threads of OpenBLAS wait actively for the next one, by default for about 25 ms, and
occupy cores that other threads of the process need. With 3 ms, GPT-2 reads a prompt of 1,000 tokens in 0.9 of the time.

**Small products.** By default the matrix library divides each product among all cores. If other programs use the cores,
a product of a small model is finished long before a thread of it gets a core, and each product waits. One thread avoids
this. The commands begin with one thread, and take all cores for a model of at least WIDE channels. Beside two busy
processes on two cores, two threads take 5 times as long as one for 256 channels, 2.9 times for 512, and the same time
for 768.
"""

import ctypes
import os
import sys
from contextlib import suppress

from gradcheck.front.processes import THREAD_VARIABLES
from minitransformer.system.cores import available_cores, matrix_library

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # from malloc.h
KEEP = 1 << 30  # bytes that may stay free at the top of the heap
GROW = 64 << 20  # bytes by which the heap grows
WAIT = "23"  # OpenBLAS's threads wait for 2²³ ticks of the processor's clock
WIDE = (
    768  # channels of a model whose products are large; with fewer, one thread takes at most 1.5 times as long as two
)
IS_LIMITED = any(name in os.environ for name in THREAD_VARIABLES)  # by the user, or by the process that started this


def tune_process(*, threads: int | None = None) -> None:
    """Tune this process for speed: malloc keeps freed memory, and OpenBLAS's threads wait for a shorter time.

    threads   number of threads of the matrix library, for example 1 for a small model (default: unchanged)

    Call it before the first import of NumPy, when OpenBLAS reads its environment variables. Variables that are already
    set are kept. Settings that the system does not have are skipped. After the import of NumPy, `threads` is set with
    threadpoolctl, and skipped if it is not installed.
    """
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", WAIT)
    if threads is not None and not IS_LIMITED:
        set_threads(threads)
    if sys.platform.startswith("linux"):
        with suppress(AttributeError):  # musl has no mallopt
            mallopt = ctypes.CDLL(None).mallopt
            for name, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, KEEP), (M_TOP_PAD, GROW)):
                mallopt(name, value)


def tune_for(config) -> None:
    """Let the matrix library use all cores if a model with this Config has large products."""
    if config.d_model >= WIDE and not IS_LIMITED:
        set_threads(available_cores())


def set_threads(threads: int) -> None:
    """Set the number of threads of the matrix library, before the import of NumPy or, with threadpoolctl, after it."""
    if "numpy" not in sys.modules:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    elif matrix_library() is not None:
        matrix_library().limit(limits=threads)
