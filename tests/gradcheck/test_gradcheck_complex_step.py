"""The complex step: as an oracle, in the adjoint identity, in the Jacobian, and if it does not apply."""

import functools
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose
from verdicts import check, check_module, normal, verdict, verdicts

from gradcheck import GradientError, adjoint, jacobian
from minitransformer import Config, Transformer


def cubic(x, w, *, factor=1.0):
    return x * x * x * w, lambda dy: (factor * 3 * x * x * w * dy, x * x * x * dy)


def unsafe(y_of, slope_of):
    """A right gradient of a function y_of(x) that is not complex-safe."""

    def function(x, *, factor=1.0):
        return y_of(x), lambda dy: factor * slope_of(x) * dy

    return function


UNSAFE = {
    "raises": (
        unsafe(np.cbrt, lambda x: np.cbrt(x) / (3 * x)),
        "on complex arguments it raises TypeError: ufunc 'cbrt'",
    ),
    "real output": (unsafe(np.abs, np.sign), "for complex arguments y is float64: the imaginary part is lost"),
    "cast": (unsafe(lambda x: x.astype(float) ** 2, lambda x: 2 * x), "it casts to real"),
    "modulus": (
        unsafe(lambda x: np.abs(x) * x, lambda x: 2 * np.abs(x)),
        r"in x .* the complex step gives \S+, central diff",
    ),
    "conjugate": (
        unsafe(lambda x: np.conj(x) * x, lambda x: 2 * x),
        r"in x .* the complex step gives \S+, central diff",
    ),
    "infinite": (unsafe(lambda x: np.where(np.imag(x) == 0, x * x, np.nan), lambda x: 2 * x), "y is not finite"),
    "another value": (
        unsafe(lambda x: x * x + 1.0 * np.any(np.imag(x) != 0), lambda x: 2 * x),
        "the real part of y changes by up to 1",
    ),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_forward_pass_is_checked_by_central_differences_and_the_report_says_why(name):
    function, reason = UNSAFE[name]
    report = check(function, normal(3, 4))
    assert report["x"].verdict == "right"
    assert any("the complex step does not apply" in note and re.search(reason, note) for note in report.notes)
    assert "note: the complex step does not apply" in str(report)
    with pytest.raises(GradientError, match=r"dx: 12 of 12 entries disagree; .* central differences give"):
        check(function, normal(3, 4), factor=3.0)


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("oracle", ["complex", "adjoint"])
def test_an_unsafe_forward_pass_is_refused_if_nothing_but_the_complex_step_is_asked_for(name, oracle):
    function, reason = UNSAFE[name]
    with pytest.raises(ValueError, match=f"the forward pass is not complex-safe: .*{reason}.*Omit `oracles`"):
        check(function, normal(3, 4), oracles=oracle)


@pytest.mark.parametrize(
    "oracles", [None, "central", "complex", "adjoint", ("central", "adjoint"), ("complex", "adjoint")]
)
def test_every_choice_of_oracles_calls_right_right_and_wrong_wrong(oracles):
    inputs = normal(2, 3), normal(2, 3, seed=1)
    assert verdicts(cubic, *inputs, oracles=oracles) == {"x": "right", "w": "right"}
    assert verdicts(cubic, *inputs, oracles=oracles, factor=1.001) == {"x": "WRONG", "w": "right"}


def test_the_complex_step_alone_names_itself_and_knows_twelve_digits():
    with pytest.raises(GradientError, match=r"backward gives .*, the complex step gives"):
        check(cubic, normal(2), normal(2), oracles="complex", factor=1.001)
    argument = check(cubic, normal(2), normal(2), oracles="complex")["x"]
    assert argument.oracle == "the complex step" and argument.worst_absolute < 1e-14 and argument.uncertainty < 1e-11


def test_what_central_differences_cannot_see_for_noise_the_complex_step_decides():
    def drowned(x):
        return 1e12 + np.sin(x), lambda dy: np.cos(x) * dy

    with pytest.raises(GradientError, match=r"dx: cannot tell at .*: the output jumps here, or its rounding errors"):
        check(drowned, np.array([0.3, 0.4]), oracles="central")
    assert check(drowned, np.array([0.3, 0.4]), oracles="complex").is_right


# The adjoint identity


@pytest.fixture
def model():
    return Transformer(Config(vocab_size=20, context=8, d_model=16, n_heads=2, n_layers=2), seed=0)


IDS = np.random.default_rng(0).integers(0, 20, size=(2, 6))


def test_every_gradient_of_a_model_is_checked_by_one_complex_forward_pass(model):
    calls, before = [], [parameter.data for parameter in model.parameters()]

    class Counted:
        named_parameters = model.named_parameters

        def __call__(self, ids):
            calls.append(next(iter(model.parameters())).data.dtype)
            return model(ids)

    report = adjoint(Counted(), IDS)
    assert report.is_right and len(report.arguments) == len(before)
    assert calls.count(np.complex128) == 1
    assert {argument.extent for argument in report.arguments} == {"direction"}
    assert all(parameter.data is data for parameter, data in zip(model.parameters(), before, strict=True))


def test_the_one_wrong_gradient_of_a_model_is_found_by_the_adjoint_identity(model):
    wrong = dict(model.named_parameters())["blocks.1.norm2.gamma"]

    class OneWrongEntry:
        named_parameters = model.named_parameters

        def __call__(self, ids):
            y, model_backward = model(ids)

            def backward(dy):
                model_backward(dy)
                wrong.grad = wrong.grad * (1 + 1e-4 * (np.arange(16) == 3))

            return y, backward

    report = check_module(OneWrongEntry(), IDS, oracles="adjoint", raises=False)
    assert [argument.name for argument in report.arguments if not argument.is_right] == ["blocks.1.norm2.gamma"]
    assert "blocks.1.norm2.gamma.grad: a random direction through all 16 does not agree: backward gives" in str(report)


# The Jacobian


def test_the_jacobian_has_the_shape_of_y_then_of_x_and_says_how_it_was_found():
    x, w = normal(2, 3), normal(3, 4, seed=1)
    by_x, by_w = jacobian(lambda x, w: x @ w, x, w)
    assert by_x.shape == (2, 4, 2, 3) and by_w.shape == (2, 4, 3, 4)
    assert_allclose(by_x, np.einsum("ik,lj->ijkl", np.eye(2), w), atol=1e-15)
    assert_allclose(by_w, np.einsum("il,jm->ijlm", x, np.eye(4)), atol=1e-15)
    assert (by_x.name, by_x.oracle, by_x.reason, by_w.name) == ("x", "the complex step", "", "w")
    assert by_x[0].oracle == "the complex step"


def test_the_jacobian_of_a_function_with_a_backward_and_options_is_that_of_its_value():
    x = normal(4)
    assert_allclose(jacobian(cubic, x, np.ones(4), factor=7.0)[0], np.diag(3 * x * x), atol=1e-14)
    assert_allclose(jacobian(lambda x, ids: (x * x).sum(), x, np.arange(3)), 2 * x)


@pytest.mark.parametrize("name", ["raises", "real output", "cast", "modulus", "conjugate"])
def test_the_jacobian_of_an_unsafe_function_is_by_central_differences_and_says_why(name):
    function, _ = UNSAFE[name]
    found = jacobian(function, np.array([0.7, -1.3]))
    slope = {"raises": 1 / (3 * np.cbrt([0.7, -1.3]) ** 2), "real output": [1, -1]}.get(name, [1.4, -2.6])
    assert_allclose(found, np.diag(np.abs(slope) if name == "modulus" else slope), atol=1e-9)
    assert found.oracle == "central differences" and "not complex-safe" in found.reason


def test_a_jacobian_of_several_outputs_or_of_float32_is_refused():
    with pytest.raises(TypeError, match="y is a tuple of 2; it must be one float64 array"):
        jacobian(lambda x: (x, x), normal(2))
    with pytest.raises(TypeError, match="must be a plain array of float64"):
        jacobian(np.sin, normal(2).astype(np.float32))


# Where the oracles have to vouch for each other


def stopped(x, *, scale=1.0):
    """A mean square through which no derivative flows, neither in complex numbers nor in backward: truly, it does."""
    root = np.sqrt((x.real**2).mean(axis=-1, keepdims=True))
    return scale * x / root, lambda dy: scale * dy / root


@pytest.mark.parametrize("oracles", [None, ("central", "adjoint")])
@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_a_mistake_that_backward_shares_with_the_complex_step_is_found_however_small(scale, oracles):
    assert verdict(stopped, normal(3, 4), scale=scale, oracles=oracles) != "right"


@pytest.mark.parametrize("seed", range(5))
def test_a_part_that_is_not_complex_safe_is_found_where_no_sample_meets_it(seed):
    def partly(x):
        y = np.concatenate([x[:1] * np.conj(x[:1]), x[1:] ** 2])
        return y, lambda dy: 2 * x * dy * (np.arange(len(x)) > 0)[:, None]

    with pytest.raises(GradientError, match=r"all 20 sampled entries agree, but a random direction through all"):
        check(partly, normal(300, 10), max_entries=20, seed=seed)


def test_at_a_kink_the_adjoint_identity_alone_calls_nothing_right_that_it_does_not_hold_for():
    def rectified(x, *, slope=1.0):
        return np.where(x.real > 0, x, 0), lambda dy: slope * np.where(x > 0, dy, 0)

    x = normal(3, 4) * (np.arange(12).reshape(3, 4) > 0)
    assert adjoint(rectified, x).is_right
    with pytest.raises(GradientError, match="jumps here, at a kink of at least one of them") as caught:
        adjoint(rectified, x, slope=0.0)
    assert caught.value.report["x"].verdict == "CANNOT TELL"


@pytest.mark.parametrize("seed", range(6))
def test_several_kinks_that_no_sample_meets_leave_nothing_wrong(seed):
    def maximum(x):  # for complex numbers NumPy's goes by the imaginary part at a kink
        return np.maximum(x, 0), lambda dy: dy * (x > 0)

    x = np.where(np.arange(300).reshape(10, 30) % 3, 0, 1.0)
    assert verdict(maximum, x, max_entries=4, seed=seed) == "CANNOT TELL"


@pytest.mark.parametrize("seed", range(5))
def test_a_small_output_that_is_not_complex_safe_is_refused_and_not_called_wrong(seed):
    with pytest.raises(ValueError, match="the forward pass is not complex-safe"):
        adjoint(lambda x: (1e-9 * x * np.conj(x), lambda dy: 2e-9 * x * dy), normal(3, 4), seed=seed)


def test_the_square_that_a_complex_step_leaves_of_a_zero_is_no_error_and_large_gradients_give_no_warning():
    assert verdict(lambda x: (x**3, lambda dy: 3 * x * x * dy), np.zeros(3)) == "right"
    assert adjoint(lambda x: (1e155 * x, lambda dy: 1e155 * dy), normal(3, 4)).is_right


@pytest.mark.parametrize("seed", range(3))
def test_without_the_identity_a_sample_is_no_proof(seed):
    def spoilt(x, *, scale, error):
        def backward(dy):
            dx = scale * np.cos(x) * dy
            dx.flat[17] += error * np.linalg.norm(dx)
            return dx

        return scale * np.sin(x), backward

    options = {"max_entries": 3, "seed": seed, "oracles": ("central", "complex")}
    for scale in (1.0, 1e-9):
        assert verdict(functools.partial(spoilt, scale=scale, error=3e-6), normal(20, 30), **options) != "right"
    assert verdict(functools.partial(spoilt, scale=1.0, error=0.0), normal(20, 30), **options) == "right"
