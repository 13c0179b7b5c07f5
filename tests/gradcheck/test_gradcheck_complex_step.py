"""The complex step: as an oracle, in the adjoint identity, in the Jacobian, and if it does not apply."""

import functools
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose
from verdicts import check, check_call, check_module

import gradcheck
from gradcheck import Call, GradientError, jacobian
from gradcheck.complex_step import ComplexStep, NotComplexSafe
from gradcheck.contract import arguments_of
from minitransformer import Config, Transformer
from minitransformer.cases import CASES


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def cubic(x, w, *, factor=1.0):
    def backward(dy):
        return factor * 3 * x * x * w * dy, x * x * x * dy

    return x * x * x * w, backward


def unsafe(y_of, slope_of, dtype=None):
    """A right gradient of a function y_of(x) that is not complex-safe."""

    def function(x, *, factor=1.0):
        def backward(dy):
            return factor * slope_of(x) * dy

        return y_of(x), backward

    return function


UNSAFE = {
    "raises": (
        unsafe(np.cbrt, lambda x: np.cbrt(x) / (3 * x)),
        "on complex arguments it raises TypeError: ufunc 'cbrt'",
    ),
    "real output": (unsafe(np.abs, np.sign), "for complex arguments y is float64: the imaginary part is lost"),
    "cast": (
        unsafe(lambda x: x.astype(float) ** 2, lambda x: 2 * x),
        "it casts to real",
    ),
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


def steps_of(function, *inputs):
    call = Call(function, *inputs)
    y, _ = call.evaluate()
    return ComplexStep(call, arguments_of(call), np.array(y))


@pytest.mark.parametrize("seed", range(20))
def test_polynomials_are_differentiated_to_rounding(seed):
    x, *coefficients = normal(7, seed=seed)
    polynomial = np.polynomial.Polynomial(coefficients)
    step = steps_of(lambda x: (polynomial(x), None), np.array([x]))
    size = np.polynomial.Polynomial(np.abs(coefficients)).deriv()(abs(x))
    assert abs(step.along_entry(0, (0,), 1.0)[0] - polynomial.deriv()(x)) <= 1e-14 * size


@pytest.mark.parametrize("scale", [1e-8, 1.0, 2.0**20])
def test_the_derivative_does_not_depend_on_the_scale_of_the_step(scale):
    step = steps_of(lambda x: (np.exp(x), None), np.array([0.7, 1.0]))
    assert_allclose(step.along_entry(0, (1,), scale), [0.0, np.e], rtol=1e-15)


def test_a_direction_through_all_arguments_adds_their_parts_and_leaves_them_as_they_were():
    x, w = normal(2, 3), normal(2, 3, seed=1)
    step = steps_of(cubic, x, w)
    v, u = normal(2, 3, seed=2), normal(2, 3, seed=3)
    assert_allclose(step.along({0: v, 1: u}), 3 * x * x * w * v + x**3 * u, rtol=1e-14)
    assert_allclose(step.along({1: u}), x**3 * u, rtol=1e-14)


@pytest.mark.parametrize("name", UNSAFE)
def test_a_right_gradient_of_an_unsafe_forward_pass_is_right_and_never_blamed(name):
    function, _ = UNSAFE[name]
    report = check(function, normal(3, 4))
    assert report["x"].verdict == "right"


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_forward_pass_is_said_to_be_so_plainly(name):
    function, reason = UNSAFE[name]
    report = check(function, normal(3, 4))
    assert any("the complex step does not apply" in note and re.search(reason, note) for note in report.notes)
    assert "note: the complex step does not apply" in str(report)


@pytest.mark.parametrize("name", UNSAFE)
def test_a_wrong_gradient_of_an_unsafe_forward_pass_is_found_by_central_differences(name):
    function, _ = UNSAFE[name]
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
    report = check(cubic, *inputs, oracles=oracles)
    assert [argument.verdict for argument in report.arguments] == ["right", "right"]
    with pytest.raises(GradientError) as caught:
        check(cubic, *inputs, oracles=oracles, factor=1.001)
    assert [argument.verdict for argument in caught.value.report.arguments] == ["WRONG", "right"]


def test_the_complex_step_alone_names_itself_and_knows_twelve_digits():
    with pytest.raises(GradientError, match=r"backward gives .*, the complex step gives"):
        check(cubic, normal(2), normal(2), oracles="complex", factor=1.001)
    argument = check(cubic, normal(2), normal(2), oracles="complex")["x"]
    assert argument.oracle == "the complex step" and argument.worst_absolute < 1e-14 and argument.uncertainty < 1e-11


def test_unknown_oracles_are_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="oracles must be among central, complex, adjoint, not 'forward'"):
        check(cubic, normal(2), normal(2), oracles=("central", "forward"))
    with pytest.raises(ValueError, match="not an empty list"):
        check(cubic, normal(2), normal(2), oracles=())


def test_what_central_differences_cannot_see_for_noise_the_complex_step_decides():
    def drowned(x, *, factor=1.0):
        def backward(dy):
            return factor * np.cos(x) * dy

        return 1e12 + np.sin(x), backward

    with pytest.raises(GradientError, match=r"dx: cannot tell at .*: the output jumps here, or its rounding errors"):
        check(drowned, np.array([0.3, 0.4]), oracles="central")
    assert check(drowned, np.array([0.3, 0.4]), oracles="complex").is_right


# The adjoint identity


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_adjoint_identity_holds_for_every_backward_to_twelve_digits(case):
    report = check_call(case.call(np.random.default_rng(5)), seed=5, oracles=("adjoint",))
    assert report.is_right and all(argument.entries == 0 for argument in report.arguments)
    difference = float(re.search(r"the difference is (\S+) of", report.notes[0])[1])
    assert difference <= 1e-12


def test_every_gradient_of_a_model_is_checked_by_one_complex_forward_pass():
    model = Transformer(Config(vocab_size=20, context=8, d_model=16, n_heads=2, n_layers=2), seed=0)
    calls = []

    class Counted:
        named_parameters = model.named_parameters

        def __call__(self, ids):
            calls.append(next(iter(model.parameters())).data.dtype)
            return model(ids)

    ids = np.random.default_rng(0).integers(0, 20, size=(2, 6))
    report = gradcheck.adjoint(Counted(), ids)
    assert report.is_right and len(report.arguments) == len(model.parameters())
    assert calls.count(np.complex128) == 1
    assert {argument.extent for argument in report.arguments} == {"direction"}


def test_the_one_wrong_gradient_of_a_model_is_found_by_the_adjoint_identity():
    model = Transformer(Config(vocab_size=20, context=8, d_model=16, n_heads=2, n_layers=2), seed=0)
    wrong = dict(model.named_parameters())["blocks.1.norm2.gamma"]

    class OneWrongEntry:
        named_parameters = model.named_parameters

        def __call__(self, ids):
            y, model_backward = model(ids)

            def backward(dy):
                model_backward(dy)
                grad = wrong.grad.copy()
                grad[3] *= 1.0001
                wrong.grad = grad

            return y, backward

    ids = np.random.default_rng(0).integers(0, 20, size=(2, 6))
    with pytest.raises(GradientError) as caught:
        check_module(OneWrongEntry(), ids, oracles="adjoint")
    report = caught.value.report
    assert [argument.name for argument in report.arguments if not argument.is_right] == ["blocks.1.norm2.gamma"]
    assert "blocks.1.norm2.gamma.grad: a random direction through all 16 does not agree: backward gives" in str(report)


# The Jacobian


def test_the_jacobian_has_the_shape_of_y_then_of_x_and_says_how_it_was_found():
    x, w = normal(2, 3), normal(3, 4, seed=1)
    by_x, by_w = jacobian(lambda x, w: x @ w, x, w)
    assert by_x.shape == (2, 4, 2, 3) and by_w.shape == (2, 4, 3, 4)
    assert_allclose(by_x, np.einsum("ik,lj->ijkl", np.eye(2), w), atol=1e-15)
    assert_allclose(by_w, np.einsum("il,jm->ijlm", x, np.eye(4)), atol=1e-15)
    assert (by_x.name, by_x.oracle, by_x.reason) == ("x", "the complex step", "") and by_w.name == "w"


def test_the_jacobian_of_a_function_with_a_backward_and_options_is_that_of_its_value():
    x = normal(4)
    by_x, by_w = jacobian(cubic, x, np.ones(4), factor=7.0)
    assert_allclose(by_x, np.diag(3 * x * x), atol=1e-14)
    assert_allclose(by_w, np.diag(x**3), atol=1e-14)


@pytest.mark.parametrize("name", ["raises", "real output", "cast", "modulus", "conjugate"])
def test_the_jacobian_of_an_unsafe_function_is_by_central_differences_and_says_why(name):
    function, _ = UNSAFE[name]
    found = jacobian(function, np.array([0.7, -1.3]))
    slope = {"raises": 1 / (3 * np.cbrt([0.7, -1.3]) ** 2), "real output": [1, -1]}.get(name, [1.4, -2.6])
    assert_allclose(found, np.diag(np.abs(slope) if name == "modulus" else slope), atol=1e-9)
    assert found.oracle == "central differences" and "not complex-safe" in found.reason


def test_a_jacobian_of_a_number_has_the_shape_of_x_and_integers_have_none():
    x = normal(2, 3)
    assert_allclose(jacobian(lambda x, ids: (x * x).sum(), x, np.arange(3)), 2 * x)


def test_a_jacobian_of_several_outputs_is_refused():
    with pytest.raises(TypeError, match="y must be one float64 array or number, not a tuple"):
        jacobian(lambda x: (x, x), normal(2))
    with pytest.raises(TypeError, match="must be float64"):
        jacobian(np.sin, normal(2).astype(np.float32))


def test_the_complex_step_is_never_reached_by_the_callers_parameters():
    model = Transformer(Config(vocab_size=20, context=8, d_model=16, n_heads=2, n_layers=1), seed=0)
    before = [parameter.data for parameter in model.parameters()]
    gradcheck.adjoint(model, np.array([[1, 2, 3]]))
    assert all(parameter.data is data for parameter, data in zip(model.parameters(), before, strict=True))


def test_not_complex_safe_is_raised_with_the_first_line_of_the_reason():
    def raises(x):
        if x.dtype.kind == "c":
            raise ArithmeticError("no complex numbers here\nplease")
        return x, None

    with pytest.raises(
        NotComplexSafe, match=r"on complex arguments it raises ArithmeticError: no complex numbers here$"
    ):
        steps_of(raises, normal(2)).along({0: normal(2)})


# Where the oracles have to vouch for each other


def stopped(x, *, scale=1.0):
    """A mean square through which no derivative flows, neither in complex numbers nor in backward: truly, it does."""
    root = np.sqrt((x.real**2).mean(axis=-1, keepdims=True))

    def backward(dy):
        return scale * dy / root

    return scale * x / root, backward


@pytest.mark.parametrize("oracles", [None, ("central", "adjoint")])
@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_a_mistake_that_backward_shares_with_the_complex_step_is_found_however_small(scale, oracles):
    with pytest.raises(GradientError):
        check(stopped, normal(3, 4), scale=scale, oracles=oracles)


def test_a_part_that_is_not_complex_safe_is_found_where_no_sample_meets_it():
    def partly(x):
        def backward(dy):
            dx = 2 * x * dy
            dx[:1] = 0
            return dx

        return np.concatenate([x[:1] * np.conj(x[:1]), x[1:] ** 2]), backward

    for seed in range(5):
        with pytest.raises(GradientError, match=r"all 20 sampled entries agree, but a random direction through all"):
            check(partly, normal(300, 10), max_entries=20, seed=seed)


def rectified(x, *, slope=1.0):
    return np.where(x.real > 0, x, 0), lambda dy: slope * np.where(x > 0, dy, 0)


def test_at_a_kink_the_adjoint_identity_alone_calls_nothing_right_that_it_does_not_hold_for():
    x = normal(3, 4)
    x[0, 0] = 0
    assert gradcheck.adjoint(rectified, x).is_right
    with pytest.raises(GradientError, match="jumps here, at a kink of at least one of them") as caught:
        gradcheck.adjoint(rectified, x, slope=0.0)
    assert caught.value.report["x"].verdict == "CANNOT TELL"


def test_several_kinks_that_no_sample_meets_leave_nothing_wrong():
    def maximum(x):  # for complex numbers NumPy's goes by the imaginary part at a kink
        return np.maximum(x, 0), lambda dy: dy * (x > 0)

    x = np.where(np.arange(300).reshape(10, 30) % 3, 0, 1.0)
    for seed in range(6):
        with pytest.raises(GradientError) as caught:
            check(maximum, x, max_entries=4, seed=seed)
        assert caught.value.report["x"].verdict == "CANNOT TELL"


@pytest.mark.parametrize("seed", range(5))
def test_a_small_output_that_is_not_complex_safe_is_refused_and_not_called_wrong(seed):
    def small(x):
        return 1e-9 * x * np.conj(x), lambda dy: 2e-9 * x * dy

    with pytest.raises(ValueError, match="the forward pass is not complex-safe"):
        gradcheck.adjoint(small, normal(3, 4), seed=seed)


def test_the_square_that_a_complex_step_leaves_of_a_zero_is_no_error():
    assert check(lambda x: (x**3, lambda dy: 3 * x * x * dy), np.zeros(3)).is_right


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
        with pytest.raises(GradientError):
            check(functools.partial(spoilt, scale=scale, error=3e-6), normal(20, 30), **options)
    assert check(functools.partial(spoilt, scale=1.0, error=0.0), normal(20, 30), **options).is_right


def test_names_and_counts_that_are_none_are_refused():
    with pytest.raises(TypeError, match=r"oracles must be .*'central', not 3"):
        check(cubic, normal(2), normal(2), oracles=3)
    with pytest.raises(TypeError, match="max_entries must be a whole number of at least 1, not True"):
        check(cubic, normal(2), normal(2), max_entries=True)


def test_a_large_gradient_is_checked_without_a_warning():
    assert gradcheck.adjoint(lambda x: (1e155 * x, lambda dy: 1e155 * dy), normal(3, 4)).is_right
