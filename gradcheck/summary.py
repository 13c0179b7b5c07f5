"""Summarise one gradient for the report: the number of compared entries, the largest errors, and the worst entry."""

import math

import numpy as np

from gradcheck.adjoint_identity import RESOLVED
from gradcheck.judgement import CANNOT_TELL, KINK, WRONG
from gradcheck.report import ArgumentReport


def summarise(finding, run, terms):
    """Return the ArgumentReport of a Finding, without a diagnosis."""
    verdicts, direction = finding.verdicts, finding.direction
    tried = {} if direction is None else {"direction_oracle": direction.oracle}
    return ArgumentReport(
        name=finding.argument.name,
        label=finding.argument.label,
        shape=finding.argument.array.shape,
        entries=len(finding.entries),
        disagree=int(np.sum(verdicts == WRONG)),
        cannot_tell=int(np.sum(verdicts == CANNOT_TELL)),
        at_kink=int(np.sum(verdicts == KINK)),
        direction=None if direction is None else (direction.analytic, direction.numeric),
        direction_disagrees=finding.direction_verdict == WRONG,
        missing=finding.missing,
        doubt=finding.doubt,
        zero_to=finding.zero_to,
        together=finding.together,
        **tried,
        **_worst(finding, run, terms),
    )


def _worst(finding, run, terms):
    """Return the largest errors and the entry that uses most of its tolerance.

    Entries at a kink are left out. The relative error is |a − n| / (|n| + atol / rtol). It is the usual relative error
    where n is large, stays finite where the true gradient is zero, and must not exceed rtol.
    """
    counted = finding.verdicts != KINK
    if not counted.any():
        return {}
    by_complex_step = _only_complex_step_shows_it(finding, terms)
    numeric, uncertainty = finding.numeric, finding.uncertainty
    if by_complex_step:
        numeric = finding.exact
        uncertainty = RESOLVED * run.rounding / finding.scales + 1e-13 * np.abs(numeric)
    error = np.where(counted, np.abs(finding.analytic - numeric), 0.0)
    error[np.isnan(error)] = math.inf
    size = np.abs(numeric) + (terms.atol / terms.rtol if terms.rtol else 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(error == 0, 0.0, error / size)
    relative[np.isnan(relative)] = math.inf
    blamed = finding.verdicts == (WRONG if WRONG in finding.verdicts else CANNOT_TELL)
    worst = int(np.argmax(np.where(blamed if blamed.any() else counted, relative, -1.0)))
    index = np.unravel_index(finding.entries[worst], finding.argument.array.shape)
    return {
        "worst_index": tuple(int(i) for i in index),
        "analytic": float(finding.analytic[worst]),
        "numeric": float(numeric[worst]),
        "worst_absolute": float(error.max()),
        "worst_relative": float(relative.max()),
        "uncertainty": float(np.max(uncertainty[counted])),
        "worst_uncertainty": float(uncertainty[worst]),
        "oracle": "the complex step" if by_complex_step else "central differences",
    }


def _only_complex_step_shows_it(finding, terms):
    """Return True if the report should show the complex step's values.

    This is the case if central differences were not selected, or do not show the error. Otherwise the report shows
    central differences, because they are easier to reproduce.
    """
    if finding.exact is None:
        return False
    gap = np.abs(finding.analytic - finding.numeric)
    agrees = (gap <= terms.tolerance(finding.numeric)) | np.isinf(finding.uncertainty)
    return "central" not in terms.oracles or bool(np.all(agrees[finding.verdicts == WRONG]))
