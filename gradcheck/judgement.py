"""Judge a gradient by its measurements.

A gradient is right if all measurements agree with it. Each entry must agree with central differences, whose uncertainty
must be small. The error of all entries together must be at most rtol of the norm, because entries that are each within
atol may have a large relative error if all of them are small. The adjoint identity must hold. If the identity does not
apply, the uncertainty of central differences must be at most rtol of the norm.

Most gradients are confirmed here. All others are examined further by gradcheck/refine.
"""

import numbers
from typing import NamedTuple

import numpy as np

from gradcheck.central_differences import line_along, scales_of

ORACLES = ("central", "complex", "adjoint")
RIGHT, WRONG, KINK, CANNOT_TELL = "right", "wrong", "at a kink", "cannot tell"
SAMPLE = 200  # entries of a large argument; they validate the complex step, which then checks all entries together


class Terms:
    """The validated settings of a check, which the docstring of `check` describes.

    `strict` is True if atol was not given. A gradient must then also be right to rtol of its norm. `parameter_seed` is
    the seed of the values that are drawn for parameters, or None if they keep their values.
    """

    def __init__(self, rtol=1e-6, atol=None, seed=0, max_entries=2000, oracles=None, dy=None, randomize=False):
        self.strict, atol = atol is None, 1e-8 if atol is None else atol
        self.dy, self.randomize, self.parameter_seed = dy, randomize, seed if randomize else None
        given = (("rtol", rtol, numbers.Real, 0), ("atol", atol, numbers.Real, 0))
        given += (("max_entries", max_entries, numbers.Integral, 1), ("seed", seed, numbers.Integral, 0))
        for name, value, kind, least in given:
            is_number = isinstance(value, kind) and not isinstance(value, bool)
            if not is_number or not value >= least:
                noun = "number" if kind is numbers.Real else "whole number"
                error = ValueError if is_number else TypeError
                raise error(f"{name} must be a {noun} of at least {least}, not {value!r}")
        named = ORACLES if oracles is None else (oracles,) if isinstance(oracles, str) else tuple(oracles)
        if not named or not {*named} <= {*ORACLES}:
            raise ValueError(f"oracles must be among {', '.join(ORACLES)}, not {oracles!r}")
        self.rtol, self.atol, self.seed, self.max_entries = rtol, atol, seed, max_entries
        self.oracles = tuple(name for name in ORACLES if name in named)

    def tolerance(self, numeric):
        return self.atol + self.rtol * np.abs(numeric)


class Direction(NamedTuple):
    """The derivatives along a random direction v through one argument."""

    analytic: float  # computed by backward
    numeric: float  # computed by the oracle
    oracle: str = "central differences"
    verdict: str = RIGHT
    uncertainty: float = 0.0  # the estimated error of `numeric`
    limit: float = 0.0  # the allowed error, rtol ‖dx v‖


class Finding:
    """One gradient with its measurements and verdicts.

    The following arrays have an element for each compared entry. They are replaced, never modified in place.

        entries        sorted indices into the flat array
        analytic       the values of the backward pass
        numeric        the values of central differences
        uncertainty    the estimated errors of `numeric`
        scales         the scales of the entries, to which the steps are proportional
        verdicts       the verdicts
    """

    exact = None  # the values of the complex step, or None instead of an array
    step = None  # the ComplexStep, or None if it does not apply, as for the others
    sides = None  # the Sides of the adjoint identity
    along = None  # the Estimate along the direction of `sides`, if only a sample of the entries is compared
    direction = None  # the Direction through all entries
    zero_to = None  # the bound of a gradient that is zero up to rounding
    together = None  # (backward's, true) derivative as entries at a kink move together, if it alone shows the error
    doubt = ""  # the reason why a gradient without a wrong entry cannot be called right as a whole

    def __init__(self, run, position, terms, rng):
        self.run, self.position, self.terms, self.rng = run, position, terms, rng
        self.argument, self.gradient, self.missing = (s[position] for s in (run.arguments, run.gradients, run.missing))
        self.array = self.argument.array
        self.select_entries(terms.max_entries if "central" in terms.oracles else 0)

    def select_entries(self, most):
        """Select all entries, or a sample if there are more than `most`.

        All measurements are discarded.
        """
        size = self.array.size
        is_small = size <= most
        self.entries = np.arange(size) if is_small else np.sort(self.rng.choice(size, min(most, SAMPLE), replace=False))
        self.analytic = self.gradient.ravel()[self.entries]
        self.scales = scales_of(self.array).ravel()[self.entries]
        self.numeric, self.uncertainty = np.full(len(self.entries), np.nan), np.full(len(self.entries), np.inf)
        self.verdicts = np.full(len(self.entries), RIGHT, dtype=object)

    def add(self, entry, analytic, scale, judgement):
        at = np.searchsorted(self.entries, entry)
        names = "entries", "analytic", "scales", "verdicts", "numeric", "uncertainty"
        for name, value in zip(names, (entry, analytic, scale, *judgement), strict=True):
            setattr(self, name, np.insert(getattr(self, name), at, value))

    def index(self, k):
        return tuple(int(i) for i in np.unravel_index(self.entries[k], self.array.shape))

    def line(self, k):
        return line_along(self.run.call, self.array, index=self.index(k))

    @property
    def is_complete(self):
        return len(self.entries) == self.array.size

    @property
    def truth(self):
        return self.numeric if self.exact is None else self.exact

    @property
    def direction_verdict(self):
        return RIGHT if self.direction is None else self.direction.verdict

    @property
    def is_wrong(self):
        return WRONG in (self.direction_verdict, *self.verdicts)

    @property
    def gap(self):
        return np.abs(self.analytic - self.numeric)

    @property
    def is_sure(self):
        return np.maximum(self.gap, self.uncertainty) <= self.terms.tolerance(self.numeric)

    @property
    def unexplained(self):
        """The part of each error that uncertainty and rounding do not explain."""
        return np.maximum(self.gap - 10 * self.uncertainty - self.run.rounding / self.scales, 0.0)

    def is_confirmed(self):
        limit = self.terms.rtol * norm(self.numeric)
        if not self.is_sure.all() or (self.terms.strict and norm(self.unexplained) > limit):
            return False
        if self.sides is not None:
            return self.sides.agree and (self.along is None or self.along.allows(self.sides.exact))
        if not self.is_complete or (self.terms.oracles != ("central",) and self.gradient.size):
            return False
        is_zero = not (self.gradient.any() or self.numeric.any())
        return is_zero or not self.terms.strict or max(norm(self.gap), norm(self.uncertainty)) <= limit


def norm(values):
    """Compute the Euclidean norm ‖values‖ without underflow."""
    size = np.max(np.abs(values), initial=0.0)
    return float(size * np.linalg.norm(values / size)) if 0 < size < np.inf else float(size)
