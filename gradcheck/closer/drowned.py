"""What central differences call wrong, where forward's own rounding errors are as large as the difference.

They reckon with errors in the last digit of the output. There may be larger ones within: (10⁵ w)² − 10¹⁰ w² has lost
ten digits, and what computes in float32, though it takes and gives float64, moves in steps of 2⁻²⁴ ≈ 6e-8 of itself. An
estimate with a short step is then sure of what is not there.

Steps show as an argument is moved by a thousandth of one: most outputs stay where they are. Other errors show as it is
moved by 2⁻⁴⁶ of itself, twice that, and so on: what a function does over so short a way is straight.
"""

from dataclasses import replace

import numpy as np

from gradcheck.central_differences import RELATIVE_STEP
from gradcheck.judgement import CANNOT_TELL, WRONG

STEPS = 2.0**-24
FAR, NEAR = 16 * STEPS, STEPS / 1024
SHORT, PLACES = 2.0**-46, 5


def drowned(run, finding, measurement):
    """Return the finding with what is wrong left open where the first estimates, of the longest steps, allow it.

    Errors e in the output leave Σ|dy e| / h of a difference. Those of float32 leave no use for a finer one.
    """
    if not finding.is_wrong:
        return finding
    forward = moved([argument.array for argument in run.arguments], lambda: run.call.evaluate()[0])
    in_steps = is_in_steps(forward)
    if in_steps:
        error = STEPS * float(np.sum(np.abs(run.dy * run.y)))
        doubt = "the forward pass computes in float32 somewhere, and its output moves in steps of 6e-8 of itself"
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
    """Whether most of what evaluate(t) returns is still for a short relative move of t, and moves for a long one."""
    try:
        with np.errstate(all="ignore"):
            here, near, far = evaluate(0.0), evaluate(NEAR), evaluate(FAR)
            live = far != here
            return bool(live.any() and np.mean((near == here)[live]) > 0.5)
    except Exception:  # somebody's code under a probe that it was not written for
        return False


def moved(arrays, evaluate):
    """Return a function of t: what evaluate() gives while each entry of some arrays is moved by up to t of itself."""
    before = [array.copy() for array in arrays]
    rng = np.random.default_rng([*b"single precision"])
    by = [rng.uniform(0.5, 1.0, array.shape) for array in arrays]

    def function(t):
        try:
            for array, here, factor in zip(arrays, before, by, strict=True):
                array[...] = here * (1 + t * factor)
            return np.array(evaluate())
        finally:
            for array, here in zip(arrays, before, strict=True):
                array[...] = here

    return function


def _jitter(forward):
    """Return how far each output is from the straight line, over a way too short to bend."""
    outputs = np.stack([forward(k * SHORT) for k in range(PLACES)])
    return np.max(np.abs(np.diff(outputs, 2, axis=0)), axis=0)
