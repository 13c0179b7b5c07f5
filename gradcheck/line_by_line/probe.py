"""What runs behind each assignment: it writes down what a name holds, and moves or replaces it where it is told to."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Event:
    """One time that a Site was reached, the `nth` from 0: `value` is a copy, `live` what the name held.

    `left` is what the witness of the recording saw then.
    """

    site: int
    nth: int
    value: object
    live: object
    left: object = None

    @property
    def key(self):
        """What tells it from others."""
        return self.site, self.nth

    @property
    def is_untouched(self):
        """Whether nobody has written into what the name holds since."""
        return not isinstance(self.live, np.ndarray) or np.array_equal(self.live, self.value, equal_nan=True)


class Probe:
    """Called as probe(site, value) by the functions under it; returns the value, or what `changes` makes of it.

    `changes` is {(site, nth): function of the value}.
    """

    def __init__(self):
        self.changes = {}
        self.events = None
        self.counts = {}
        self.witness = None
        self.at_part = None

    def __call__(self, site, value):
        """Note a value and return what takes its place."""
        nth = self.counts[site] = self.counts.get(site, -1) + 1
        if self.events is not None:
            copy = value.copy() if isinstance(value, np.ndarray) else value
            self.events.append(Event(site, nth, copy, value, self.witness()))
        change = self.changes.get((site, nth))
        return value if change is None else change(value)

    def part(self, number, value):
        """Return the value of a part of the forward pass, or its replacement while `moving` applies."""
        return value if self.at_part is None else self.at_part(number, value)

    @contextmanager
    def moving(self, at_part):
        """Let at_part(number, value) see and replace the value of each part in the `with` block."""
        self.at_part = at_part
        try:
            yield
        finally:
            self.at_part = None

    @contextmanager
    def recording(self, changes, witness=lambda: None):
        """Yield a list that collects the Events of the `with` block, in which these changes apply."""
        before = self.changes, self.events, self.counts
        self.changes, self.events, self.counts, self.witness = changes, [], {}, witness
        try:
            yield self.events
        finally:
            self.changes, self.events, self.counts = before

    @contextmanager
    def changing(self, changes):
        """Let these changes apply in the `with` block."""
        before = self.changes, self.events, self.counts
        self.changes, self.events, self.counts = changes, None, {}
        try:
            yield
        finally:
            self.changes, self.events, self.counts = before


def is_real_array(value):
    """Whether a value is an array of floating-point numbers, or such a number."""
    return isinstance(value, (np.ndarray, np.floating, float)) and np.asarray(value).dtype.kind == "f"


def close(a, b, resolution, floor=0.0):
    """Whether two real arrays are equal to a resolution, relative to the largest entry, or to a floor."""
    if np.iscomplexobj(a) or np.iscomplexobj(b):
        return False
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    size = max(np.max(np.abs(a), initial=0.0), np.max(np.abs(b), initial=0.0))
    return bool(np.max(np.abs(a - b), initial=0.0) <= resolution * size + floor)
