"""The probe that is called after each assignment: it records the value of a name, and perturbs or replaces it."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Event:
    """One call of the probe of a Site, the `nth` from 0.

    `value` is a copy of the value, and `live` the value itself. `left` is the result of the recording's witness at that
    time.
    """

    site: int
    nth: int
    value: object
    live: object
    left: object = None

    @property
    def key(self):
        """Return the identity of the Event: its Site and its count."""
        return self.site, self.nth

    @property
    def is_untouched(self):
        """Return True if the value has not been modified since."""
        return not isinstance(self.live, np.ndarray) or np.array_equal(self.live, self.value, equal_nan=True)


class Probe:
    """A function probe(site, value) that returns the value, or its replacement.

    `changes` is {(site, nth): function of the value}.
    """

    def __init__(self):
        self.changes = {}
        self.events = None
        self.counts = {}
        self.witness = None
        self.at_part = None

    def __call__(self, site, value):
        """Record a value, and return it or its replacement."""
        nth = self.counts[site] = self.counts.get(site, -1) + 1
        if self.events is not None:
            copy = value.copy() if isinstance(value, np.ndarray) else value
            self.events.append(Event(site, nth, copy, value, self.witness()))
        change = self.changes.get((site, nth))
        return value if change is None else change(value)

    def part(self, number, value):
        """Return the value of a part of the forward pass, or its replacement.

        Replacements are active within `moving`.
        """
        return value if self.at_part is None else self.at_part(number, value)

    @contextmanager
    def moving(self, at_part):
        """Pass each part through at_part(number, value) within the `with` block."""
        self.at_part = at_part
        try:
            yield
        finally:
            self.at_part = None

    @contextmanager
    def recording(self, changes, witness=lambda: None):
        """Yield a list that collects the Events of the `with` block.

        The changes apply within the block.
        """
        before = self.changes, self.events, self.counts
        self.changes, self.events, self.counts, self.witness = changes, [], {}, witness
        try:
            yield self.events
        finally:
            self.changes, self.events, self.counts = before

    @contextmanager
    def changing(self, changes):
        """Apply these changes within the `with` block."""
        before = self.changes, self.events, self.counts
        self.changes, self.events, self.counts = changes, None, {}
        try:
            yield
        finally:
            self.changes, self.events, self.counts = before


def is_real_array(value):
    """Return True for a floating-point array or number."""
    return isinstance(value, (np.ndarray, np.floating, float)) and np.asarray(value).dtype.kind == "f"


def close(a, b, resolution, floor=0.0):
    """Return True if two real arrays are equal up to a tolerance.

    The tolerance is `resolution` times the largest entry, plus `floor`.
    """
    if np.iscomplexobj(a) or np.iscomplexobj(b):
        return False
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    size = max(np.max(np.abs(a), initial=0.0), np.max(np.abs(b), initial=0.0))
    return bool(np.max(np.abs(a - b), initial=0.0) <= resolution * size + floor)
