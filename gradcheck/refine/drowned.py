"""Detect disagreements that rounding errors within the forward pass explain.

Central differences account for errors in the last digit of the output. The errors within the forward pass may be
larger: (10⁵ w)² − 10¹⁰ w² loses ten digits, and a computation in float32 between float64 inputs and outputs changes in
steps of 2⁻²⁴ ≈ 6e-8 of its value. An estimate with a short step may then be precise and wrong.

Steps are detected by changing an argument by a thousandth of a step: most outputs stay equal. Other errors are measured
by changing it by 2⁻⁴⁶, 2 · 2⁻⁴⁶, … of its value: over so short a distance the function is linear, so deviations from a
line are rounding errors.
"""

from dataclasses import replace

import numpy as np

from gradcheck.central_differences import RELATIVE_STEP, displaced
from gradcheck.judgement import CANNOT_TELL, WRONG

STEPS = 2.0**-24
FAR, NEAR = 16 * STEPS, STEPS / 1024
SHORT, PLACES = 2.0**-46, 5


def drowned(run, finding, measurement):
    """Return the finding without the wrong verdicts that rounding may explain.

    An error e of the output causes an error of Σ|dy e| / h in a difference, so the first estimates, with the longest
    steps, decide. For a forward pass in float32, the finer estimates are discarded.
    """
    if not finding.is_wrong:
        return finding
    forward = moved([argument.array for argument in run.arguments], lambda: run.call.evaluate()[0])
    in_steps = is_in_steps(forward)
    if in_steps:
        error = STEPS * float(np.sum(np.abs(run.dy * run.y)))
        doubt = "part of the forward pass computes in float32, so its output changes in steps of 6e-8 of its value"
    else:
        error = float(np.sum(np.abs(run.dy) * _jitter(forward)))
        doubt = f"rounding errors within the forward pass are as large as {error:.1g} in the loss"
    uncertainty = 4 * error / (RELATIVE_STEP * finding.scales)
    judged = np.ones(len(finding.entries), bool) if in_steps else finding.verdicts == WRONG
    is_open = judged & (np.abs(finding.analytic - measurement.numeric) <= uncertainty)
    if not is_open.any() and not in_steps:
        return finding
    return replace(
        finding,
        verdicts=np.where(is_open, CANNOT_TELL, np.where(judged, WRONG, finding.verdicts)),
        numeric=np.where(judged, measurement.numeric, finding.numeric),
        uncertainty=np.where(judged, uncertainty, finding.uncertainty),
        doubt=doubt,
    )


def is_in_steps(evaluate):
    """Return True if evaluate(t) is a step function on a very small scale.

    That is, most results are equal for a short relative perturbation t and differ for a long one.
    """
    try:
        with np.errstate(all="ignore"):
            here, near, far = evaluate(0.0), evaluate(NEAR), evaluate(FAR)
            live = far != here
            return bool(live.any() and np.mean((near == here)[live]) > 0.5)
    except Exception:  # user code may fail at perturbed inputs
        return False


def moved(arrays, evaluate):
    """Return a function of t that evaluates with each array entry changed by up to t.

    The change is relative to the entry.
    """
    rng = np.random.default_rng([*b"single precision"])
    by = [rng.uniform(0.5, 1.0, array.shape) for array in arrays]

    def function(t):
        with displaced(arrays, [array * (1 + t * factor) for array, factor in zip(arrays, by, strict=True)]):
            return np.array(evaluate())

    return function


def _jitter(forward):
    """Return the deviation of each output from a line over a very short distance."""
    outputs = np.stack([forward(k * SHORT) for k in range(PLACES)])
    return np.max(np.abs(np.diff(outputs, 2, axis=0)), axis=0)
