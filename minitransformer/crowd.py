"""Who else wants the cores at this moment.

A product that several threads share is done when the last of them is. Beside a process that keeps a core busy, one of
them waits for its turn, on Linux for 4 to 20 ms, while the others wait for it in a loop; and so at each of hundreds of
products of 0.1 ms. One thread waits for nobody. So whoever shares a product among threads asks here how many others
there are, and takes that many threads less (see fast/product.py and cores.py).

Linux counts in /proc/loadavg how many threads run, or wait for a core to run on. Right after a product that n threads
have shared, all of which are still awake,

    others = running − n                            (1)

That costs 1.3 µs. One look in 30 meets somebody who is gone in a moment, on a machine that is idle as well, so what
counts is a mean. While there is nobody it follows the last few looks, and three in a row make a crowd, for with one
thread too many most of the time is lost. With one too few it is at most half; so in a crowd, whose programs may pause
for a moment, a look that finds less counts little, unless the one before it was long ago. Where the system does not
say, there is nobody.
"""

import math
import os
import time
from functools import cache

EVERY = 1e-3  # seconds between two looks
NEWEST = 1 / 4  # weight of a look that finds more than the mean, or any that is taken while there is nobody
MEMORY = 0.064  # seconds in which looks that find nobody bring a crowd down to 1/e


class Crowd:
    """How many threads of other programs run or wait for a core, `others`, on average over the last looks."""

    def __init__(self):
        self.others, self.due, self.looked = 0.0, 0.0, 0.0

    def is_small(self) -> bool:
        """Whether there is, most of the time, nobody."""
        return self.others <= 0.5

    def is_due(self) -> bool:
        """Whether it is time for another look. It then is not again for the next moment."""
        now = time.monotonic()
        if now < self.due:
            return False
        self.due = now + EVERY
        return True

    def look(self, own: int) -> None:
        """Look, `own` threads of this process being awake."""
        before, self.looked = self.looked, time.monotonic()
        found = max(running() - own, 0)  # (1)
        follows = found > self.others or self.is_small()
        self.others += (found - self.others) * (NEWEST if follows else 1 - math.exp((before - self.looked) / MEMORY))


crowd = Crowd()  # around this process


def running() -> int:
    """Return how many threads on this machine run or wait for a core; 0 where the system does not say."""
    try:
        return int(os.pread(load_average(), 100, 0).split()[3].partition(b"/")[0])
    except (AttributeError, OSError, IndexError, ValueError):  # no pread, no /proc, or something else in it
        return 0


@cache
def load_average() -> int:
    """Return the open file /proc/loadavg, a descriptor. Raises OSError where there is none."""
    return os.open("/proc/loadavg", os.O_RDONLY)
