"""Judge a gradient by its measurements. Most gradients need no further examination.

A gradient is right if all measurements agree with it. Each entry must agree with central differences, whose own
uncertainty must be small. The error of all entries together must be at most rtol of the norm, because entries that are
each within atol may have a large relative error if all of them are small. The adjoint identity must hold. If the
identity does not apply, the uncertainty of central differences must be at most rtol of the norm.

A gradient that is not confirmed is not necessarily wrong: it may be at a kink, or beyond the precision of a first
estimate. gradcheck/refine examines it further.
"""

from dataclasses import dataclass

import numpy as np

from gradcheck.measurement import Measurement

RIGHT, WRONG, KINK, CANNOT_TELL = "right", "wrong", "at a kink", "cannot tell"


@dataclass(frozen=True)
class Direction:
    """The result along a random direction v through a whole argument.

    `limit` is rtol ‖dx v‖, the largest allowed error of the derivative along v.
    """

    analytic: float
    numeric: float
    oracle: str = "central differences"
    verdict: str = RIGHT
    uncertainty: float = 0.0
    limit: float = 0.0


@dataclass(frozen=True)
class Finding(Measurement):
    """A Measurement with a verdict on each compared entry and on the whole gradient.

    `exact` holds the complex step's values for the entries, or None. `doubt` says why the gradient as a whole cannot be
    called right although no entry is wrong, and is otherwise empty. `zero_to` is the bound of a gradient that is zero
    up to rounding, or None. `together` is the pair (backward's, the true) derivative along the direction in which
    entries at a kink move together, if only this one disagrees.
    """

    verdicts: np.ndarray | None = None
    exact: np.ndarray | None = None
    direction: Direction | None = None
    doubt: str = ""
    zero_to: float | None = None
    together: tuple | None = None

    @property
    def truth(self):
        """Return the most accurate value of each compared entry."""
        return self.numeric if self.exact is None else self.exact

    @property
    def direction_verdict(self):
        """Return the verdict on the direction, RIGHT if there is none."""
        return RIGHT if self.direction is None else self.direction.verdict

    @property
    def is_wrong(self):
        """Return True if a comparison disagrees. Undecided ones do not count."""
        return WRONG in (self.direction_verdict, *self.verdicts)


def norm(values):
    """Return ‖values‖, also if the squares would underflow."""
    size = np.max(np.abs(values), initial=0.0)
    return float(size * np.linalg.norm(values / size)) if 0 < size < np.inf else float(size)


def first_look(measurement, run, terms):
    """Return the Finding on a gradient, or None if the measurements do not confirm it."""
    m, gap = measurement, np.abs(measurement.analytic - measurement.numeric)
    if not is_sure(m, terms).all():
        return None
    if terms.strict:
        beyond = beyond_uncertainty(m, run)
        if norm(beyond) > terms.rtol * norm(m.numeric):
            return None
    if m.sides is None:
        is_enough = terms.oracles == ("central",) or not m.gradient.size
        return unexamined(m) if is_enough and _is_known_as_a_whole(m, gap, terms) else None
    if not m.sides.agree or (m.along is not None and not m.along.allows(m.sides.exact)):
        return None
    return unexamined(m, None if m.is_complete else Direction(m.sides.analytic, m.sides.exact, "the complex step"))


def is_sure(measurement, terms):
    """Return for each entry whether precise central differences confirm it."""
    tolerance = terms.tolerance(measurement.numeric)
    gap = np.abs(measurement.analytic - measurement.numeric)
    return (gap <= tolerance) & (measurement.uncertainty <= tolerance)


def beyond_uncertainty(measurement, run):
    """Return the error of each entry that uncertainty and rounding do not explain.

    If the true gradient is zero, both the gradient and its central differences are noise.
    """
    gap = np.abs(measurement.analytic - measurement.numeric)
    return np.maximum(gap - 10 * measurement.uncertainty - run.rounding / measurement.scales, 0.0)


def _is_known_as_a_whole(m, gap, terms):
    """Return True if central differences confirm the gradient to rtol of its norm."""
    if not m.is_complete:
        return False
    if not terms.strict or not (m.gradient.any() or m.numeric.any()):  # both are exactly zero
        return True
    limit = terms.rtol * norm(m.numeric)
    return max(norm(gap), norm(m.uncertainty)) <= limit


def unexamined(measurement, direction=None):
    """Return the Finding that every entry is right."""
    verdicts = np.full(len(measurement.entries), RIGHT, dtype=object)
    return Finding(**vars(measurement), verdicts=verdicts, direction=direction)
