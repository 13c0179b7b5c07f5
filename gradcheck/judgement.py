"""Judge a gradient by its measurements. Most gradients need no further examination.

A gradient is right if all measurements agree with it. Each entry must agree with central differences, whose own
uncertainty must be small. The error of all entries together must be at most rtol of the norm, because entries that are
each within atol may have a large relative error if all of them are small. The adjoint identity must hold. If the
identity does not apply, the uncertainty of central differences must be at most rtol of the norm.

A gradient that is not confirmed is not necessarily wrong: it may be at a kink, or beyond the precision of a first
estimate. gradcheck/refine examines it further.
"""

import copy
import numbers
from dataclasses import dataclass, replace

import numpy as np

from gradcheck.adjoint_identity import Sides
from gradcheck.central_differences import Estimate, scales_of
from gradcheck.contract import Argument

ORACLES = ("central", "complex", "adjoint")
RIGHT, WRONG, KINK, CANNOT_TELL = "right", "wrong", "at a kink", "cannot tell"
SAMPLE = 200  # entries of a large argument; they validate the complex step, which then checks all entries together


class Terms:
    """The settings of a check, validated.

    `oracles` is a tuple of the selected oracles. `strict` is True if the caller has not set atol; a gradient must then
    also be right to rtol of its norm, however small it is.
    """

    def __init__(self, rtol=1e-6, atol=None, seed=0, max_entries=2000, oracles=None):
        self.strict, atol = atol is None, 1e-8 if atol is None else atol
        for name, value in (("rtol", rtol), ("atol", atol)):
            if not isinstance(value, numbers.Real):
                raise TypeError(f"{name} must be a number, not {value!r}")
        if not (rtol >= 0 and atol >= 0):
            raise ValueError(f"rtol and atol must not be negative, not {rtol} and {atol}")
        if not isinstance(max_entries, numbers.Integral) or isinstance(max_entries, bool):
            raise TypeError(f"max_entries must be a whole number, not {max_entries!r}")
        if max_entries < 1:
            raise ValueError(f"max_entries must be at least 1, not {max_entries}")
        is_whole = isinstance(seed, numbers.Integral) and not isinstance(seed, bool)
        if not is_whole or seed < 0:
            kind = ValueError if is_whole else TypeError
            raise kind(f"seed must be a whole number of at least 0, not {seed!r}")
        if oracles is not None and not isinstance(oracles, (str, tuple, list, set)):
            raise TypeError(f"oracles must be a name or a list of names, such as {ORACLES[0]!r}, not {oracles!r}")
        named = ORACLES if oracles is None else (oracles,) if isinstance(oracles, str) else oracles
        unknown = [name for name in named if name not in ORACLES]
        if unknown or not named:
            found = ", ".join(map(repr, unknown)) or "an empty list"
            raise ValueError(f"oracles must be among {', '.join(ORACLES)}, not {found}")
        self.rtol, self.atol, self.seed, self.max_entries = rtol, atol, seed, max_entries
        self.oracles = tuple(name for name in ORACLES if name in named)

    def with_central_differences_alone(self):
        other = copy.copy(self)
        other.oracles = ("central",)
        return other

    def tolerance(self, numeric):
        """Return the largest allowed error of each entry, given the oracle's values."""
        return self.atol + self.rtol * np.abs(numeric)


@dataclass(frozen=True)
class Direction:
    """The derivatives along a random direction v through a whole argument, and the verdict.

    `analytic` is backward's value, and `numeric` is that of the oracle. `limit` is rtol ‖dx v‖, the largest allowed
    error of the derivative along v.
    """

    analytic: float
    numeric: float
    oracle: str = "central differences"
    verdict: str = RIGHT
    uncertainty: float = 0.0
    limit: float = 0.0


@dataclass(frozen=True)
class Finding:
    """One gradient, the values of the oracles, and the verdicts.

    `entries` are sorted indices into the flat array. For each of them, `analytic` is backward's value, `numeric` and
    `uncertainty` are the value of central differences and its estimated error, and `scales` are the scales of the
    steps. `sides` are those of the adjoint identity, or None if it was not selected or does not apply. If the entries
    are a sample, `along` is the Estimate of the same derivative by central differences.

    `verdicts` has a verdict for each entry, and is None before the gradient is judged. `exact` holds the complex step's
    values, or None. `doubt` says why the gradient as a whole cannot be called right although no entry is wrong, and is
    otherwise empty. `zero_to` is the bound of a gradient that is zero up to rounding, or None. `together` is None
    unless entries at a kink are right one by one, but wrong if they change together. It is then the pair (backward's,
    true) of derivatives along the direction in which they change together.
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
    verdicts: np.ndarray | None = None
    exact: np.ndarray | None = None
    direction: Direction | None = None
    doubt: str = ""
    zero_to: float | None = None
    together: tuple | None = None

    @property
    def is_complete(self):
        """Return True if every entry of the argument was compared."""
        return len(self.entries) == self.argument.array.size

    @property
    def truth(self):
        """Return the most accurate value of each compared entry."""
        return self.numeric if self.exact is None else self.exact

    @property
    def direction_verdict(self):
        return RIGHT if self.direction is None else self.direction.verdict

    @property
    def is_wrong(self):
        """Return True if the direction or an entry is judged wrong."""
        return WRONG in (self.direction_verdict, *self.verdicts)


def nothing_known(run, i, most, rng):
    """Return a Finding about argument i that has no values of the oracles yet.

    Its entries are all entries of the argument, or a sample if there are more than `most`.
    """
    array, gradient = run.arguments[i].array, run.gradients[i]
    size = array.size
    entries = np.arange(size) if size <= most else np.sort(rng.choice(size, min(most, SAMPLE), replace=False))
    analytic, scales = gradient.ravel()[entries], scales_of(array).ravel()[entries]
    numeric, uncertainty = np.full(len(entries), np.nan), np.full(len(entries), np.inf)
    return Finding(run.arguments[i], gradient, run.missing[i], entries, analytic, scales, numeric, uncertainty)


def first_look(finding, run, terms):
    """Return the Finding that the gradient is right, or None if the measurements do not confirm it."""
    m, gap = finding, np.abs(finding.analytic - finding.numeric)
    if not is_sure(m, terms).all():
        return None
    if terms.strict and norm(beyond_uncertainty(m, run)) > terms.rtol * norm(m.numeric):
        return None
    if m.sides is None:
        is_enough = terms.oracles == ("central",) or not m.gradient.size
        return unexamined(m) if is_enough and _is_known_as_a_whole(m, gap, terms) else None
    if not m.sides.agree or (m.along is not None and not m.along.allows(m.sides.exact)):
        return None
    return unexamined(m, None if m.is_complete else Direction(m.sides.analytic, m.sides.exact, "the complex step"))


def is_sure(finding, terms):
    """Return a boolean array, True for each entry that precise central differences confirm."""
    tolerance = terms.tolerance(finding.numeric)
    gap = np.abs(finding.analytic - finding.numeric)
    return (gap <= tolerance) & (finding.uncertainty <= tolerance)


def beyond_uncertainty(finding, run):
    """Return the part of each entry's error that uncertainty and rounding do not explain.

    If the true gradient is zero, both backward's gradient and the central differences consist of rounding errors, which
    do not count.
    """
    gap = np.abs(finding.analytic - finding.numeric)
    return np.maximum(gap - 10 * finding.uncertainty - run.rounding / finding.scales, 0.0)


def _is_known_as_a_whole(m, gap, terms):
    """Return True if central differences confirm the gradient to rtol of its norm."""
    if not m.is_complete:
        return False
    if not terms.strict or not (m.gradient.any() or m.numeric.any()):  # both are exactly zero
        return True
    return max(norm(gap), norm(m.uncertainty)) <= terms.rtol * norm(m.numeric)


def unexamined(finding, direction=None):
    """Return a copy of a Finding in which every entry is judged right."""
    verdicts = np.full(len(finding.entries), RIGHT, dtype=object)
    return replace(finding, verdicts=verdicts, direction=direction)


def norm(values):
    """Return ‖values‖. It is right even if the squares of the values underflow."""
    size = np.max(np.abs(values), initial=0.0)
    return float(size * np.linalg.norm(values / size)) if 0 < size < np.inf else float(size)
