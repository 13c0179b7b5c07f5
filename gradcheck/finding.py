"""What the oracles found about one gradient, and its summary for the report."""

import math
from dataclasses import dataclass

import numpy as np

from gradcheck.judgement import CANNOT_TELL, KINK, RIGHT, WRONG
from gradcheck.lines import scales_of
from gradcheck.report import ArgumentReport


@dataclass
class Finding:
    """What the oracles found about one gradient. All arrays but `gradient` and `scales` run over
    the compared `entries`, indices into the flat array.

    `numeric` and `uncertainty` are central differences', `exact` is the complex step's or None. `doubt` says why the
    gradient as a whole cannot be called right although no entry is wrong, if that is so.
    """

    argument: object
    gradient: np.ndarray
    missing: bool
    entries: np.ndarray
    scales: np.ndarray
    verdicts: np.ndarray
    numeric: np.ndarray
    uncertainty: np.ndarray
    exact: np.ndarray | None = None
    direction: tuple | None = None
    direction_oracle: str = "central differences"
    direction_uncertainty: float = 0.0
    direction_limit: float = 0.0  # rtol ‖dx v‖
    direction_verdict: str = RIGHT
    doubt: str = ""

    @classmethod
    def unexamined(cls, argument, gradient):
        """Return a Finding of an argument whose entries were not looked at one by one, with nothing against it."""
        nothing = np.empty(0)
        return cls(
            argument=argument,
            gradient=np.zeros(argument.array.shape) if gradient is None else gradient,
            missing=gradient is None,
            entries=np.arange(0),
            scales=scales_of(argument.array),
            verdicts=np.empty(0, dtype=object),
            numeric=nothing,
            uncertainty=nothing,
        )

    @property
    def analytic(self):
        """Backward's values at the compared entries."""
        return self.gradient.ravel()[self.entries]

    @property
    def truth(self):
        """The best value known for each compared entry."""
        return self.numeric if self.exact is None else self.exact

    @property
    def entry_scales(self):
        """The scale of each compared entry."""
        return self.scales.ravel()[self.entries]

    @property
    def is_complete(self):
        """Whether every entry of the argument was compared."""
        return len(self.entries) == self.argument.array.size

    @property
    def is_wrong(self):
        """Whether something that was compared disagrees; what cannot be told does not."""
        return WRONG in (self.direction_verdict, *self.verdicts)

    def report(self, comparison, diagnosis=""):
        """Sum this up as an ArgumentReport."""
        verdicts = self.verdicts
        return ArgumentReport(
            name=self.argument.name,
            label=self.argument.label,
            shape=self.argument.array.shape,
            entries=len(self.entries),
            disagree=int(np.sum(verdicts == WRONG)),
            cannot_tell=int(np.sum(verdicts == CANNOT_TELL)),
            at_kink=int(np.sum(verdicts == KINK)),
            direction=self.direction,
            direction_oracle=self.direction_oracle,
            direction_disagrees=self.direction_verdict == WRONG,
            missing=self.missing,
            doubt=self.doubt,
            diagnosis=diagnosis,
            **self._worst(comparison),
        )

    def _worst(self, comparison):
        """Find the largest errors, and the entry that takes up the most of its tolerance, kinks left out.

        The relative error is |a − n| / (|n| + atol / rtol): it is the usual one where n matters, does not explode where
        the true gradient is zero, and must not exceed rtol.
        """
        counted = self.verdicts != KINK
        if not counted.any():
            return {}
        rtol, atol = comparison.rtol, comparison.atol
        by_complex_step = self._only_complex_step_shows_it(comparison)
        numeric, uncertainty = self.numeric, self.uncertainty
        if by_complex_step:
            numeric = self.exact
            uncertainty = comparison.rounding / 100 / self.entry_scales + 1e-13 * np.abs(numeric)
        error = np.where(counted, np.abs(self.analytic - numeric), 0.0)
        error[np.isnan(error)] = math.inf
        size = np.abs(numeric) + (atol / rtol if rtol else 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(error == 0, 0.0, error / size)
        relative[np.isnan(relative)] = math.inf
        blamed = self.verdicts == (WRONG if WRONG in self.verdicts else CANNOT_TELL)
        worst = int(np.argmax(np.where(blamed if blamed.any() else counted, relative, -1.0)))
        index = np.unravel_index(self.entries[worst], self.argument.array.shape)
        return {
            "worst_index": tuple(int(i) for i in index),
            "analytic": float(self.analytic[worst]),
            "numeric": float(numeric[worst]),
            "worst_absolute": float(error.max()),
            "worst_relative": float(relative.max()),
            "uncertainty": float(np.max(uncertainty[counted])),
            "worst_uncertainty": float(uncertainty[worst]),
            "oracle": "the complex step" if by_complex_step else "central differences",
        }

    def _only_complex_step_shows_it(self, comparison):
        """Whether the values to show are the complex step's: central differences have none, or do not tell them apart.

        Otherwise they are central differences': their word is the plainest.
        """
        if self.exact is None:
            return False
        wrong = self.verdicts == WRONG
        tolerance = comparison.atol + comparison.rtol * np.abs(self.numeric)
        agrees = (np.abs(self.analytic - self.numeric) <= tolerance) | np.isinf(self.uncertainty)
        return "central" not in comparison.oracles or bool(np.all(agrees[wrong]))
