"""The adjoint identity, which checks all entries of a gradient at once.

The Jacobian J maps a small change v of the inputs to the change of the output. The backward pass is its adjoint Jᵀ.
Therefore, for every function, dy and v,

    ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩                                          (1)

The left side comes from the complex step (complex_step.py), that is, from one forward pass at x + ihv. The right side
is the inner product of backward's gradient and v. If v is random, an error e in the gradient is missed only if ⟨e, v⟩
happens to vanish. Both sides are exact to rounding, about thirteen digits. This precision makes up for comparing only
one number: of ten million entries, a single wrong one changes (1) in about its fourth digit.

If both sides are zero up to rounding, they may differ by more than the identity allows. In this case
refine/rounding.py measures how much of the difference is rounding.
"""

from dataclasses import dataclass, replace

import numpy as np

from gradcheck.central_differences import scales_of

RESOLVED = 1e-2  # error of the complex step, which subtracts nothing, as a fraction of the bound on rounding errors
IDENTITY = 1e-12  # the relative error allowed in (1), as a fraction of Σ|dx v|


@dataclass(frozen=True)
class Sides:
    """Both sides of (1) along v: `analytic` = ⟨Jᵀ dy, v⟩ and `exact` = ⟨dy, J v⟩.

    `size` is Σ|dx v|, and `rounding` the largest difference of the two sides that rounding explains.
    """

    v: np.ndarray | None
    analytic: float
    exact: float
    size: float
    rounding: float

    @property
    def gap(self):
        """Return the absolute difference of the two sides."""
        return abs(self.analytic - self.exact)

    @property
    def agree(self):
        """Return True if the identity holds up to rounding."""
        return self.gap <= self.rounding


def sides(run, step, i, rng, *, zero_at=()):
    """Return the Sides along a random direction v through argument i.

    v is 0 at the entries `zero_at`. All other entries have the same scale, so that the difference of the sides is
    proportional to the norm of the error. Raises NotComplexSafe.
    """
    v = np.min(scales_of(run.arguments[i].array)) * rng.standard_normal(run.arguments[i].array.shape)
    v.flat[np.asarray(zero_at, dtype=np.intp)] = 0.0
    both = _sides(run, step, {i: v}, v)
    most = RESOLVED * run.rounding
    if not both.agree and both.gap <= both.rounding + most:
        from gradcheck.refine.rounding import rounding_along

        return replace(both, rounding=both.rounding + min(most, rounding_along(run, i, v, both.exact)))
    return both


def sides_of_all(run, step, rng):
    """Return the Sides along one random direction through all arguments.

    Each argument is perturbed by its own scales, so the result has no `v`. One evaluation shows whether any
    gradient is wrong. Raises NotComplexSafe.
    """
    directions = {
        i: scales_of(argument.array) * rng.standard_normal(argument.array.shape)
        for i, argument in enumerate(run.arguments)
    }
    return _sides(run, step, directions, None)


def _sides(run, step, directions, v):
    exact = float(np.sum(run.dy * step.along(directions)))  # (1)
    with np.errstate(all="ignore"):  # gradients may be infinite or NaN
        products = [run.gradients[i] * along for i, along in directions.items()]
        size = float(sum(np.sum(np.abs(product)) for product in products))
        return Sides(v, float(sum(map(np.sum, products))), exact, size, IDENTITY * size)
