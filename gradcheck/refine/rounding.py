"""Measure how much of a small difference is rounding, by perturbing all arguments by a few units in the last place.

A gradient may be exactly zero, such as that of the bias of the keys, which the softmax cancels. Backward and the
complex step then return the remainders of terms that cancel, for example 1e-17 and −3e-17: a relative error of 400 %
between two right answers. Another gradient may be small but not zero, for example because a factor of 1e-9 multiplies
it. Its size does not distinguish the two cases, but a perturbation does. If the arguments change by 1e-15 of their
size, a true gradient, however small, keeps about twelve digits, whereas a remainder of rounding becomes another number.

Therefore both sides are evaluated again at a few perturbed arguments, the complex step also with another step, and the
changes estimate their rounding errors. Near a jump, or where a maximum has ties, the perturbation changes the gradient
as well; therefore the estimate is limited to a multiple of ε Σ|dy y|.
"""

import numpy as np

from gradcheck.complex_step import ComplexStep
from gradcheck.gradients import gradients_of

NUDGE = 2.0**-50  # relative: four units of the last place
PLACES = 3
SHORTENED = 0.7  # factor of the step at the perturbed arguments, so that imaginary parts are rounded differently
FACTOR = 10.0  # the changes at so few arguments are a sample of the error, not a bound


def rounding_along(run, i, v, exact):
    """Return the largest difference of ⟨dx, v⟩ and `exact` that rounding explains.

    dx is the gradient of argument i, and `exact` the value of the complex step.
    """
    changes = []
    for gradients, step in nudged(run):
        changes.append(abs(float(np.sum(run.dy * step.along({i: SHORTENED * v}))) / SHORTENED - exact))
        change = (gradients[i] - run.gradients[i]) * v
        changes += [abs(float(np.sum(change))), float(np.linalg.norm(change))]
    return FACTOR * max(changes)


def nudged(run, *, mirrored=False):
    """Return the gradients and the ComplexStep at a few perturbed arguments.

    If `mirrored`, each perturbation is followed by the opposite one.
    """
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
