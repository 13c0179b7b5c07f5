"""Who else wants the cores at this moment.

A product that several threads share is done when the last of them is. Beside a process that keeps a core busy, one of
them waits for its turn, on Linux for 4 to 20 ms, while the others wait for it in a loop; and so at each of hundreds of
products of 0.1 ms. One thread waits for nobody. So whoever shares a product among threads asks here how many others
there are, and takes that many threads less (see fast/product.py and cores.py).

Linux counts in /proc/loadavg how many threads run, or wait for a core to run on. Right after a product that n threads
have shared, all of which are still awake,

    others = running − n                            (1)

That costs 1.3 µs. One look may meet somebody who is gone in a moment, so what counts is a mean that gives much weight
to looks that find more than before, and little to those that find less: it takes a crowd for one within a few looks,
and believes that it has gone after some fifty. To be wrong about it costs a fifth of the time with one thread too few,
and most of it with one too many. Where the system does not say, there is nobody.
"""

import os
import time
from functools import cache

EVERY = 1e-3  # seconds between two looks
RISE, FALL = 1 / 4, 1 / 64  # weights of a look that finds more than the mean, and of one that finds less


class Crowd:
    """How many threads of other programs run or wait for a core, `others`, on average over the last looks."""

    def __init__(self):
        self.others, self.due = 0.0, 0.0

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
        found = max(running() - own, 0)  # (1)
        self.others += (found - self.others) * (RISE if found > self.others else FALL)


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
