"""The time that a training step spends in each file of the package, forward and backward.

`sys.setprofile` reports every call and return of a Python function. The time between two such events is attributed to
the file of the innermost running function. The time of a file therefore excludes other files that the file calls, and
includes NumPy's functions. The time is recorded with three attributes:

    inside      the name of the nearest calling file, for example "feed_forward" if the component is "linear"
    component   the name of the file
    direction   "backward" within a function whose name ends in "backward", "update" in the optimizer, otherwise
                "forward"

The profiler takes time, especially in small functions, so the report shows the duration of a step with and without the
profiler.
"""

import sys
import time
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
FRAMEWORK = "module"  # calls every component, so it does not identify a caller
OUTSIDE = "(outside)"
DIRECTIONS = ("forward", "backward", "update")


class ComponentClock:
    """Measure the time of each component within a `with` block.

    The result is the attribute `seconds`, {(inside, component, direction): time}. `stack` has one entry per running
    function: the three parts of the key, and the innermost component other than the framework.
    """

    def __enter__(self):
        self.seconds = defaultdict(float)
        self.known = {}  # code object: (component or None, True for a backward pass)
        self.stack = [("", OUTSIDE, "forward", OUTSIDE)]
        self.last = time.perf_counter()
        sys.setprofile(self.event)
        return self

    def __exit__(self, *error):
        sys.setprofile(None)
        self.record()

    def event(self, frame, event, argument):
        if event == "call":
            self.record()
            self.stack.append(self.location(frame.f_code))
        elif event == "return" and len(self.stack) > 1:  # the first event may be the return of __enter__
            self.record()
            self.stack.pop()

    def record(self):
        now = time.perf_counter()
        self.seconds[self.stack[-1][:3]] += now - self.last
        self.last = now

    def location(self, code) -> tuple:
        """Return the stack entry for a function called by the innermost running function."""
        inside, _, direction, page = self.stack[-1]
        if code not in self.known:
            path = Path(code.co_filename)
            component = path.stem if path.is_relative_to(PACKAGE) else None
            self.known[code] = component, code.co_name.endswith("backward")
        component, is_backward = self.known[code]
        if component is None:  # Python code outside the package: its time belongs to the caller
            return self.stack[-1]
        direction = "backward" if is_backward else "update" if component == "optim" else direction
        inside = inside if component in (FRAMEWORK, page) else page
        return inside, component, direction, page if component == FRAMEWORK else component


def by_component(seconds: dict) -> list[dict]:
    """Return a list of rows, one per component and caller, sorted by the total time.

    A row is a dictionary with the component, the caller ("inside"), and the seconds in each direction.
    """
    rows = {}
    for (inside, component, direction), spent in seconds.items():
        inside = "" if component == FRAMEWORK else inside
        empty = {"component": component, "inside": inside, **dict.fromkeys(DIRECTIONS, 0.0)}
        rows.setdefault((inside, component), empty)[direction] += spent
    return sorted(rows.values(), key=total, reverse=True)


def total(row: dict) -> float:
    return sum(row[direction] for direction in DIRECTIONS)
