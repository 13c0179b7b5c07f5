"""Every gradient of a whole model at once: the adjoint identity.

J takes a small move v of all inputs and parameters to the move of the output; backward is its adjoint Jᵀ. So for any dy
and v, whatever the function,

    ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩                                          (1)

The left side comes from the complex step (complex_step.py): one forward pass with x + ihv in the place of x, all
arguments moved together. The right side is backward's gradients, each times its part of v, added up. With v random,
an error e in the gradients escapes only if ⟨e, v⟩ happens to vanish. Both sides are exact to rounding, some thirteen
digits, which makes up for there being only one number for ten million entries: a single wrong one changes (1) in its
fourth digit or so.

Where (1) fails, it is tried for each argument by itself, which tells whose gradient is wrong. Which entries, and why,
is then a matter for `check` on the component that it belongs to.
"""

from gradcheck.call import Call
from gradcheck.checking import check_call


def adjoint(target, /, *inputs, dy=None, seed=0, randomize=True, **options):
    """Check every gradient of a function or module by the adjoint identity. Returns a Report; raises as `check` does.

    The same as `check` or `check_module` with `oracles=("adjoint",)`, for either: one forward pass in complex numbers,
    besides those that find out whether the function keeps its contract. Raises ValueError, with the reason, if
    the forward pass is not complex-safe.
    """
    call = Call(target, *inputs, **options)
    return check_call(call, dy=dy, seed=seed, oracles=("adjoint",), randomize=randomize)  # (1)
