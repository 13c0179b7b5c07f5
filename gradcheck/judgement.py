"""What is to be said of a gradient, by a first look at what was measured of it; mostly it is the only one.

A gradient is right if all that was measured agrees with it: each entry with central differences, which must themselves
be sure of it; all together with them, to rtol of the norm, since entries that are each right to atol may be quite wrong
together if all of them are small; and the adjoint identity. Where that does not apply, central differences must also
know the gradient to rtol of its norm.

What is not found right is not therefore wrong: it may be at a kink, or beyond what a first estimate can tell. It is
looked at more closely (gradcheck/closer).
"""

from dataclasses import dataclass

import numpy as np

from gradcheck.measurement import Measurement

RIGHT, WRONG, KINK, CANNOT_TELL = "right", "wrong", "at a kink", "cannot tell"


@dataclass(frozen=True)
class Direction:
    """What was found along a random direction through a whole argument.

    `limit` is rtol ‖dx v‖, what of the derivative along v may be wrong.
    """

    analytic: float
    numeric: float
    oracle: str = "central differences"
    verdict: str = RIGHT
    uncertainty: float = 0.0
    limit: float = 0.0


@dataclass(frozen=True)
class Finding(Measurement):
    """A Measurement with what is to be said of it: a verdict on each compared entry, and on the whole.

    `exact` are the complex step's values for the entries, None where it was not asked. `doubt` says why the gradient as
    a whole cannot be called right although no entry is wrong, if that is so. `zero_to` is what it is known to be zero
    to, where that is all that there is to know. `together` are backward's and the true derivative as entries at a kink
    are moved together, where that alone is wrong.
    """

    verdicts: np.ndarray | None = None
    exact: np.ndarray | None = None
    direction: Direction | None = None
    doubt: str = ""
    zero_to: float | None = None
    together: tuple | None = None

    @property
    def truth(self):
        """The best value known for each compared entry."""
        return self.numeric if self.exact is None else self.exact

    @property
    def direction_verdict(self):
        """The verdict on the direction, right where none was tried."""
        return RIGHT if self.direction is None else self.direction.verdict

    @property
    def is_wrong(self):
        """Whether something that was compared disagrees; what cannot be told does not."""
        return WRONG in (self.direction_verdict, *self.verdicts)


def norm(values):
    """Return ‖values‖, also where the squares would underflow."""
    size = np.max(np.abs(values), initial=0.0)
    return float(size * np.linalg.norm(values / size)) if 0 < size < np.inf else float(size)


def first_look(measurement, run, terms):
    """Return the Finding on a gradient that is right, or None where what was measured does not show it."""
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
    """Return of each compared entry whether central differences agree with it and are sure of it."""
    tolerance = terms.tolerance(measurement.numeric)
    gap = np.abs(measurement.analytic - measurement.numeric)
    return (gap <= tolerance) & (measurement.uncertainty <= tolerance)


def beyond_uncertainty(measurement, run):
    """Return by how much each entry differs from central differences by more than these, or rounding, explain.

    A gradient that is truly zero is noise, and so is what central differences find of it.
    """
    gap = np.abs(measurement.analytic - measurement.numeric)
    return np.maximum(gap - 10 * measurement.uncertainty - run.rounding / measurement.scales, 0.0)


def _is_known_as_a_whole(m, gap, terms):
    """Whether central differences alone know the gradient to rtol of its norm, if that is what was asked for."""
    if not m.is_complete:
        return False
    if not terms.strict or not (m.gradient.any() or m.numeric.any()):  # nothing has moved, and backward says so
        return True
    limit = terms.rtol * norm(m.numeric)
    return max(norm(gap), norm(m.uncertainty)) <= limit


def unexamined(measurement, direction=None):
    """Return the Finding on a gradient with nothing against it."""
    verdicts = np.full(len(measurement.entries), RIGHT, dtype=object)
    return Finding(**vars(measurement), verdicts=verdicts, direction=direction)
