"""Ever finer estimates of a derivative along a line, each with a step 45 / √2 ≈ 32 times shorter than the previous one.

The first is that of central_differences.py, whose step is suitable if the function changes on the scale of the entry.
Near a kink or a pole, or where logits are in the thousands, it changes on a shorter scale.

A step may also span many periods of the function: that of sin(x) at a million spans 140. If it spanned a whole number
of periods, as for x mod 1 and a step of 512, the outputs would be equal, and the estimate would be a precise 0. For
this reason the first step and the ratio of the steps contain roots, which are not multiples of any usual period. The
error that a wave of amplitude A leaves is then ±A / h, which grows from step to step like rounding errors but is far
larger, so that one_derivative.py recognises it. Two limits remain if the complex step does not apply. A wave of
amplitude less than 1e-11 of y is treated as rounding, so a gradient that includes its slope is called wrong. And a
gradient that ignores a wave is called right if A / h at the first step is within the tolerance, however large the slope
of the wave.
"""

import numpy as np

from gradcheck.central_differences import estimate, line_along, line_along_entry, step_of

REFINEMENT = 2**0.5 / 45
ESTIMATES = 6  # at the last step, 3e-11 s, a jump of the slope is still five digits larger than rounding


def estimates(line, y, dy, scale):
    """Yield ever finer Estimates of the derivative of ⟨dy, line(t)⟩ at t = 0.

    `scale` is the length s over which the function changes. Each estimate is computed only when the caller requests it.
    An output that has changed with one step is taken to change with the next.
    """
    moved = np.zeros(y.shape, dtype=bool)

    def remembered(t):
        output = line(t)
        np.logical_or(moved, output != y, out=moved)
        return output

    for h in steps(scale):
        yield estimate(remembered, y, dy, h, moved)


def steps(scale):
    """Yield the steps from the longest, which is the step of the first estimate."""
    for k in range(ESTIMATES):
        yield step_of(scale, REFINEMENT**k)


def along_entry(run, i, entry, scale):
    """Yield ever finer Estimates along one entry of argument i.

    `entry` is an index into the flat array.
    """
    array = run.arguments[i].array
    line = line_along_entry(run.call, array, np.unravel_index(entry, array.shape))
    return estimates(line, run.y, run.dy, float(scale))


def along_direction(run, i, v):
    """Yield ever finer Estimates along v.

    v has the shape of argument i, and its entries have the scales of the argument's entries.
    """
    return estimates(line_along(run.call, run.arguments[i].array, v), run.y, run.dy, 1.0)
