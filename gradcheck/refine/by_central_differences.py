"""Compare one gradient with ever finer central differences, entry by entry and along a random direction."""

from dataclasses import replace

import numpy as np

from gradcheck.central_differences import scales_of
from gradcheck.judgement import RIGHT, WRONG, Direction, beyond_uncertainty, is_sure, norm, unexamined
from gradcheck.refine.one_derivative import along_direction, along_entry, judge


def refined(run, i, measurement, terms, rng):
    """Return a Finding about argument i by central differences with ever shorter steps.

    Entries that the first estimates confirm keep their values. If the entries are a sample, a random direction through
    the whole argument is compared as well.
    """
    finding = unexamined(measurement)
    verdicts, numeric, uncertainty = (a.copy() for a in (finding.verdicts, finding.numeric, finding.uncertainty))
    analytic, scales = finding.analytic, finding.scales
    for k in np.flatnonzero(~is_sure(finding, terms)):
        refined_estimates = along_entry(run, i, int(finding.entries[k]), scales[k])
        verdicts[k], numeric[k], uncertainty[k] = judge(float(analytic[k]), refined_estimates, terms.rtol, terms.atol)
    finding = replace(finding, verdicts=verdicts, numeric=numeric, uncertainty=uncertainty)
    if terms.strict:
        verdicts = held_whole(verdicts, beyond_uncertainty(finding, run), numeric, terms.rtol)
    direction = None if finding.is_complete else _direction(run, i, finding, terms, rng)
    return replace(finding, verdicts=verdicts, direction=direction)


def held_whole(verdicts, error, numeric, rtol):
    """Return the verdicts, corrected if the total error exceeds rtol.

    The total error is the norm of the errors of all right entries, relative to the norm of the gradient. If it exceeds
    rtol, the entries with more than an equal share of the allowed error become wrong. This is needed because atol alone
    permits large relative errors of small gradients.
    """
    error = np.maximum(error, 0.0)
    counted = (verdicts == RIGHT) & np.isfinite(error)
    limit = rtol * norm(numeric[counted])
    if norm(error[counted]) <= limit:
        return verdicts
    share = limit / max(np.sum(counted), 1) ** 0.5
    return np.where(counted & (error > share), WRONG, verdicts)


def _direction(run, i, measurement, terms, rng):
    """Compare the derivative along one random direction v through the whole argument.

    The tolerances of the entries add up in quadrature, as independent errors do: ‖(atol + rtol |dx|) v‖.
    """
    gradient = measurement.gradient
    v = scales_of(measurement.argument.array) * rng.standard_normal(gradient.shape)
    analytic = float(np.vdot(gradient, v))
    allowed = norm(terms.tolerance(gradient) * v)
    judgement = judge(analytic, along_direction(run, i, v), 0.0, allowed, is_one_entry=False)
    return Direction(
        analytic,
        judgement.numeric,
        verdict=judgement.verdict,
        uncertainty=judgement.uncertainty,
        limit=terms.rtol * norm(gradient * v),
    )
