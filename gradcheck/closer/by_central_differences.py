"""One gradient by central differences made ever finer: each entry; along a direction where the entries are a sample."""

import numpy as np

from gradcheck.central_differences import scales_of
from gradcheck.closer.estimates import along_direction, along_entry
from gradcheck.closer.one_derivative import judge
from gradcheck.judgement import RIGHT, WRONG, Direction, Finding
from gradcheck.rounding import most_rounding


def by_central_differences(run, i, measurement, terms, rng):
    """Return a Finding of what central differences say of argument i."""
    m = measurement
    places = zip(m.analytic.tolist(), m.entries.tolist(), m.scales.tolist(), strict=True)
    judgements = [judge(a, along_entry(run, i, entry, scale), terms.rtol, terms.atol) for a, entry, scale in places]
    verdicts = np.array([judgement.verdict for judgement in judgements], dtype=object)
    numeric = np.array([judgement.numeric for judgement in judgements])
    uncertainty = np.array([judgement.uncertainty for judgement in judgements])
    if terms.strict:
        error = np.abs(m.analytic - numeric) - 10 * uncertainty
        # What is no larger than the rounding errors of L allow is no error: a gradient that is truly zero is noise.
        verdicts = held_whole(verdicts, error - most_rounding(run) / m.scales, numeric, terms.rtol)
    known = {"numeric": numeric, "uncertainty": uncertainty, "verdicts": verdicts}
    return Finding(**vars(m) | known, direction=None if m.is_complete else _direction(run, i, m, terms, rng))


def held_whole(verdicts, error, numeric, rtol):
    """Return the verdicts once the error of all right entries together is no more than rtol of their norm.

    Otherwise those that have more than their share of it are wrong: atol alone lets small gradients be quite wrong.
    """
    error = np.maximum(error, 0.0)
    counted = (verdicts == RIGHT) & np.isfinite(error)
    limit = rtol * float(np.linalg.norm(numeric[counted]))
    if np.linalg.norm(error[counted]) <= limit:
        return verdicts
    share = limit / max(np.sum(counted), 1) ** 0.5
    return np.where(counted & (error > share), WRONG, verdicts)


def _direction(run, i, measurement, terms, rng):
    """Compare the derivative along one random direction v through the whole argument.

    The entries' tolerances add up in quadrature, as independent errors do: ‖(atol + rtol |dx|) v‖.
    """
    gradient = measurement.gradient
    v = scales_of(measurement.argument.array) * rng.standard_normal(gradient.shape)
    analytic = float(np.vdot(gradient, v))
    allowed = float(np.linalg.norm(terms.tolerance(gradient) * v))
    judgement = judge(analytic, along_direction(run, i, v), 0.0, allowed)
    return Direction(
        analytic,
        judgement.numeric,
        verdict=judgement.verdict,
        uncertainty=judgement.uncertainty,
        limit=terms.rtol * float(np.linalg.norm(gradient * v)),
    )
