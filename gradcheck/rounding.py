"""How much of a small difference is rounding: measured, by moving all arguments by a few units of their last digit.

A gradient may be truly zero, as that of a key's bias, which the softmax ignores. What backward and the complex step
give then is the remainder of terms that cancel, 1e-17 and −3e-17, a relative error of 400 % between two right answers.
Another may be small and meant: 1e-9 of the others, because something multiplies it by 1e-9. Its size does not tell the
two apart. A nudge does: at arguments that differ by 1e-15 of themselves, a true gradient is the same to some twelve
digits, however small, and a remainder of rounding is another number altogether.

So each side is evaluated again at a few nudged places, the complex step with a step whose digits are others too, and
what changes there is what each may be wrong by. Near a jump, or where a maximum has ties, a nudge changes the gradient
itself; therefore no more is allowed for rounding than ε Σ|dy y| justifies.
"""

import numpy as np

from gradcheck.complex_step import ComplexStep
from gradcheck.gradients import gradients_of

NUDGE = 2.0**-50  # relative: four units of the last place
PLACES = 3
SHORTENED = 0.7  # the step at the nudged places, so that the imaginary parts are rounded in other ways
FACTOR = 10.0  # the changes at so few places are a sample of the error, not a bound on it
RESOLVED = 1e-2  # of what rounding may leave at most: what the complex step does, which subtracts nothing


def rounding_along(run, i, v, exact):
    """Return by how much ⟨dx, v⟩ of argument i and its value `exact` by the complex step may differ, rightly."""
    changes = []
    for gradients, step in nudged(run):
        changes.append(abs(float(np.sum(run.dy * step.along({i: SHORTENED * v}))) / SHORTENED - exact))
        change = (gradients[i] - run.gradients[i]) * v
        changes += [abs(float(np.sum(change))), float(np.linalg.norm(change))]
    return FACTOR * max(changes)


def nudged(run, *, mirrored=False):
    """Return the gradients and the ComplexStep at a few places beside the arguments; if mirrored, opposite too."""
    before = [argument.array.copy() for argument in run.arguments]
    rng = np.random.default_rng(0)
    places = []
    try:
        for _ in range(PLACES):
            nudges = [NUDGE * rng.choice((-1.0, 1.0), size=here.shape) for here in before]
            for side in (1, -1) if mirrored else (1,):
                for argument, here, nudge in zip(run.arguments, before, nudges, strict=True):
                    argument.array[...] = here * (1 + side * nudge)
                gradients = gradients_of(run.call, run.arguments, run.dy)
                y = np.array(run.call.evaluate()[0])
                places.append((gradients, ComplexStep(run.call, run.arguments, y)))
    finally:
        for argument, here in zip(run.arguments, before, strict=True):
            argument.array[...] = here
    return places
