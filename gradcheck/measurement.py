"""Compare each gradient with the oracles. The measurements are judged in judgement.py.

Central differences (central_differences.py) need only a float64 forward pass and give the error of each entry. The
adjoint identity (adjoint_identity.py) is a thousand times more precise and covers all entries together, but needs a
complex-safe forward pass. The complex step cannot detect that a forward pass is not complex-safe: |z|², for example,
silently gives another derivative. Therefore the two oracles are compared with each other. If the entries are a sample,
they are also compared along the direction of the identity.
"""

from dataclasses import dataclass, replace

import numpy as np

from gradcheck.adjoint_identity import Sides, sides
from gradcheck.central_differences import Estimate, estimate, line_along, line_along_entry, scales_of, step_of
from gradcheck.contract import Argument

ORACLES = ("central", "complex", "adjoint")
SAMPLE = 200  # entries of a large argument; they validate the complex step, which then covers all entries together


@dataclass(frozen=True)
class Terms:
    """The settings of a check.

    If `strict`, a gradient must also be right to rtol of its norm, however small it is.
    """

    rtol: float
    atol: float
    strict: bool
    max_entries: int
    oracles: tuple

    def tolerance(self, numeric):
        """Return the largest allowed error of each entry, given the oracle's values."""
        return self.atol + self.rtol * np.abs(numeric)


@dataclass(frozen=True)
class Measurement:
    """One gradient and the values of the oracles.

    `entries` are sorted indices into the flat array. For each of them, `analytic` is backward's value, `numeric` and
    `uncertainty` are the value of central differences and its estimated error, and `scales` are the scales of the
    steps. `sides` are those of the adjoint identity, or None if it was not selected or does not apply. If the entries
    are a sample, `along` is the Estimate of the same derivative by central differences.
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
        """Return True if every entry of the argument was compared."""
        return len(self.entries) == self.argument.array.size


def by_central_differences(run, i, terms, rng):
    """Compare the gradient of argument i of a Run with central differences.

    Returns a Measurement. It has no entries if central differences were not selected.
    """
    measurement = nothing_known(run, i, terms.max_entries if "central" in terms.oracles else 0, rng)
    array = measurement.argument.array
    numeric, uncertainty = np.empty((2, len(measurement.entries)))
    for k, (entry, scale) in enumerate(zip(measurement.entries, measurement.scales.tolist(), strict=True)):
        line = line_along_entry(run.call, array, np.unravel_index(entry, array.shape))
        here = estimate(line, run.y, run.dy, step_of(scale))
        numeric[k], uncertainty[k] = here.value, here.uncertainty
    return replace(measurement, numeric=numeric, uncertainty=uncertainty)


def nothing_known(run, i, most, rng):
    """Return a Measurement of argument i without values of the oracles.

    Its entries are all entries of the argument, or a sample if there are more than `most`.
    """
    array, gradient = run.arguments[i].array, run.gradients[i]
    size = array.size
    entries = np.arange(size) if size <= most else np.sort(rng.choice(size, min(most, SAMPLE), replace=False))
    analytic, scales = gradient.ravel()[entries], scales_of(array).ravel()[entries]
    numeric, uncertainty = np.full(len(entries), np.nan), np.full(len(entries), np.inf)
    return Measurement(run.arguments[i], gradient, run.missing[i], entries, analytic, scales, numeric, uncertainty)


def by_the_identity(run, step, i, measurement, terms, rng):
    """Add both sides of the adjoint identity to a Measurement. Raises NotComplexSafe."""
    if "adjoint" not in terms.oracles or not measurement.gradient.size:
        return measurement
    both, along = sides(run, step, i, rng), None
    if "central" in terms.oracles and not measurement.is_complete:
        line = line_along(run.call, measurement.argument.array, both.v)
        along = estimate(line, run.y, run.dy, step_of(1.0))
    return replace(measurement, sides=both, along=along)
