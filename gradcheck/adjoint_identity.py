"""Check all entries of a gradient at once with the adjoint identity.

The Jacobian J maps a small change v of the inputs to the change of the output. The backward pass is its adjoint Jᵀ.
Therefore, for every function, dy and v,

    ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩                                          (1)

The left side comes from the complex step (complex_step.py), that is, from one forward pass at x + ihv. The right side
is the inner product of backward's gradient and v. If v is random, an error e in the gradient is missed only if ⟨e, v⟩
happens to vanish. Both sides are exact to rounding, about thirteen digits. This precision makes up for comparing only
one number: of ten million entries, a single wrong one changes (1) in about its fourth digit.

Rounding. A gradient may be exactly zero, such as that of the bias of the keys, which the softmax cancels. Both sides of
(1) are then the remainders of terms that cancel, for example 1e-17 and −3e-17: a relative error of 400 % between two
right answers. Another gradient may be small but not zero, for example because a factor of 1e-9 multiplies it. The size
of a gradient does not distinguish the two cases, but a perturbation does. If the arguments change by 1e-15 of their
size, a true gradient, however small, keeps about twelve digits, whereas a remainder of rounding becomes another number.

Therefore both sides are evaluated again at a few perturbed arguments, with a shorter step for the complex step. The
changes of the two sides estimate the rounding errors. Near a jump, or where a maximum has ties, the perturbation
changes the gradient as well, so the estimate is limited to a multiple of ε Σ|dy y|.
"""

from typing import NamedTuple

import numpy as np

from gradcheck.central_differences import displaced, scales_of
from gradcheck.complex_step import ComplexStep
from gradcheck.contract import gradients_of

IDENTITY = 1e-12  # the relative error allowed in (1), as a fraction of Σ|dx v|
RESOLVED = 1e-2  # error of the complex step, which has no cancellation, as a fraction of the bound on rounding errors
NUDGE = 2.0**-50  # relative perturbation of the arguments: four units in the last place
PLACES = 3  # number of random perturbations
SHORTENED = 0.7  # factor of the step at the perturbed arguments, so that imaginary parts are rounded differently
FACTOR = 10.0  # safety factor, because the changes at PLACES perturbed arguments sample the error and do not bound it


class Sides(NamedTuple):
    """The two sides of the adjoint identity (1) along a direction v."""

    v: np.ndarray | None  # the direction, or None if the direction goes through all arguments
    analytic: float  # ⟨Jᵀ dy, v⟩, computed from the gradient of backward
    exact: float  # ⟨dy, J v⟩, computed by the complex step
    rounding: float  # the largest difference between the two sides that rounding can explain

    @property
    def gap(self):
        return abs(self.analytic - self.exact)

    @property
    def agree(self):
        return self.gap <= self.rounding < np.inf  # `rounding` is infinite or NaN for a gradient that is not finite


def sides(finding, *, zero_at=()):
    """Evaluate the adjoint identity along a random direction v through one argument.

    `finding` (judgement.Finding) has the argument and its gradient. The entries of v are 0 at the flat indices
    `zero_at`. All others have the same scale, so that the expected difference between the sides is proportional to the
    norm of the error. Raises NotComplexSafe if the complex step does not apply.
    """
    run, i, array = finding.run, finding.position, finding.array
    v = np.min(scales_of(array)) * finding.rng.standard_normal(array.shape)
    v.flat[np.asarray(zero_at, dtype=np.intp)] = 0.0
    both = _sides(run, finding.step, {i: v}, v)
    most = RESOLVED * run.rounding
    if not both.agree and both.gap <= both.rounding + most < np.inf:
        return both._replace(rounding=both.rounding + min(most, _rounding_along(run, i, v, both.exact)))
    return both


def sides_of_all(run, step, rng):
    """Evaluate the adjoint identity along one random direction through all arguments."""
    arrays = [argument.array for argument in run.arguments]
    directions = {i: scales_of(array) * rng.standard_normal(array.shape) for i, array in enumerate(arrays)}
    return _sides(run, step, directions, None)


def _sides(run, step, directions, v):
    exact = float(np.sum(run.dy * step.along(directions)))  # (1)
    with np.errstate(all="ignore"):  # gradients may be infinite or NaN
        products = [run.gradients[i] * along for i, along in directions.items()]
        size = float(sum(np.sum(np.abs(product)) for product in products))
        return Sides(v, float(sum(map(np.sum, products))), exact, IDENTITY * size)


def _rounding_along(run, i, v, exact):
    changes = []
    for gradients, step in perturbed_runs(run):
        changes.append(abs(float(np.sum(run.dy * step.along({i: SHORTENED * v}))) / SHORTENED - exact))
        change = (gradients[i] - run.gradients[i]) * v
        changes += [abs(float(np.sum(change))), float(np.linalg.norm(change))]
    return FACTOR * max(changes)


def perturbed_runs(run, *, mirrored=False):
    """Run both passes at PLACES perturbed arguments, and at the opposite ones if `mirrored`.

    Returns a list of (gradients, ComplexStep).
    """
    arrays, rng, places = [argument.array for argument in run.arguments], np.random.default_rng(0), []
    for _ in range(PLACES):
        nudges = [NUDGE * rng.choice((-1.0, 1.0), size=array.shape) for array in arrays]
        for side in (1, -1) if mirrored else (1,):
            with displaced(arrays, [a * (1 + side * nudge) for a, nudge in zip(arrays, nudges, strict=True)]):
                gradients = gradients_of(run.call, run.arguments, run.dy)
                y = np.array(run.call.evaluate()[0])
                places.append((gradients, ComplexStep(run.call, run.arguments, y)))
    return places
