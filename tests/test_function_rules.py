"""The rules of a differentiable function, apart from its gradient, tested on every case.

It writes into none of its arguments, dy, and saved arrays; its backward may be called twice and is linear in dy; it
keeps the dtype of its input; the memory layout makes no difference.
"""

import inspect

import numpy as np
import pytest
from evaluation import evaluate, run_backward

from gradcheck import Call, Case
from gradcheck.call import parameters_of
from minitransformer.cases import CASES
from minitransformer.module import Module, is_differentiable

ONCE = "loss"  # the one method whose backward runs only once, by rule 3

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def draw(case, seed=0):
    """Return a Call of a case, in float64 with random parameters, and the generator it was drawn from."""
    rng = np.random.default_rng(seed)
    return case.call(rng), rng


def modules_of(target):
    """Return the called module and the modules within it; none for a function."""
    owner = getattr(target, "__self__", target)
    return [owner, *(module for _, module in owner.named_modules())] if isinstance(owner, Module) else []


def random_dy(call, rng):
    return np.asarray(rng.normal(size=np.shape(call.evaluate()[0])))


def arguments(call):
    """Return every array that a call reads: inputs, options, and the parameters and constants of its module."""
    arrays = [value for value in (*call.inputs, *call.options.values()) if isinstance(value, np.ndarray)]
    arrays += [parameter.data for parameter in parameters_of(call.target).values()]
    for module in modules_of(call.target):
        arrays += [value for value in vars(module).values() if isinstance(value, np.ndarray)]
    return arrays


def saved_arrays(value, seen=None):
    """Return every array that a backward closure holds, through closures within closures and lists of them."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return []
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return [value]
    inner = []
    if inspect.isfunction(value):
        inner = [cell.cell_contents for cell in value.__closure__ or () if cell.cell_contents is not None]
    elif isinstance(value, (list, tuple)):
        inner = value
    return [array for item in inner for array in saved_arrays(item, seen)]


def assert_writes_nothing(case):
    """Assert that forward and backward write into no argument, dy or saved array, not even the same values."""
    call, rng = draw(case)
    dy = random_dy(call, rng)
    for array in [*arguments(call), dy]:
        array.setflags(write=False)
    y, backward = call.evaluate()
    for array in [np.asarray(y), *saved_arrays(backward)]:
        array.setflags(write=False)
    run_backward(call, backward, dy)


@every_case
def test_forward_and_backward_run_on_arrays_that_cannot_be_written_to(case):
    assert_writes_nothing(case)


def assert_can_be_called_twice(case):
    """Assert that backward gives the same gradients again, also after it was given another dy in between."""
    call, rng = draw(case)
    y, backward = call.evaluate()
    dy, other = (np.asarray(rng.normal(size=np.shape(y))) for _ in range(2))
    first = {name: gradient.copy() for name, gradient in run_backward(call, backward, dy).items()}
    run_backward(call, backward, other)
    again = run_backward(call, backward, dy)
    assert first.keys() == again.keys()
    for name in first:
        assert np.array_equal(first[name], again[name]), name


@pytest.mark.parametrize("case", [c for c in CASES if draw(c)[0].name != ONCE], ids=lambda case: case.name)
def test_backward_called_twice_gives_identical_gradients(case):
    assert_can_be_called_twice(case)


def assert_linear(case):
    """Assert that backward(a dy₁ + b dy₂) = a backward(dy₁) + b backward(dy₂), and that backward(0) = 0."""
    call, rng = draw(case)
    dy1, dy2 = random_dy(call, rng), random_dy(call, rng)
    a, b = 0.7, -1.9
    _, first = evaluate(call, dy1)
    _, second = evaluate(call, dy2)
    _, combined = evaluate(call, a * dy1 + b * dy2)
    _, zero = evaluate(call, np.zeros_like(dy1))
    for name in combined:
        scale = np.abs(first[name]).max() + np.abs(second[name]).max()
        assert np.abs(combined[name] - (a * first[name] + b * second[name])).max() <= 1e-12 * max(scale, 1), name
        assert not zero[name].any(), name


@every_case
def test_backward_is_linear_in_dy(case):
    assert_linear(case)


def converted(call, dtype):
    """Return the call with every floating-point input, parameter and constant of its module in another dtype."""
    inputs = [value.astype(dtype) if is_differentiable(value) else value for value in call.inputs]
    for parameter in parameters_of(call.target).values():
        parameter.data = parameter.data.astype(dtype)
    for module in modules_of(call.target):
        for name, value in vars(module).items():
            if is_differentiable(value):
                setattr(module, name, value.astype(dtype))
            elif name == "dtype":
                module.dtype = dtype
    return Call(call.target, *inputs, **call.options)


def assert_follows_dtype(case):
    """Assert that y and every gradient are of the input's dtype."""
    for dtype in (np.float32, np.float64):
        call, rng = draw(case)
        dy = random_dy(call, rng).astype(dtype)
        y, gradients = evaluate(converted(call, dtype), dy)
        assert {y.dtype, *(gradient.dtype for gradient in gradients.values())} == {np.dtype(dtype)}


@every_case
def test_the_output_and_every_gradient_have_the_dtype_of_the_input(case):
    assert_follows_dtype(case)


@every_case
def test_float32_gradients_are_those_of_float64_to_single_precision(case):
    call, rng = draw(case)
    dy = random_dy(call, rng)
    y, gradients = evaluate(call, dy)
    y32, gradients32 = evaluate(converted(call, np.float32), dy.astype(np.float32))
    assert np.abs(y32 - y).max() <= 1e-5 * np.abs(y).max()
    for name, gradient in gradients.items():
        scale = np.abs(gradient).max() if not name.endswith("w_k.bias") else 1
        assert np.abs(gradients32[name] - gradient).max() <= 1e-4 * scale, name


LAYOUTS = {
    "the last axis outermost": lambda array: np.array(array, order="F"),
    "the last entry first": lambda array: np.flip(np.flip(array).copy()),
    "two entries apart": lambda array: np.stack([array, array], axis=-1)[..., 0],
}


def assert_ignores_layout(case):
    """Assert that y and all gradients are the same whatever the memory layout of inputs, options, parameters and dy."""
    call, rng = draw(case)
    dy = random_dy(call, rng)
    y, gradients = evaluate(call, dy)
    for what, layout in LAYOUTS.items():
        inputs = [layout(value) if isinstance(value, np.ndarray) else value for value in call.inputs]
        options = {k: layout(value) if isinstance(value, np.ndarray) else value for k, value in call.options.items()}
        for parameter in parameters_of(call.target).values():
            parameter.data = layout(parameter.data)
        y_again, gradients_again = evaluate(Call(call.target, *inputs, **options), layout(dy))
        assert np.allclose(y_again, y, rtol=1e-12, atol=1e-12), what
        assert gradients_again.keys() == gradients.keys()
        for name in gradients:
            assert np.allclose(gradients_again[name], gradients[name], rtol=1e-11, atol=1e-12), (what, name)


@every_case
def test_the_layout_of_inputs_parameters_and_dy_in_memory_makes_no_difference(case):
    assert_ignores_layout(case)


# The tests of these tests: each function breaks one promise.


def function_of(forward, gradient):
    """Return the differentiable function of one argument with this forward pass and this gradient(x, dy)."""

    def function(x):
        y, saved = forward(x), [2 * x]

        def backward(dy):
            return gradient(x, dy, saved)

        return y, backward

    return function


def adds_one(x):
    y = x + 1
    x += 1
    return y


def in_order(array):
    """Return the entries as they lie in memory, in the array's shape."""
    return array.ravel(order="K").reshape(array.shape)


BROKEN = {
    "forward writes into x": (assert_writes_nothing, lambda x: np.add(x, 0, out=x), lambda x, dy, _: dy),
    "forward changes x": (assert_writes_nothing, adds_one, lambda x, dy, _: 1 * dy),
    "backward writes into dy": (assert_writes_nothing, lambda x: 2 * x, lambda x, dy, _: np.multiply(dy, 2, out=dy)),
    "backward writes into what it saved": (
        *(assert_writes_nothing, lambda x: x * x),
        lambda x, dy, saved: np.multiply(saved[0], dy, out=saved[0]),
    ),
    "the second gradient is another": (
        *(assert_can_be_called_twice, lambda x: 1 * x),
        lambda x, dy, saved: saved.append(1) or dy * len(saved),
    ),
    "backward squares dy": (assert_linear, lambda x: 1 * x, lambda x, dy, _: dy * dy),
    "backward is affine": (assert_linear, lambda x: 1 * x, lambda x, dy, _: dy + 1),
    "y is wider than x": (
        assert_follows_dtype,
        lambda x: x / np.sqrt(np.int64(4)),
        lambda x, dy, _: dy / np.float32(2),
    ),
    "dx is wider than x": (assert_follows_dtype, lambda x: x / 2, lambda x, dy, _: dy / np.sqrt(np.int64(4))),
    "forward reads memory in order": (assert_ignores_layout, lambda x: 2 * in_order(x), lambda x, dy, _: dy * 2),
    "backward reads memory in order": (assert_ignores_layout, lambda x: 2 * x, lambda x, dy, _: 2 * in_order(dy)),
}


@pytest.mark.parametrize("assertion, forward, gradient", BROKEN.values(), ids=BROKEN)
def test_a_broken_promise_is_found(assertion, forward, gradient):
    with pytest.raises(ValueError if assertion is assert_writes_nothing else AssertionError):
        assertion(Case("broken", lambda rng: Call(function_of(forward, gradient), rng.normal(size=(3, 4)))))
