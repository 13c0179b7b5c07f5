"""Compare the gradients of a Call with the oracles, judge them, and report.

Central differences (central_differences.py) need only a float64 forward pass and give the error of each entry. The
adjoint identity (adjoint_identity.py) is a thousand times more precise and covers all entries together, but needs a
complex-safe forward pass. The complex step cannot always detect that a forward pass is not complex-safe: |z|², for
example, silently gives a wrong derivative. Therefore the two oracles are compared with each other. If only a sample of
the entries is compared, the oracles are also compared along the direction of the adjoint identity.
"""

import copy
import math
from typing import NamedTuple

import numpy as np

from gradcheck.adjoint_identity import RESOLVED, sides, sides_of_all
from gradcheck.call import stream
from gradcheck.central_differences import estimate, line_along, step_of
from gradcheck.complex_step import ComplexStep, NotComplexSafe
from gradcheck.contract import Run, run_and_test
from gradcheck.judgement import CANNOT_TELL, KINK, WRONG, Direction, Finding
from gradcheck.report import ArgumentReport, Problem, Report


class Examination(NamedTuple):
    """A Report, with the Run and the Findings on which it is based."""

    report: Report
    run: Run
    findings: list


def examine(call, terms):
    run = run_and_test(call, terms.dy, stream(terms.seed, "dy"))
    findings, notes = find(run, terms)
    problems = (Problem.of(run.problem),) if run.problem else ()
    return Examination(Report(call.name, tuple(map(summary, findings)), problems, tuple(notes)), run, findings)


def find(run, terms):
    """Compare each gradient of a Run with the oracles and return (findings, notes).

    If the forward pass is not complex-safe, only central differences are used. Raises ValueError if they are not among
    the selected oracles.
    """
    rng, notes = stream(terms.seed, "entries"), []
    findings = [Finding(run, i, terms, rng) for i in range(len(run.arguments))]
    for finding in findings:
        steps = enumerate(map(step_of, finding.scales.tolist()))
        estimates = [estimate(finding.line(k), run.y, run.dy, h) for k, h in steps]
        finding.numeric = np.array([here.value for here in estimates])
        finding.uncertainty = np.array([here.uncertainty for here in estimates])
    if terms.oracles != ("central",):
        step = ComplexStep(run.call, run.arguments, run.y)
        try:
            if terms.oracles == ("adjoint",):
                together = sides_of_all(run, step, rng)
                both = f"backward gives {together.analytic:.15g}, the complex step gives {together.exact:.15g}"
                notes.append(f"the adjoint identity through all arguments: {both}")
                if together.agree:
                    return findings, notes
            return _judged(findings, terms, step), notes
        except NotComplexSafe as reason:
            obstacle = f"the forward pass is not complex-safe: {reason}"
            if "central" not in terms.oracles:
                advice = "Omit `oracles`, or add 'central' to them"
                raise ValueError(f"{run.call.name}: {obstacle}. {advice}") from reason
            notes = [f"the complex step does not apply, since {obstacle}"]
    terms = copy.copy(terms)
    terms.oracles = ("central",)
    return _judged(findings, terms), notes


def _judged(findings, terms, step=None):
    findings = [copy.copy(finding) for finding in findings]
    for finding in findings:
        finding.terms, finding.step = terms, step
        if "adjoint" in terms.oracles and finding.gradient.size:
            finding.sides = sides(finding)
            if "central" in terms.oracles and not finding.is_complete:
                line = line_along(finding.run.call, finding.array, finding.sides.v)
                finding.along = estimate(line, finding.run.y, finding.run.dy, step_of(1.0))
    for finding in findings:
        if not finding.is_confirmed():
            from gradcheck.refine import look_closer

            look_closer(finding)
        elif finding.sides is not None and not finding.is_complete:
            finding.direction = Direction(finding.sides.analytic, finding.sides.exact, "the complex step")
    return findings


def summary(finding):
    """Summarize a Finding as an ArgumentReport."""
    verdicts, direction = finding.verdicts, finding.direction
    found = {} if direction is None else {"direction": direction[:2], "direction_oracle": direction.oracle}
    return ArgumentReport(
        name=finding.argument.name,
        label=finding.argument.label,
        shape=finding.array.shape,
        entries=len(finding.entries),
        disagree=int(np.sum(verdicts == WRONG)),
        cannot_tell=int(np.sum(verdicts == CANNOT_TELL)),
        at_kink=int(np.sum(verdicts == KINK)),
        direction_disagrees=finding.direction_verdict == WRONG,
        missing=finding.missing,
        doubt=finding.doubt,
        zero_to=finding.zero_to,
        together=finding.together,
        **found,
        **_worst(finding),
    )


def _worst(finding):
    """Return the fields of an ArgumentReport that describe the largest errors.

    Entries at a kink are left out. The relative error |a − n| / (|n| + atol / rtol) is finite where the true gradient
    is zero. It is at most rtol if the entry is right.
    """
    counted = finding.verdicts != KINK
    if not counted.any():
        return {}
    terms, numeric, uncertainty, oracle = finding.terms, finding.numeric, finding.uncertainty, "central differences"
    agrees = (finding.gap <= terms.tolerance(numeric)) | np.isinf(uncertainty)
    if finding.exact is not None and ("central" not in terms.oracles or np.all(agrees[finding.verdicts == WRONG])):
        numeric, oracle = finding.exact, "the complex step"  # only the complex step shows the error
        uncertainty = RESOLVED * finding.run.rounding / finding.scales + 1e-13 * np.abs(numeric)
    error = np.where(counted, np.abs(finding.analytic - numeric), 0.0)
    error[np.isnan(error)] = math.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.abs(numeric) + (terms.atol / terms.rtol if terms.rtol else 0.0)
        relative = np.where(error == 0, 0.0, error / size)
    relative[np.isnan(relative)] = math.inf
    blamed = finding.verdicts == (WRONG if WRONG in finding.verdicts else CANNOT_TELL)
    worst = int(np.argmax(np.where(blamed if blamed.any() else counted, relative, -1.0)))
    return {
        "worst_index": finding.index(worst),
        "analytic": float(finding.analytic[worst]),
        "numeric": float(numeric[worst]),
        "worst_absolute": float(error.max()),
        "worst_relative": float(relative.max()),
        "uncertainty": float(np.max(uncertainty[counted])),
        "worst_uncertainty": float(uncertainty[worst]),
        "oracle": oracle,
    }
