"""The probe that is called at each Site: it records the value there, and perturbs or replaces it."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

OUTPUT = "<output>"  # the site of the output of forward, if no name is bound to it


@dataclass(frozen=True)
class Event:
    """One call of the probe at a Site. `nth` counts the calls there from 0.

    `value` is a copy of the value, and `live` the value itself. `left` is the result of the recording's witness at that
    time, or None.
    """

    site: int
    nth: int
    value: object
    live: object
    left: object = None

    @property
    def key(self):
        """Return the pair (site, nth), which identifies the Event in every run."""
        return self.site, self.nth

    @property
    def is_untouched(self):
        """Return True if the value has not been modified since it was recorded."""
        return not isinstance(self.live, np.ndarray) or np.array_equal(self.value, self.live, equal_nan=True)


class Probe:
    """A function probe(site, value). It returns the value; in a `with probe.running(...)` block, its replacement."""

    def __init__(self):
        self.changes, self.events, self.counts, self.witness = {}, None, {}, None
        self.moved = set()  # sites of the parts that are recorded; None for all

    def __call__(self, site, value):
        """Record a value, and return it or its replacement."""
        nth = self.counts[site] = self.counts.get(site, -1) + 1
        if self.events is not None:
            copy = value.copy() if isinstance(value, np.ndarray) else value
            self.events.append(Event(site, nth, copy, value, self.witness and self.witness()))
        change = self.changes.get((site, nth))
        return value if change is None else change(value)

    def part(self, site, value):
        """Record and return the value of a part of an expression in the same way, if `running` includes the part."""
        return self(site, value) if self.moved is None or site in self.moved else value

    @contextmanager
    def running(self, changes, witness=None, with_parts=False, is_recorded=True):
        """Apply changes, {key: function of the value}, within the `with` block, and yield a list of its Events.

        Parts of expressions are recorded only if they are changed, or if `with_parts` is True. `witness()` is called at
        each Event, and its result is stored in `left`.
        """
        before = vars(self).copy()
        self.changes, self.events, self.counts, self.witness = changes, [] if is_recorded else None, {}, witness
        self.moved = None if with_parts else {site for site, _ in changes}
        try:
            yield self.events
        finally:
            vars(self).update(before)


def is_real_array(value):
    """Return True for a floating-point array or number."""
    return isinstance(value, (np.ndarray, np.floating, float)) and np.asarray(value).dtype.kind == "f"


def close(a, b, resolution, floor=0.0):
    """Return True if two real arrays are equal up to `resolution` times the largest entry, plus `floor`."""
    if np.iscomplexobj(a) or np.iscomplexobj(b):
        return False
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    size = max(np.max(np.abs(a), initial=0.0), np.max(np.abs(b), initial=0.0))
    return bool(np.max(np.abs(a - b), initial=0.0) <= resolution * size + floor)
