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
SAMPLE = 200  # entries of a large argument: they vouch for the complex step, which then speaks of all of them together


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

    `entries` are indices into the flat array, in order; `analytic` is backward's value for each, and `numeric` and
    `uncertainty` what central differences give, and how far that may be from the truth; `scales` are theirs. `sides`
    are those of the adjoint identity, None where it was not asked or does not apply; `along` is central differences'
    Estimate of the same derivative, where the entries are a sample.
    """

    argument: Argument
    gradient: np.ndarray
    missing: bool
    entries: np.ndarray
    analytic: np.ndarray
    scales: np.ndarray
    numeric: np.ndarray
    uncertainty: np.ndarray
    sides: Sides | None = None
    along: Estimate | None = None

    @property
    def is_complete(self):
        """Whether every entry of the argument was compared."""
        return len(self.entries) == self.argument.array.size


def by_central_differences(run, i, terms, rng):
    """Return the Measurement of argument i of a Run entry by entry; of no entry, if that was not asked for."""
    measurement = nothing_known(run, i, terms.max_entries if "central" in terms.oracles else 0, rng)
    array = measurement.argument.array
    numeric, uncertainty = np.empty((2, len(measurement.entries)))
    for k, (entry, scale) in enumerate(zip(measurement.entries, measurement.scales.tolist(), strict=True)):
        line = line_along_entry(run.call, array, np.unravel_index(entry, array.shape))
        here = estimate(line, run.y, run.dy, step_of(scale))
        numeric[k], uncertainty[k] = here.value, here.uncertainty
    return replace(measurement, numeric=numeric, uncertainty=uncertainty)


def nothing_known(run, i, most, rng):
    """Return a Measurement of all entries of argument i if they are at most `most`, or of a sample, none known yet."""
    array, gradient = run.arguments[i].array, run.gradients[i]
    size = array.size
    entries = np.arange(size) if size <= most else np.sort(rng.choice(size, min(most, SAMPLE), replace=False))
    analytic, scales = gradient.ravel()[entries], scales_of(array).ravel()[entries]
    numeric, uncertainty = np.full(len(entries), np.nan), np.full(len(entries), np.inf)
    return Measurement(run.arguments[i], gradient, run.missing[i], entries, analytic, scales, numeric, uncertainty)


def by_the_identity(run, step, i, measurement, terms, rng):
    """Return the Measurement with the two sides of the adjoint identity. Raises NotComplexSafe if that shows."""
    if "adjoint" not in terms.oracles or not measurement.gradient.size:
        return measurement
    both, along = sides(run, step, i, rng), None
    if "central" in terms.oracles and not measurement.is_complete:
        line = line_along(run.call, measurement.argument.array, both.v)
        along = estimate(line, run.y, run.dy, step_of(1.0))
    return replace(measurement, sides=both, along=along)
