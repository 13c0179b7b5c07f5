"""Refused arguments, and faults of a backward pass: each message names the value found and the values allowed."""

import re

import numpy as np
import pytest
from verdicts import Scale, normal

from gradcheck import GradientError, adjoint, check, check_module, steps
from gradcheck.adapters import from_pair


def square(x):
    return x * x, lambda dy: 2 * x * dy


class Layer:
    def forward(self, x):
        return x

    def backward(self, dy):
        return dy


X, NUMBER = normal(2, 3), np.array(1.5)
RANDOM = np.random.default_rng(0)
FUNCTIONS = {  # kind of result: (the function, key words of the message)
    "an array": (lambda x: x * x, "returned an array of float64; .* a pair .*from_derivative"),
    "a number": (lambda x: 2.0, "returned a float; .* a pair .*from_value_and_gradient"),
    "three": (lambda x: (x, x, x), "returned a tuple of 3; .* a pair .*from_pair"),
    "a gradient": (lambda x: (x * x, 2 * x), "returned a tuple of 2; .* function of dy; .*from_derivative"),
    "a list": (lambda x: ([1.0], lambda dy: dy), "y is a list of 1; it must be one float64 array or number"),
    "several": (lambda x: ((x, x), lambda dy: dy), "y is a tuple of 2; .* from_nested"),
    "booleans": (lambda x: (x > 0, lambda dy: dy), "y is an array of bool; it must be one float64 array"),
    "a wrong signature": (lambda x: (x, lambda dy, cache: dy), r"backward must take dy alone; .* from_pair"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_returns_no_pair_is_refused_with_the_adapter_that_helps(name):
    function, message = FUNCTIONS[name]
    with pytest.raises(TypeError, match=message):
        check(function, X)


INPUTS = {
    "longdouble": ((X.astype(np.longdouble),), TypeError, "must be a plain array of float64, not an array of "),
    "integers": ((np.arange(3),), ValueError, r"nothing to differentiate: .*int64.*such as np\.array\(1\.5\)"),
    "a number": ((1.5,), ValueError, "nothing to differentiate: .*float"),
    "nested": (({"W": X},), ValueError, "nothing to differentiate: .*dict.* see from_nested"),
    "nothing": ((), ValueError, "nothing to differentiate: .*none"),
    "NaN": ((np.array([[1.0, np.nan]]),), ValueError, r"is not finite: nan at \[0, 1\] \(1 of 2 entries\)"),
    "a masked array": ((np.ma.MaskedArray(X),), TypeError, "must be a plain array of float64, not a MaskedArray"),
    "a matrix": ((X.view(np.matrix),), TypeError, "must be a plain array of float64, not a matrix"),
}


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("name", INPUTS)
def test_inputs_that_cannot_be_checked_are_refused(name):
    inputs, error, message = INPUTS[name]
    with pytest.raises(error, match=message):
        check(lambda *x: (np.sum(x[0]) if x else 1.0, lambda dy: ()), *inputs)


SETTINGS = {
    "rtol text": ({"rtol": "small"}, TypeError, "rtol must be a number of at least 0, not 'small'"),
    "atol NaN": ({"atol": np.nan}, ValueError, "atol must be .*, not nan"),
    "no entries": ({"max_entries": 0}, ValueError, "max_entries must be a whole number of at least 1, not 0"),
    "half an entry": ({"max_entries": 2.5}, TypeError, r"max_entries must be .*, not 2\.5"),
    "seed -1": ({"seed": -1}, ValueError, "seed must be a whole number of at least 0, not -1"),
    "oracle": ({"oracles": "forward"}, ValueError, "oracles must be among central, complex, adjoint, not 'forward'"),
    "no oracle": ({"oracles": ()}, ValueError, r"oracles must be among .*, not \(\)"),
    "dy zeros": ({"dy": np.zeros((2, 3))}, ValueError, "every entry of dy is 0"),
    "dy constant": ({"dy": np.full((2, 3), -2.5)}, ValueError, r"every entry of dy is -2\.5; dy must not be constant"),
    "dy shape": ({"dy": normal(3, 2)}, ValueError, r"dy has shape \(3, 2\), but y has \(2, 3\)"),
    "dy complex": ({"dy": X * 1j}, TypeError, "dy is complex128; it must be an array of real numbers"),
    "dy NaN": ({"dy": X * np.nan}, ValueError, r"dy is not finite: nan at \[0, 0\] \(6 of 6 entries\)"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_mean_nothing_are_refused_in_one_line(name):
    options, error, message = SETTINGS[name]
    with pytest.raises(error, match=f"{message}[^\n]*$"):
        check(square, X, **options)


@pytest.mark.parametrize("dy", [1, 0.0])
def test_a_single_dy_of_one_or_zero_is_refused(dy):
    with pytest.raises(ValueError, match="A backward that returns zeros, or that ignores dy, might pass"):
        check(square, NUMBER, dy=dy)
    assert check(square, NUMBER, dy=0.7, seed=np.int64(3), max_entries=np.int64(2)).is_right


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_output_that_is_not_finite_or_not_repeated_is_refused():
    with pytest.raises(ValueError, match=r"the output is not finite: -inf at \[1\] \(1 of 2 entries\)"):
        check(lambda x: (np.log(x), lambda dy: dy / x), np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"is not deterministic: .* Pass the random generator as an input or option"):
        check(lambda x: (x + RANDOM.standard_normal(x.shape), lambda dy: dy), X)


def test_targets_that_are_not_what_is_checked_are_refused():
    with pytest.raises(TypeError, match="an array of float64 cannot be called"):
        check(X, X)
    for wrong in (check, check_module, adjoint):
        with pytest.raises(TypeError, match=r"a Layer cannot be called.*; for an object with forward\(\).* from_layer"):
            wrong(Layer(), X)
    with pytest.raises(TypeError, match=r"Scale has parameters, .*use check_module\(\)"):
        check(Scale(), X)
    with pytest.raises(TypeError, match=r"square has no named_parameters\(\), .*use check\(\)"):
        check_module(square, X)
    with pytest.raises(TypeError, match=r"from_pair: backward is None; it must be a function of \(dy, cache\)"):
        from_pair(lambda x: (x, None), None)


GRADIENTS = {  # of x + w, whose gradients are dy and dy
    "one": (lambda dy: dy, "backward returned 1 gradient, expected a tuple of 2: one for each of x, w"),
    "three": (lambda dy: (dy, dy, dy), "backward returned 3 gradients, expected a tuple of 2: one for each of x, w"),
    "none": (lambda dy: None, "backward returned nothing, expected a tuple of 2: one for each of x, w"),
    "a list": (lambda dy: [dy, dy], "backward returned a list of 2, expected a tuple of 2"),
    "a dictionary": (lambda dy: {"x": dy, "w": dy}, "backward returned a dict, expected a tuple of 2"),
    "None for w": (lambda dy: (dy, None), r"dw is None, not an array of shape \(2, 3\)"),
    "a shape": (lambda dy: (dy, dy.sum(axis=0)), r"dw has shape \(3,\), but w has \(2, 3\)"),
    "float32": (lambda dy: (dy, dy.astype(np.float32)), "dw is float32, but w is float64"),
    "NaN": (lambda dy: (dy, dy * np.nan), "dw: 6 of 6 entries disagree.*: backward gives nan, central"),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_of_the_wrong_number_kind_shape_or_dtype_are_a_fault(name):
    backward, message = GRADIENTS[name]
    with pytest.raises(GradientError, match=message):
        check(lambda x, w: (x + w, backward), X, X)


def test_a_list_for_one_gradient_and_gradients_of_what_has_none_are_refused():
    with pytest.raises(GradientError, match="backward returned a list of 1, expected an array: one for x"):
        check(lambda x: (x, lambda dy: [dy]), X)
    with pytest.raises(GradientError, match=r"returned 2 gradients, expected an array: one for x$"):
        check(lambda x, s, ids: (x * s, lambda dy: (dy * s, np.sum(dy * x))), X, 2.5, np.arange(3))


def linear(x, w, *, edit):
    y = x @ w

    def backward(dy):
        dx = dy @ w.T
        edit(dy, x)
        return dx, x.T @ dy

    return y, backward


EXCEPTIONS = {  # what backward does: (the edit, words of the report)
    "a wrong axis": (lambda dy, x: dy.sum(axis=3), r"AxisError .*axis 3 is out of bounds.*\(dy has shape \(2, 4\)"),
    "a wrong type": (lambda dy, x: dy + {}, r"TypeError .*unsupported operand .*\(dy has shape \(2, 4\)"),
    "an unknown name": (lambda dy, x: unknown, r"NameError .*name 'unknown' is not defined"),  # noqa: F821
    "a wrong index": (lambda dy, x: dy[7], r"IndexError .*index 7 is out of bounds"),
    "a second mistake of shapes": (lambda dy, x: x @ dy, r"ValueError .*x has shape \(2, 3\), dy has shape \(2, 4\)"),
    "an assertion": (lambda dy, x: np.testing.assert_equal(1, 2), "AssertionError .*not equal"),
}


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_in_backward_is_a_report_with_its_line_and_the_shapes(name):
    edit, words = EXCEPTIONS[name]
    report = check(linear, X, normal(3, 4), edit=edit, raises=False)
    assert re.search(rf"backward raises {words}", report.problems[0], re.DOTALL) and "in line" in report.problems[0]
    with pytest.raises(GradientError, match="linear: backward raises"):
        check(linear, X, normal(3, 4), edit=edit)
    assert "it raises" in str(steps(linear, X, normal(3, 4), edit=edit))


def test_a_backward_that_fails_only_after_another_forward_pass_is_a_problem_of_the_report():
    saved = []

    def forgetful(x):
        saved[:] = [x]

        def backward(dy):
            return dy * {True: 2}[saved[0] is x]

        return 2 * x, backward

    assert "after another forward pass, backward(dy) raises KeyError" in check(forgetful, X, raises=False).problems[0]
