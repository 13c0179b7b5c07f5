"""Ever finer estimates of a derivative along a line, each with a step 45 / √2 ≈ 32 times shorter than the one before.

The first is that of central_differences.py, whose step is right where the function changes over the scale of the entry.
Near a kink, beside a pole, or where logits are in the thousands, that length is shorter.

A step may also span many periods: that of sin(x) at a million spans 140. Were it a whole number of them, as for
x mod 1 and a step of 512, the outputs would be equal, and the estimate sure of a slope of 0. Hence the roots in the
first step and in the ratio of the steps, which no function has for its period. What is left of a wave of amplitude A is
then ±A / h, which grows from step to step, as rounding errors do, but from far above them; by that one_derivative.py
knows it. Two limits remain where no complex step is there to contradict. A wave of less than 1e-11 of y passes for
rounding errors, and a gradient that knows it for a wrong one. And a gradient that ignores a wave is called right if
A / h at the first step is within its tolerance, however large the slope of the wave itself.
"""

import numpy as np

from gradcheck.central_differences import estimate, line_along, line_along_entry, step_of

REFINEMENT = 2**0.5 / 45
ESTIMATES = 6  # the last step, 3e-11 s, still leaves a jump of the slope five digits above rounding


def estimates(line, y, dy, scale):
    """Yield ever finer Estimates of the derivative of ⟨dy, line(t)⟩ at t = 0; `scale` is the length s of its changes.

    Nothing is evaluated before it is asked for. An output that has moved with one step counts as moving with the next.
    """
    moved = np.zeros(y.shape, dtype=bool)

    def remembered(t):
        output = line(t)
        np.logical_or(moved, output != y, out=moved)
        return output

    for h in steps(scale):
        yield estimate(remembered, y, dy, h, moved)


def steps(scale):
    """Yield the steps, from the longest, that of a first look, to the shortest."""
    for k in range(ESTIMATES):
        yield step_of(scale, REFINEMENT**k)


def along_entry(run, i, entry, scale):
    """Yield ever finer Estimates along one entry, an index into the flat array, of argument i."""
    array = run.arguments[i].array
    line = line_along_entry(run.call, array, np.unravel_index(entry, array.shape))
    return estimates(line, run.y, run.dy, float(scale))


def along_direction(run, i, v):
    """Yield ever finer Estimates along v, of argument i's shape, whose entries have its scales."""
    return estimates(line_along(run.call, run.arguments[i].array, v), run.y, run.dy, 1.0)
