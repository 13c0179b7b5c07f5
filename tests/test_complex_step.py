"""Every backward pass against the complex step, exact to rounding, in one direction through all arguments at once.

For an analytic f, f(x + ihv) = f(x) + ih · J v + O(h²). With h = 1e-30 the square is lost in rounding and nothing is
subtracted, so Im f / h is J v to machine precision. Then ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ compares every entry of every input
and parameter with backward's Jᵀ dy. It holds only for a forward pass that neither conjugates nor takes moduli, which is
the rule that the forward passes of minitransformer follow.
"""

import numpy as np
import pytest

from gradcheck import Call, Case
from gradcheck.call import parameters_of
from minitransformer.cases import CASES
from minitransformer.module import Parameter, is_differentiable

STEP = 1e-30


def both_sides(case, seed):
    """Return (y, complex y, ⟨Jᵀ dy, v⟩, ⟨dy, J v⟩, ‖Jᵀ dy‖ ‖v‖) for a random dy and direction v."""
    rng = np.random.default_rng(seed)
    call = case.call(rng)
    y, backward = call.evaluate()
    dy = rng.normal(size=np.shape(y))
    returned = backward(dy)
    inputs = [i for i, value in enumerate(call.inputs) if is_differentiable(value)]
    parameters = parameters_of(call.target).values()
    gradients = [*(returned if isinstance(returned, tuple) else [returned])][: len(inputs)]
    gradients += [parameter.grad for parameter in parameters]
    v = [rng.normal(size=gradient.shape) for gradient in gradients]

    moved = list(call.inputs)
    for i, direction in zip(inputs, v[: len(inputs)], strict=True):
        moved[i] = moved[i] + 1j * STEP * direction
    for parameter, direction in zip(parameters, v[len(inputs) :], strict=True):
        parameter.data = parameter.data + 1j * STEP * direction
    y_complex, _ = Call(call.target, *moved, **call.options).evaluate()

    analytic = sum(np.vdot(gradient, direction) for gradient, direction in zip(gradients, v, strict=True))
    numeric = np.sum(dy * np.imag(y_complex)) / STEP
    scale = np.sqrt(sum(np.vdot(g, g) for g in gradients) * sum(np.vdot(u, u) for u in v))
    return y, y_complex, analytic, numeric, scale


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_directional_derivative_through_all_inputs_and_parameters_is_exact(case, seed):
    y, y_complex, analytic, numeric, scale = both_sides(case, seed)
    assert scale > 0
    assert abs(analytic - numeric) <= 1e-12 * scale
    assert np.allclose(np.real(y_complex), y, rtol=1e-12, atol=1e-12)


def cubic(bug=None):
    """A function of an array and a Parameter: right, not complex-safe, or with a gradient not quite right."""
    weight = Parameter(np.zeros(3))

    class Cubic:
        def named_parameters(self):
            yield "weight", weight

        def __call__(self, x):
            w = weight.data
            square = np.abs(x) ** 2 if bug == "modulus" else x.conj() * x if bug == "conjugate" else x * x
            y = w * square

            def backward(dy):
                weight.accumulate(dy * square.real)
                return dy * 2 * (x * w if bug != "off by 1e-11" else x * w * (1 + 1e-11))

            return y, backward

    return Case("cubic", lambda rng: Call(Cubic(), rng.normal(size=3)))


@pytest.mark.parametrize(
    "bug, is_seen", [(None, False), ("modulus", True), ("conjugate", True), ("off by 1e-11", True)]
)
def test_an_unsafe_forward_and_a_slightly_wrong_backward_are_seen(bug, is_seen):
    _, _, analytic, numeric, scale = both_sides(cubic(bug), 0)
    assert (abs(analytic - numeric) > 1e-12 * scale) == is_seen
