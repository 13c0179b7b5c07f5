"""Whether something computes in float32 within, though it takes and gives float64.

Its results then move in steps of 2⁻²⁴ ≈ 6e-8 of themselves. An argument moved by a thousandth of that has no effect at
all on most of them, whereas a move by sixteen such steps does.
"""

from dataclasses import replace

import numpy as np

from gradcheck.central_differences import RELATIVE_STEP
from gradcheck.judgement import CANNOT_TELL, WRONG

STEPS = 2.0**-24
FAR, NEAR = 16 * STEPS, STEPS / 1024


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


def drowned(run, finding, measurement):
    """Return the finding judged by the first estimates alone, if forward computes in float32.

    The finer ones see a single step, or none. Steps of ε = 2⁻²⁴ leave ε Σ|dy y| / h of a difference, and whatever is
    within that of backward's value cannot be told.
    """
    arrays = [argument.array for argument in run.arguments]
    if not (finding.is_wrong and is_in_steps(moved(arrays, lambda: run.call.evaluate()[0]))):
        return finding
    uncertainty = 4 * STEPS * float(np.sum(np.abs(run.dy * run.y))) / (RELATIVE_STEP * finding.scales)
    gap = np.abs(finding.analytic - measurement.numeric)
    return replace(
        finding,
        verdicts=np.where(gap <= uncertainty, CANNOT_TELL, WRONG),
        numeric=measurement.numeric,
        uncertainty=uncertainty,
        doubt="the forward pass computes in float32 somewhere, and its output moves in steps of 6e-8 of itself",
    )
