"""Who else used the processor: a timing on a busy machine is a lie.

On Linux, /proc/stat counts the time that all cores were busy. Over a stretch of time that a process measures,

    others = (busy time of all cores − processor time of this process and its children) / elapsed time

is the number of cores that other processes kept busy on average, or that the hypervisor took away. Both are counted in
hundredths of a second, so a stretch should last a second. The load average would do without /proc, but it remembers a
minute, and counts this very process.
"""

import multiprocessing
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass

QUIET = 0.05  # cores
# The columns of the first line of /proc/stat; the last two are counted in the first two already.
COLUMNS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
BUSY = ("user", "nice", "system", "irq", "softirq", "steal")


@dataclass
class Load:
    """What `watched` found.

    seconds   elapsed
    cores     that this process and its children kept busy, on average
    others    cores that other processes did; None where the system does not say
    """

    seconds: float = 0.0
    cores: float = 0.0
    others: float | None = None


@contextmanager
def watched():
    """`with watched() as load:` fills `load` when the block ends."""
    load = Load()
    wall, own, busy = time.perf_counter(), own_time(), busy_time()
    yield load
    load.seconds = time.perf_counter() - wall
    used = own_time() - own
    load.cores = used / load.seconds
    if busy is not None:
        load.others = max(busy_time() - busy - used, 0.0) / load.seconds


def own_time() -> float:
    """Return the processor time of this process, all its threads and its children, in seconds."""
    times = os.times()
    living = sum(time_of_child(child.pid) for child in multiprocessing.active_children())
    return times.user + times.system + times.children_user + times.children_system + living


def time_of_child(pid: int) -> float:
    """Return the processor time of a process, in seconds; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            after_name = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    user, system = after_name[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def busy_time() -> float | None:
    """Return the time that all cores have been busy, in seconds; None where there is no /proc/stat."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = dict(zip(COLUMNS, map(int, file.readline().split()[1:]), strict=False))
    except OSError:
        return None
    return sum(ticks[name] for name in BUSY) / os.sysconf("SC_CLK_TCK")
