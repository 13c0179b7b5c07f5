"""What a check measures: each gradient beside what the oracles say of it. Nothing is judged here.

Central differences (central_differences.py) ask nothing of the forward pass but float64 and say something of each
entry by itself; the adjoint identity (adjoint_identity.py) knows a thousand times more, of all entries together, where
the forward pass is complex-safe. Whether it is, no oracle can say of itself: |z|² differentiates to something else
without a word. So the two vouch for each other.
"""

from dataclasses import dataclass

import numpy as np

from gradcheck.adjoint_identity import Sides, sides
from gradcheck.central_differences import estimate, line_along_entry, scales_of, step_of
from gradcheck.contract import Argument

ORACLES = ("central", "complex", "adjoint")


@dataclass(frozen=True)
class Terms:
    """What was asked of a check. `strict`: a gradient must be right to rtol of its norm too, however small it is."""

    rtol: float
    atol: float
    strict: bool
    max_entries: int
    oracles: tuple

    def tolerance(self, numeric):
        """Return how far from the oracle's value each entry may be."""
        return self.atol + self.rtol * np.abs(numeric)


@dataclass(frozen=True)
class Measurement:
    """One gradient, and what the oracles say of it.

    `entries` are indices into the flat array, in order; `numeric` and `uncertainty` what central differences give for
    each, and how far that may be from the truth. `sides` are those of the adjoint identity, None where it does not
    apply.
    """

    argument: Argument
    gradient: np.ndarray
    missing: bool
    sides: Sides | None
    entries: np.ndarray
    numeric: np.ndarray
    uncertainty: np.ndarray

    @property
    def analytic(self):
        """Backward's values at the compared entries."""
        return self.gradient.ravel()[self.entries]

    @property
    def scales(self):
        """The scale of each compared entry."""
        return scales_of(self.argument.array).ravel()[self.entries]

    @property
    def is_complete(self):
        """Whether every entry of the argument was compared."""
        return len(self.entries) == self.argument.array.size


def measure(run, step, terms, rng):
    """Return a Measurement of each gradient of a Run: by the identity first, and then entry by entry.

    `step` is the ComplexStep, or None where it does not apply. Raises NotComplexSafe if that shows.
    """
    is_asked = step is not None and "adjoint" in terms.oracles
    both = [sides(run, step, i, rng) if is_asked and a.array.size else None for i, a in enumerate(run.arguments)]
    return [
        Measurement(a, run.gradients[i], run.missing[i], both[i], *_by_central_differences(run, a, terms, rng))
        for i, a in enumerate(run.arguments)
    ]


def _by_central_differences(run, argument, terms, rng):
    """Return (entries, numeric, uncertainty) of one argument."""
    array = argument.array
    entries = choose(array.size, terms.max_entries, rng) if "central" in terms.oracles else np.arange(0)
    scales = scales_of(array)
    numeric, uncertainty = np.empty((2, len(entries)))
    for k, entry in enumerate(entries):
        index = np.unravel_index(entry, array.shape)
        here = estimate(line_along_entry(run.call, array, index), run.y, run.dy, step_of(float(scales[index])))
        numeric[k], uncertainty[k] = here.value, here.uncertainty
    return entries, numeric, uncertainty


def choose(size, most, rng):
    """Return which of so many entries to compare: all of them, or as many as `most`, chosen at random."""
    return np.arange(size) if size <= most else np.sort(rng.choice(size, most, replace=False))
