"""Settings of the whole process that make training and generation faster: `minitransformer.tune_process()`.

**Memory.** By default glibc maps every array above a threshold and unmaps it when it is freed. At the next use the
kernel must provide zeroed pages again, which took a fifth of the tiny model's training step on two cores. The threshold
cannot be raised above 32 MB, but mapping can be disabled altogether. The process then keeps freed memory.

**Threads.** After a product, the threads of OpenBLAS wait actively for the next one, by default for about 25 ms, and
occupy cores that other threads of the process need. With 3 ms, GPT-2 reads a prompt of 1,000 tokens in 0.9 of the time.
"""

import ctypes
import os
import sys
from contextlib import suppress

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # from malloc.h
KEEP = 1 << 30  # bytes that may stay free at the top of the heap
GROW = 64 << 20  # bytes by which the heap grows
WAIT = "23"  # OpenBLAS's threads wait for 2²³ ticks of the processor's clock


def tune_process() -> None:
    """Tune this process for speed: malloc keeps freed memory, and OpenBLAS's threads wait for a shorter time.

    Call it before the first import of NumPy, when OpenBLAS reads OPENBLAS_THREAD_TIMEOUT. A value that is already set
    is kept. Settings that the system does not have are skipped.
    """
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", WAIT)
    if sys.platform.startswith("linux"):
        with suppress(AttributeError):  # musl has no mallopt
            mallopt = ctypes.CDLL(None).mallopt
            for name, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, KEEP), (M_TOP_PAD, GROW)):
                mallopt(name, value)
