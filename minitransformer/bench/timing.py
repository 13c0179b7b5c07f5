"""The time and the peak memory of calls, and the speed of matrix products and memory reads on this machine.

A training step consists mostly of matrix products, so it is limited by the speed of large square products. Decoding a
sequence reads every weight once per token, so it is limited by the speed of memory reads. To measure this speed, a
vector is multiplied by a matrix that is much larger than the caches.

Resident memory includes freed arrays that the allocator keeps, and the buffers of the matrix library. Linux records the
highest resident size of a process (VmHWM) and resets it when "5" is written to /proc/<pid>/clear_refs. On other systems
the peak is unknown. The peaks of several processes are added. Shared memory is counted once for each process that uses
it, so the sum is an upper bound.
"""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import re
import time
from itertools import pairwise
from pathlib import Path

SQUARES = (512, 1024, 2048)
MATRIX = (4096, 8192)  # 128 MiB of float32
REPEATS = 4


def seconds_of(call, *arguments) -> float:
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def token_times(tokens) -> list[float]:
    marks = [time.perf_counter()]
    for _ in tokens:
        marks.append(time.perf_counter())
    return [after - before for before, after in pairwise(marks)]


def machine_limits(engine, squares=SQUARES, shape=MATRIX) -> dict:
    """Measure the limits of the machine in float32 with the library of the engine.

    "flops" is the highest FLOP/s of a square matrix product, and "bandwidth" the highest bytes/s of a memory read.
    """

    def product_seconds(rows, inner, columns):
        a, b, out = engine.random(rows, inner), engine.random(inner, columns), engine.random(rows, columns)
        return min(seconds_of(engine.multiply, a, b, out) for _ in range(REPEATS))  # disturbances only add time

    rows, columns = shape
    read = min(product_seconds(rows, columns, 1), product_seconds(1, rows, columns))  # the better order of reading
    return {"flops": max(2 * n**3 / product_seconds(n, n, n) for n in squares), "bandwidth": 4 * rows * columns / read}


def peak_above(call) -> int | None:
    """Run call() and return the increase of the peak memory in bytes, or None if the system does not record it.

    Free memory is first returned to the system, so that the increase includes all memory that the call requires.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library than glibc, or Windows
        ctypes.CDLL(None).malloc_trim(0)
    processes = [Path(f"/proc/{pid}") for pid in (os.getpid(), *(c.pid for c in multiprocessing.active_children()))]
    try:
        before = [resident(process, "VmRSS") for process in processes]
        for process in processes:
            (process / "clear_refs").write_text("5")
    except OSError:
        call()
        return None
    call()
    return sum(resident(process, "VmHWM") - level for process, level in zip(processes, before, strict=True))


def resident(process: Path, kind: str) -> int:
    """Return the current (VmRSS) or highest (VmHWM) resident memory of a process in bytes."""
    return int(re.search(rf"{kind}:\s*(\d+) kB", (process / "status").read_text())[1]) * 1024
