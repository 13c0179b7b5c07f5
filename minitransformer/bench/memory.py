"""The peak of a call: the resident memory at its highest, above the level before it, in this process and its children.

Resident memory is what the process really occupies: arrays, but also what the allocator keeps of freed ones and the
scratch space of the matrix library. Before the call, what is free is given back to the system, so that the call has to
ask for all it needs; whoever keeps freed memory from call to call is not charged less for it.

Linux keeps the highest resident size of a process (VmHWM), and starts counting anew when "5" is written to
/proc/<pid>/clear_refs. Elsewhere nothing is measured, and the result is None: the one portable number, ru_maxrss, is
the highest of the process's whole life, and so says nothing of a call after something larger.

Of several processes the peaks are added up, as though all came at the same moment, and memory that they share counts
for each that touches it: the sum is at least what they occupy together.
"""

import ctypes
import gc
import multiprocessing
import os


def peak_above(call) -> int | None:
    """Run call() and return the bytes of its peak above the level before it; None where the system cannot say."""
    gc.collect()
    give_back_free_memory()
    processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    before = [resident(pid) for pid in processes]
    is_known = None not in before and all(map(restart_peak, processes))
    call()
    if not is_known:
        return None
    peaks = [resident(pid, "VmHWM") for pid in processes]  # None for one that has ended meanwhile
    return sum(peak - level for peak, level in zip(peaks, before, strict=True) if peak is not None)


def give_back_free_memory() -> None:
    """Have glibc return free memory to the system. Nothing happens with another C library."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # another C library; Windows
        return


def resident(pid: int, kind: str = "VmRSS") -> int | None:
    """Return the resident memory of a process in bytes, now (VmRSS) or at its highest (VmHWM), or None."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            sizes = [line.split() for line in file if line.startswith(f"{kind}:")]
    except OSError:
        return None
    return int(sizes[0][1]) * 1024 if sizes else None


def restart_peak(pid: int) -> bool:
    """Have the system forget the highest resident size of a process so far. Returns whether it did."""
    try:
        with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True
