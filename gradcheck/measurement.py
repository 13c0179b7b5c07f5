"""What a check measures: each gradient beside what the oracles say of it. Nothing is judged here.

Central differences (central_differences.py) ask nothing of the forward pass but float64, and say something of each
entry by itself; the adjoint identity (adjoint_identity.py) knows a thousand times more, of all entries together, where
the forward pass is complex-safe. Whether it is, no oracle can say of itself: |z|² differentiates to something else
without a word. So the two vouch for each other, along the identity's direction too where the entries are a sample.
"""

from dataclasses import dataclass, replace

import numpy as np

from gradcheck.adjoint_identity import Sides, sides
from gradcheck.central_differences import Estimate, estimate, line_along, line_along_entry, scales_of, step_of
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
    each, and how far that may be from the truth. `sides` are those of the adjoint identity, None where it was not asked
    or does not apply; `along` is central differences' Estimate of the same derivative, where the entries are a sample.
    """

    argument: Argument
    gradient: np.ndarray
    missing: bool
    entries: np.ndarray
    numeric: np.ndarray
    uncertainty: np.ndarray
    sides: Sides | None = None
    along: Estimate | None = None

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


def by_central_differences(run, i, terms, rng):
    """Return the Measurement of argument i of a Run entry by entry; of no entry, if that was not asked for."""
    argument = run.arguments[i]
    array, scales = argument.array, scales_of(argument.array)
    entries = choose(array.size, terms.max_entries if "central" in terms.oracles else 0, rng)
    numeric, uncertainty = np.empty((2, len(entries)))
    for k, entry in enumerate(entries):
        index = np.unravel_index(entry, array.shape)
        here = estimate(line_along_entry(run.call, array, index), run.y, run.dy, step_of(float(scales[index])))
        numeric[k], uncertainty[k] = here.value, here.uncertainty
    return Measurement(argument, run.gradients[i], run.missing[i], entries, numeric, uncertainty)


def by_the_identity(run, step, i, measurement, terms, rng):
    """Return the Measurement with the two sides of the adjoint identity. Raises NotComplexSafe if that shows."""
    if "adjoint" not in terms.oracles or not measurement.gradient.size:
        return measurement
    both, along = sides(run, step, i, rng), None
    if "central" in terms.oracles and not measurement.is_complete:
        line = line_along(run.call, measurement.argument.array, both.v)
        along = estimate(line, run.y, run.dy, step_of(1.0))
    return replace(measurement, sides=both, along=along)


def choose(size, most, rng):
    """Return which of so many entries to compare: all of them, or as many as `most`, chosen at random."""
    return np.arange(size) if size <= most else np.sort(rng.choice(size, most, replace=False))
