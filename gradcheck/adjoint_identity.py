"""All entries of a gradient at once: the adjoint identity.

J takes a small move v of the inputs to the move of the output; backward is its adjoint Jᵀ. So for any dy and v,
whatever the function,

    ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩                                          (1)

The left side comes from the complex step (complex_step.py): one forward pass with x + ihv in the place of x. The right
side is backward's gradient, times v, added up. With v random, an error e in the gradient escapes only if ⟨e, v⟩ happens
to vanish. Both sides are exact to rounding, some thirteen digits, which makes up for there being only one number for
however many entries: of ten million, a single wrong one changes (1) in its fourth digit or so.

Both sides may be the rounding of a zero. Where they agree to less than the identity asks for, what rounding may have
left in them is measured (rounding.py).
"""

from dataclasses import dataclass, replace

import numpy as np

from gradcheck.central_differences import scales_of
from gradcheck.rounding import RESOLVED, rounding_along

IDENTITY = 1e-12  # to which (1) holds, of Σ|dx v|


@dataclass(frozen=True)
class Sides:
    """Both sides of (1) along v: `analytic` = ⟨Jᵀ dy, v⟩, `exact` = ⟨dy, J v⟩, and what rounding lets them differ by.

    `size` is Σ|dx v|.
    """

    v: np.ndarray | None
    analytic: float
    exact: float
    size: float
    rounding: float

    @property
    def gap(self):
        """How far the two sides are apart."""
        return abs(self.analytic - self.exact)

    @property
    def agree(self):
        """Whether the identity holds."""
        return self.gap <= self.rounding


def sides(run, step, i, rng, *, zero_at=()):
    """Return the Sides along a random direction v through argument i, v being 0 at the entries `zero_at`.

    v is as long for every entry, so that the gap is in proportion to the norm of the error. Raises NotComplexSafe.
    """
    v = np.min(scales_of(run.arguments[i].array)) * rng.standard_normal(run.arguments[i].array.shape)
    v.flat[np.asarray(zero_at, dtype=np.intp)] = 0.0
    both = _sides(run, step, {i: v}, v)
    most = RESOLVED * run.rounding
    if not both.agree and both.gap <= both.rounding + most:
        return replace(both, rounding=both.rounding + min(most, rounding_along(run, i, v, both.exact)))
    return both


def sides_of_all(run, step, rng):
    """Return the Sides along one random direction through all arguments, each moved by its own scales; v is None.

    One evaluation tells of all gradients whether one of them is wrong. Raises NotComplexSafe.
    """
    directions = {
        i: scales_of(argument.array) * rng.standard_normal(argument.array.shape)
        for i, argument in enumerate(run.arguments)
    }
    return _sides(run, step, directions, None)


def _sides(run, step, directions, v):
    exact = float(np.sum(run.dy * step.along(directions)))  # (1)
    with np.errstate(all="ignore"):  # backward may give what is not finite
        products = [run.gradients[i] * along for i, along in directions.items()]
        size = float(sum(np.sum(np.abs(product)) for product in products))
        return Sides(v, float(sum(map(np.sum, products))), exact, size, IDENTITY * size)
