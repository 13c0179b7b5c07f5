"""Elementwise work on every core.

The matrix library uses all cores; NumPy's elementwise functions use one, but they release Python's lock while they
run, so parts of a large array can be worked on by several threads. Each element is computed as before: the results
are the same to the bit, however many cores there are. For the exact GELU at 768 × 512 on two cores this is 1.7
times as fast.
"""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

BLOCK = 32768  # elements: a few float32 arrays of this length fit in a core's own cache


def for_each_block(function, size: int) -> None:
    """Call function(part) for slices `part` that cover range(size) in blocks, on every core; small sizes on one."""
    parts = [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
    cores = available_cores()
    if len(parts) < 2 * cores:
        for part in parts:
            function(part)
        return
    shares = [parts[i::cores] for i in range(cores)]
    others = [threads().submit(run, function, share) for share in shares[1:]]
    run(function, shares[0])
    for other in others:
        other.result()


def run(function, parts):
    """Call function on each part."""
    for part in parts:
        function(part)


@functools.cache
def threads() -> ThreadPoolExecutor:
    """The threads beside the calling one, started when first needed."""
    return ThreadPoolExecutor(max(1, available_cores() - 1))


@functools.cache
def available_cores() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# A forked process inherits the pool but not its threads: it must start its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=threads.cache_clear)
