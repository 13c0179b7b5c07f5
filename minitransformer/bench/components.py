"""The time in each file of the package, forward and backward: a component is a file, so a profile is a table of files.

Python tells a function that asks (sys.setprofile) of every call and return. The time between two such events belongs to
the innermost function that runs, and so to the file in which it is written: the *exclusive* time of a file leaves out
what it calls in others. NumPy's own time belongs to the file that calls it. Each time is booked under

    inside     the nearest file further out that it was called from: a linear map of attention, or of the feed-forward
    component  the file itself, without its folder
    direction  "backward" below any function whose name ends so, "update" in the optimiser, else "forward"

Being told costs time, most where functions are small. The whole step's time with and without it is given beside the
table, so that nobody takes the one for the other.
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
FRAMEWORK = "module"  # what calls everything, and so is never of interest as the place that something was called from
UPDATE = "optim"
OUTSIDE = "(outside)"


@dataclass
class Location:
    """Where a running function stands: the key of its time, and `page`, the nearest component that is no framework."""

    inside: str
    component: str
    direction: str
    page: str


@dataclass
class ComponentClock:
    """`with ComponentClock() as clock:` fills clock.seconds: (inside, component, direction) → exclusive time."""

    seconds: dict = field(default_factory=dict)
    stack: list = field(default_factory=list)
    known: dict = field(default_factory=dict)  # code object → (component or None, whether it is a backward)
    last: float = 0.0

    def __enter__(self):
        self.stack = [Location("", OUTSIDE, "forward", OUTSIDE)]
        self.last = time.perf_counter()
        sys.setprofile(self.event)
        return self

    def __exit__(self, *error):
        sys.setprofile(None)
        self.book()

    def event(self, frame, event, argument):
        """Book the time since the last event, then note which function runs now."""
        if event == "call":
            self.book()
            self.stack.append(self.location(frame.f_code))
        elif event == "return" and len(self.stack) > 1:  # the first may be the return of __enter__ itself
            self.book()
            self.stack.pop()

    def book(self):
        """Add the time since the last event to the function that runs."""
        now = time.perf_counter()
        location = self.stack[-1]
        key = location.inside, location.component, location.direction
        self.seconds[key] = self.seconds.get(key, 0.0) + now - self.last
        self.last = now

    def location(self, code) -> Location:
        """Return the location of a function that the innermost one calls."""
        caller = self.stack[-1]
        if code not in self.known:
            path = Path(code.co_filename)
            component = path.stem if path.is_relative_to(PACKAGE) else None
            self.known[code] = component, code.co_name.endswith("backward")
        component, is_backward = self.known[code]
        if component is None:  # Python code of NumPy's, or of anything else: the caller's own time
            return caller
        direction = "backward" if is_backward else "update" if component == UPDATE else caller.direction
        inside = caller.inside if component in (FRAMEWORK, caller.page) else caller.page
        return Location(inside, component, direction, caller.page if component == FRAMEWORK else component)


def by_component(seconds: dict) -> list[dict]:
    """Return rows of component, inside and the seconds in each direction, the longest first."""
    rows = {}
    for (inside, component, direction), spent in seconds.items():
        if component == FRAMEWORK:
            inside = ""
        empty = {"component": component, "inside": inside, "forward": 0.0, "backward": 0.0, "update": 0.0}
        row = rows.setdefault((inside, component), empty)
        row[direction] += spent
    return sorted(rows.values(), key=lambda row: -(row["forward"] + row["backward"] + row["update"]))
