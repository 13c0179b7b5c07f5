"""Detect disagreements that rounding errors within the forward pass explain.

Central differences account for errors in the last digit of the output. The errors within the forward pass may be
larger: (10⁵ w)² − 10¹⁰ w² loses ten digits, a computation in float32 between float64 inputs and outputs changes in
steps of 2⁻²⁴ ≈ 6e-8 of its value, and np.round(y, 2) in steps of 0.01. An estimate with a short step may then be
precise and wrong.

To detect steps, the arguments are changed by 2⁻³⁴ of their values. If the output changes in steps, most of its entries
stay equal. To measure other errors, the arguments are changed by 2⁻⁴⁶, 2 · 2⁻⁴⁶, … of their values. Over so short a
distance the function is linear, so deviations from a line are rounding errors.
"""

import numpy as np

from gradcheck.central_differences import RELATIVE_STEP, displaced
from gradcheck.complex_step import NotComplexSafe
from gradcheck.judgement import CANNOT_TELL, WRONG

STEPS = 2.0**-24
FAR, NEAR = 16 * STEPS, STEPS / 1024
LADDER = 16  # number of changes; each is four times the previous one, from NEAR to 1/16
SHORT, PLACES = 2.0**-46, 5


def drowned(finding, first):
    """Change wrong verdicts to CANNOT_TELL where rounding may explain them.

    An error e of the output causes an error of Σ|dy e| / h in a difference, so the values `first` of the first
    estimates, with the longest steps, decide. If the output changes in steps, the finer estimates are discarded. In
    this case NotComplexSafe is raised, unless the complex step does not apply anyway, because the complex derivative of
    a step function is meaningless.
    """
    if not finding.is_wrong:
        return
    run = finding.run
    forward = moved([argument.array for argument in run.arguments], lambda: run.call.evaluate()[0])
    steps = _steps(forward)
    if steps is not None:
        error = float(np.sum(np.abs(run.dy) * steps))
        size = np.max(steps / np.maximum(np.abs(run.y), np.finfo(float).tiny))
        doubt = f"the output changes in steps of {np.max(steps):.1g}"
        if STEPS / 8 < size < 8 * STEPS:
            doubt = "the output changes in steps of 6e-8 of its value, as if part of it were computed in float32"
        if finding.step is not None:
            raise NotComplexSafe(doubt)
    else:
        outputs = np.stack([forward(k * SHORT) for k in range(PLACES)])
        error = float(np.sum(np.abs(run.dy) * np.max(np.abs(np.diff(outputs, 2, axis=0)), axis=0)))
        doubt = f"rounding errors within the forward pass are as large as {error:.1g} in the loss"
    uncertainty = 4 * error / (RELATIVE_STEP * finding.scales)
    judged = finding.verdicts == WRONG if steps is None else np.ones(len(finding.entries), bool)
    is_open = judged & (np.abs(finding.analytic - first) <= uncertainty)
    if steps is None and not is_open.any():
        return
    finding.verdicts = np.where(is_open, CANNOT_TELL, np.where(judged, WRONG, finding.verdicts))
    finding.numeric = np.where(judged, first, finding.numeric)
    finding.uncertainty = np.where(judged, uncertainty, finding.uncertainty)
    finding.doubt = doubt


def _steps(forward):
    """Return the first change of each output while the arguments change more and more, or None if most are smooth.

    A smooth output changes at once, by about its last digit.
    """
    with np.errstate(all="ignore"):
        here = forward(0.0)
        first = np.zeros(here.shape)
        for k in range(LADDER):
            change = np.abs(forward(NEAR * 4.0**k) - here)
            first = np.where((first == 0) & np.isfinite(change), change, first)
            if k == 0:
                moved_at_once = first > 0
    live = first > 0
    is_coarse = first >= 2.0**-30 * np.abs(here)
    if not live.any() or np.mean((~moved_at_once & is_coarse)[live]) <= 0.5:
        return None
    return first


def is_in_steps(evaluate):
    """Return True if most results are unchanged by a very small relative perturbation t, but not by a larger one."""
    try:
        with np.errstate(all="ignore"):
            here, near, far = evaluate(0.0), evaluate(NEAR), evaluate(FAR)
            live = far != here
            return bool(live.any() and np.mean((near == here)[live]) > 0.5)
    except Exception:  # user code may fail at perturbed inputs
        return False


def moved(arrays, evaluate):
    """Return a function of t that calls `evaluate` with each entry multiplied by a factor between 1 + t/2 and 1 + t."""
    rng = np.random.default_rng([*b"single precision"])
    by = [rng.uniform(0.5, 1.0, array.shape) for array in arrays]

    def function(t):
        with displaced(arrays, [array * (1 + t * factor) for array, factor in zip(arrays, by, strict=True)]):
            return np.array(evaluate())

    return function
