"""Examine every gradient of a call: run it, compare each gradient with the oracles, judge it, and report.

Central differences (central_differences.py) need only a float64 forward pass and give the error of each entry. The
adjoint identity (adjoint_identity.py) is a thousand times more precise and covers all entries together, but needs a
complex-safe forward pass. The complex step cannot detect that a forward pass is not complex-safe: |z|², for example,
silently gives another derivative. Therefore the two oracles are compared with each other. If only a sample of the
entries is compared, the oracles are also compared along the direction of the identity.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradcheck.adjoint_identity import RESOLVED, sides, sides_of_all
from gradcheck.call import stream
from gradcheck.central_differences import estimate, line_along, line_along_entry, step_of
from gradcheck.complex_step import ComplexStep, NotComplexSafe
from gradcheck.contract import Run, run_under_watch
from gradcheck.judgement import CANNOT_TELL, KINK, WRONG, first_look, nothing_known, unexamined
from gradcheck.report import ArgumentReport, Report


@dataclass(frozen=True)
class Examination:
    """A Report together with the data from which it was made.

    `run` is the Run, `findings` has a Finding for each gradient, and `step` is the ComplexStep, or None if it does not
    apply.
    """

    report: Report
    run: Run
    findings: list
    step: Any


def examine(call, dy, terms):
    """Return the Examination of a Call whose arguments are float64 (see call.prepared)."""
    run = run_under_watch(call, dy, stream(terms.seed, "dy"))
    findings, step, notes = find(run, terms)
    arguments = tuple(_summary(finding, run, terms) for finding in findings)
    problems = (run.problem,) if run.problem else ()
    return Examination(Report(call.name, arguments, problems, tuple(notes)), run, findings, step)


def find(run, terms):
    """Return (findings, step, notes).

    `findings` has a Finding for each gradient, and `notes` are sentences for the report. `step` is the ComplexStep, or
    None if it was not selected or if the forward pass is not complex-safe. If this becomes known only after some
    gradients have been judged, all of them are judged again without it. Raises ValueError if the forward pass is not
    complex-safe and central differences were not selected.
    """
    rng, notes = stream(terms.seed, "entries"), []
    measurements = [_by_central_differences(run, i, terms, rng) for i in range(len(run.arguments))]
    if terms.oracles != ("central",):
        step = ComplexStep(run.call, run.arguments, run.y)
        try:
            if terms.oracles == ("adjoint",):
                together = sides_of_all(run, step, rng)
                notes.append(_both_sides(together))
                if together.agree:
                    return [unexamined(m) for m in measurements], step, notes
            both = [_by_the_identity(run, step, i, m, terms, rng) for i, m in enumerate(measurements)]
            return [_judged(run, step, i, m, terms, rng) for i, m in enumerate(both)], step, notes
        except NotComplexSafe as reason:
            obstacle = f"the forward pass is not complex-safe: {reason}"
            if "central" not in terms.oracles:
                advice = "Omit `oracles`, or add 'central' to them"
                raise ValueError(f"{run.call.name}: {obstacle}. {advice}") from reason
            notes = [f"the complex step does not apply, since {obstacle}"]
    terms = terms.with_central_differences_alone()
    return [_judged(run, None, i, m, terms, rng) for i, m in enumerate(measurements)], None, notes


def _by_central_differences(run, i, terms, rng):
    """Return a Finding with the values of central differences for argument i.

    It has no entries if central differences were not selected.
    """
    measurement = nothing_known(run, i, terms.max_entries if "central" in terms.oracles else 0, rng)
    array = measurement.argument.array
    numeric, uncertainty = np.empty((2, len(measurement.entries)))
    for k, (entry, scale) in enumerate(zip(measurement.entries, measurement.scales.tolist(), strict=True)):
        line = line_along_entry(run.call, array, np.unravel_index(entry, array.shape))
        here = estimate(line, run.y, run.dy, step_of(scale))
        numeric[k], uncertainty[k] = here.value, here.uncertainty
    return replace(measurement, numeric=numeric, uncertainty=uncertainty)


def _by_the_identity(run, step, i, measurement, terms, rng):
    """Add both sides of the adjoint identity to a Finding. Raises NotComplexSafe."""
    if "adjoint" not in terms.oracles or not measurement.gradient.size:
        return measurement
    both, along = sides(run, step, i, rng), None
    if "central" in terms.oracles and not measurement.is_complete:
        line = line_along(run.call, measurement.argument.array, both.v)
        along = estimate(line, run.y, run.dy, step_of(1.0))
    return replace(measurement, sides=both, along=along)


def _judged(run, step, i, measurement, terms, rng):
    finding = first_look(measurement, run, terms)
    if finding is None:
        from gradcheck.refine import look_closer

        finding = look_closer(run, step, i, measurement, terms, rng)
    return finding


def _both_sides(together):
    share = min(together.gap / max(together.size, np.finfo(float).tiny), 1.0)
    return (
        f"the adjoint identity through all arguments: backward gives {together.analytic:.15g}, the complex step gives "
        f"{together.exact:.15g}; the difference is {share:.1e} of Σ|dx v|"
    )


def _summary(finding, run, terms):
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
    """Return the fields of an ArgumentReport that describe the errors, as a dictionary.

    These are the largest errors and the entry that uses most of its tolerance. Entries at a kink are left out. The
    relative error is |a − n| / (|n| + atol / rtol). It is the usual relative error where n is large, stays finite where
    the true gradient is zero, and must not exceed rtol.
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
