"""The peak of a call: the resident memory at its highest, above the level before it.

Resident memory is what the process really occupies: arrays, but also what the allocator keeps of freed ones and the
scratch space of the matrix library. Before the call, what is free is given back to the system, so that the call has to
ask for all it needs; whoever keeps freed memory from call to call is not charged less for it.

Linux keeps the highest resident size of a process (VmHWM), and starts counting anew when "5" is written to
/proc/self/clear_refs. Elsewhere nothing is measured, and the result is None: the one portable number, ru_maxrss, is the
highest of the process's whole life, and so says nothing of a call after something larger.
"""

import ctypes
import gc


def peak_above(call) -> int | None:
    """Run call() and return the bytes of its peak above the level before it; None where the system cannot say."""
    gc.collect()
    give_back_free_memory()
    before = resident()
    is_known = before is not None and restart_peak()
    call()
    return resident("VmHWM") - before if is_known else None


def give_back_free_memory() -> None:
    """Have glibc return free memory to the system. Nothing happens with another C library."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # another C library; Windows
        return


def resident(kind: str = "VmRSS") -> int | None:
    """Return the resident memory of this process in bytes, now (VmRSS) or at its highest (VmHWM), or None."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            sizes = [line.split() for line in file if line.startswith(f"{kind}:")]
    except OSError:
        return None
    return int(sizes[0][1]) * 1024 if sizes else None


def restart_peak() -> bool:
    """Have the system forget the highest resident size so far. Returns whether it did."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True
