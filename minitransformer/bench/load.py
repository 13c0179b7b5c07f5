"""The load that other processes put on the processor during a measurement.

On Linux, /proc/stat counts the time during which the cores were busy. For an interval of time,

    others = (busy time of all cores − processor time of this process and its children) / elapsed time

is the average number of cores that other processes, or the hypervisor, kept busy. Both times are counted in hundredths
of a second, so the interval should last a second. The load average is unsuitable: it covers a minute and includes
this process.
"""

import multiprocessing
import os
import time
from contextlib import contextmanager

QUIET = 0.05  # cores used by other processes, above which a turn counts as disturbed
SHORTEST = 0.5  # seconds; the clock is too coarse for a shorter turn


@contextmanager
def watched():
    """Yield a dictionary that receives {"seconds", "cores", "others"} when the block ends.

    "cores" is the average number of cores that this process and its children used, and "others" that of all other
    processes, or None without /proc/stat.
    """
    load = {}
    wall, own, busy = time.perf_counter(), own_time(), busy_time()
    yield load
    seconds, used = time.perf_counter() - wall, own_time() - own
    others = None if busy is None else max(busy_time() - busy - used, 0.0) / seconds
    load |= {"seconds": seconds, "cores": used / seconds, "others": others}


def own_time() -> float:
    """Return the processor time of this process, its threads and its children in seconds."""
    times = os.times()
    living = sum(time_of_child(child.pid) for child in multiprocessing.active_children())
    return times.user + times.system + times.children_user + times.children_system + living


def time_of_child(pid: int) -> float:
    """Return the processor time of a process in seconds, or 0 without /proc."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
    except OSError:
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def busy_time() -> float | None:
    """Return the time during which all cores together have been busy in seconds, or None without /proc/stat."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    except OSError:
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def summed_load(loads: list) -> dict:
    """Summarize the load of several turns as {"mean", "greatest", "disturbed", "turns"}.

    "mean" is weighted by the length of the turns. "disturbed" is the number of turns in which other processes used more
    than QUIET cores. Turns shorter than SHORTEST are ignored if there are longer ones. Without /proc/stat, all values
    except "turns" are None.
    """
    long_enough = [load for load in loads if load["seconds"] >= SHORTEST] or loads
    known = [load for load in long_enough if load["others"] is not None]
    if not known:
        return {"mean": None, "greatest": None, "disturbed": None, "turns": len(loads)}
    return {
        "mean": sum(load["others"] * load["seconds"] for load in known) / sum(load["seconds"] for load in known),
        "greatest": max(load["others"] for load in known),
        "disturbed": sum(load["others"] > QUIET for load in known),
        "turns": len(known),
    }
