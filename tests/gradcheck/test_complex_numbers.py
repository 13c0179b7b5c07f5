"""Gradients of complex arrays: both conventions, functions that are not holomorphic, and real inputs too."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from gradcheck import GradientError, check, check_module
from gradcheck.adapters import (
    from_complex,
    from_derivative,
    from_jacobian,
    from_layer,
    from_nested,
    from_value_and_gradient,
)


def drawn(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def power(z, *, conjugate=True):
    """z³, which is holomorphic, with its gradient in the convention of PyTorch, or in that of JAX."""
    slope = 3 * z**2
    return z**3, lambda dy: dy * (slope.conj() if conjugate else slope)


def modulus(z, w):
    """|z|² · w for a real w, which is not holomorphic and has a real y."""
    return abs(z) ** 2 * w, lambda dy: (2 * z * w * dy, abs(z) ** 2 * dy)


def test_the_conventions_of_pytorch_and_jax_are_those_of_the_frameworks(torch):
    z, dy = drawn(4), drawn(4, seed=1)
    leaf = torch.tensor(z, requires_grad=True)
    (leaf**3).backward(torch.tensor(dy))
    np.testing.assert_allclose(power(z)[1](dy), leaf.grad.numpy(), rtol=1e-13)
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        (dz,) = jax.vjp(lambda z: z**3, z)[1](jax.numpy.asarray(dy))
    np.testing.assert_allclose(power(z, conjugate=False)[1](dy), np.asarray(dz), rtol=1e-13)


def test_a_gradient_is_right_in_its_own_convention_and_wrong_in_the_other():
    z = drawn(2, 3)
    report = check(power, z)
    assert [argument.name for argument in report.arguments] == ["z.real", "z.imag"]
    assert check(from_complex(power, convention="jax"), z, conjugate=False).is_right
    for function, conjugate in ((power, False), (from_complex(power, convention="jax"), True)):
        with pytest.raises(GradientError, match=r"dz\.real: 6 of 6 entries disagree"):
            check(function, z, conjugate=conjugate)


@given(st.integers(0, 99), st.sampled_from(["torch", "jax"]))
def test_functions_that_are_not_holomorphic_are_checked_with_real_inputs_beside(seed, convention):
    z, w = drawn(5, seed=seed), np.random.default_rng(seed).normal(size=5)

    def in_convention(z, w):
        y, backward = modulus(z, w)
        return y, lambda dy: tuple(g.conj() if convention == "jax" else g for g in backward(dy))

    assert check(from_complex(in_convention, convention=convention), z, w).is_right
    with pytest.raises(GradientError, match=r"dz\.imag"):
        check(from_complex(lambda z, w: (modulus(z, w)[0], lambda dy: (2 * z.real * w * dy, abs(z) ** 2 * dy))), z, w)


def test_a_complex_y_of_a_real_input_is_checked():
    def turned(t):
        y = np.exp(1j * t)
        return y, lambda dy: (dy * (1j * y).conj()).real

    t = np.random.default_rng(0).normal(size=3)
    assert check(from_complex(turned), t).is_right
    with pytest.raises(GradientError, match="the gradient of the real input t has an imaginary part"):
        check(from_complex(lambda t: (turned(t)[0], lambda dy: dy * (1j * np.exp(1j * t)).conj())), t)


def test_argnums_and_dy_are_those_of_the_complex_arrays():
    z, w = drawn(3), drawn(3, seed=1)

    def product(z, w):
        return z * w, lambda dy: (dy * w.conj(), 5 * dy * z.conj())

    assert check(product, z, w, argnums=0, dy=drawn(3, seed=2)).is_right
    with pytest.raises(GradientError, match=r"dw\.real"):
        check(product, z, w, argnums=1)


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="convention must be 'torch' or 'jax', not 'numpy'"):
        from_complex(power, convention="numpy")


Z = drawn(3)


def test_complex_derivatives_and_jacobians_are_those_of_holomorphic_functions():
    for adapter, slope in ((from_derivative, np.exp), (from_jacobian, lambda z: np.diag(np.exp(z)))):
        assert check(adapter(np.exp, slope), Z).is_right
        assert not check(adapter(np.exp, lambda z, slope=slope: slope(z).conj()), Z, raises=False).is_right
    assert check(from_value_and_gradient(lambda z: float(np.sum(abs(z) ** 2)), lambda z: 2 * z), Z).is_right


@pytest.mark.parametrize("is_right", [True, False])
def test_complex_parameters_and_nested_inputs_of_a_layer_are_checked(is_right):
    class Scale:
        def __init__(self):
            self.W, self.dW = Z.copy(), np.zeros_like(Z)

        def forward(self, inputs):
            self.x = inputs["x"]
            return self.x * self.W

        def backward(self, dy):
            self.dW = dy * (self.x.conj() if is_right else self.x)
            return {"x": dy * self.W.conj()}

    layer = Scale()
    before = layer.W
    report = check_module(*from_nested(from_layer(layer), {"x": 1 + Z}), raises=False)
    assert layer.W is before and {a.name: a.is_right for a in report.arguments} == {
        "inputs['x'].real": True,
        "inputs['x'].imag": True,
        "W.real": is_right,
        "W.imag": is_right,
    }
