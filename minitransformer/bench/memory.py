"""The peak of resident memory during a call, in this process and its children.

Resident memory includes the freed arrays that the allocator keeps and the scratch space of the matrix library. Free
memory is returned to the system before the call, so that the peak includes all the memory that the call needs.

Linux records the highest resident size of a process (VmHWM) and resets it when "5" is written to
/proc/<pid>/clear_refs. On other systems the peak is unknown: ru_maxrss covers the whole life of a process.

The peaks of several processes are added, and shared memory counts once for each process that touches it, so the sum is
an upper bound.
"""

import ctypes
import gc
import multiprocessing
import os


def peak_above(call) -> int | None:
    """Run call() and return its peak in bytes above the level before it, or None if the system does not record it."""
    gc.collect()
    give_back_free_memory()
    processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    before = [resident(pid) for pid in processes]
    is_known = None not in before and all(map(restart_peak, processes))
    call()
    if not is_known:
        return None
    peaks = [resident(pid, "VmHWM") for pid in processes]  # None for a process that has ended
    return sum(peak - level for peak, level in zip(peaks, before, strict=True) if peak is not None)


def give_back_free_memory() -> None:
    """Return glibc's free memory to the system. Do nothing with another C library."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return


def resident(pid: int, kind: str = "VmRSS") -> int | None:
    """Return the current (VmRSS) or highest (VmHWM) resident memory of a process in bytes, or None without /proc."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            sizes = [line.split() for line in file if line.startswith(f"{kind}:")]
    except OSError:
        return None
    return int(sizes[0][1]) * 1024 if sizes else None


def restart_peak(pid: int) -> bool:
    """Reset the highest resident size of a process. Return False if the system cannot."""
    try:
        with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True
