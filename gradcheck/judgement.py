"""What is to be said of a gradient, and the first and mostly the only look at what was measured of it.

A gradient is confirmed if all that was measured agrees with it: each entry with central differences, which must
themselves be sure of it; and all together by the adjoint identity. Where that does not apply, central differences have
to know the gradient to rtol of its norm: entries that are each right to atol may be quite wrong together if all of them
are small.

What is not confirmed is not therefore wrong: it may be at a kink, or beyond what a first estimate can tell. It is
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
    a whole cannot be called right although no entry is wrong, if that is so.
    """

    verdicts: np.ndarray
    exact: np.ndarray | None = None
    direction: Direction | None = None
    doubt: str = ""

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


def first_look(measurement, terms):
    """Return the Finding on a gradient that is right, or None where what was measured does not confirm it."""
    m = measurement
    tolerance = terms.tolerance(m.numeric)
    gap = np.abs(m.analytic - m.numeric)
    if not np.all((gap <= tolerance) & (m.uncertainty <= tolerance)):
        return None
    if m.sides is None:
        is_enough = terms.oracles == ("central",) or not m.gradient.size
        return _right(m) if is_enough and _is_known_as_a_whole(m, gap, terms) else None
    direction = None if m.is_complete else Direction(m.sides.analytic, m.sides.exact, "the complex step")
    return _right(m, direction) if m.sides.agree else None


def _is_known_as_a_whole(m, gap, terms):
    """Whether central differences alone know the gradient to rtol of its norm, if that is what was asked for."""
    if not m.is_complete:
        return False
    if not terms.strict or not (m.gradient.any() or m.numeric.any()):  # nothing has moved, and backward says so
        return True
    limit = terms.rtol * np.linalg.norm(m.numeric)
    return max(np.linalg.norm(gap), np.linalg.norm(m.uncertainty)) <= limit


def _right(measurement, direction=None):
    verdicts = np.full(len(measurement.entries), RIGHT, dtype=object)
    return Finding(**vars(measurement), verdicts=verdicts, direction=direction)


def unexamined(run, i):
    """Return the Finding on a gradient that was looked at only together with all others, with nothing against it."""
    nothing = np.empty(0)
    return _right(Measurement(run.arguments[i], run.gradients[i], run.missing[i], None, np.arange(0), nothing, nothing))
