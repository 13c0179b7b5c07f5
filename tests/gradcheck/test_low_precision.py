"""Functions of float32 and float16 arrays: right formulas pass with the tolerance stated, and wrong ones are found."""

import numpy as np
import pytest

from gradcheck import GradientError, check, check_module, from_layer
from minitransformer import TransformerBlock, layer_norm, softmax

rng = np.random.default_rng(0)
X = rng.normal(size=(4, 5)).astype(np.float32)


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, "3e-05"), (np.float16, "0.2")])
def test_a_right_function_passes_and_the_note_states_the_tolerance(dtype, tolerance):
    inputs = [rng.normal(size=shape).astype(dtype) for shape in ((4, 5), 5, 5)]
    report = check(layer_norm, *inputs)
    assert report.is_right and [argument.entries for argument in report.arguments] == [20, 5, 5]
    assert f"256 units of rounding, {tolerance}, are allowed" in report.notes[-1]


def test_a_wrong_formula_is_found_in_float64_however_small_its_error():
    def off(x):
        y, backward = softmax(x)
        return y, lambda dy: (1 + x.dtype.type(1e-5)) * backward(dy)

    with pytest.raises(GradientError, match="dx: 20 of 20 entries disagree"):
        check(off, X)


@pytest.mark.parametrize(
    "gradient, words",
    [
        (lambda x, dy: dy * 2.0 * x.astype(np.float64), "dx is float64, but x is float32"),
        (lambda x, dy: dy * 2 * x * (np.inf if x.dtype == np.float32 else 1), "dx is not finite in float32, although"),
        (
            lambda x, dy: dy * ((2 * x + x.dtype.type(1e5)) - x.dtype.type(1e5)),
            "dx: cannot tell: in float32 it differs from that in float64 by .* of its size, not 3e-05",
        ),
    ],
    ids=["dtype", "overflow", "cancellation"],
)
def test_what_only_the_low_precision_reveals_is_told(gradient, words):
    with pytest.raises(GradientError, match=words):
        check(lambda x: (x * x, lambda dy: gradient(x, dy)), X)


@pytest.mark.parametrize("is_alone", [True, False])
def test_the_gradients_that_argnums_selects_are_compared_under_their_names(is_alone):
    def product(x, w):
        dw = lambda dy: dy * x * (np.inf if x.dtype == np.float32 else 1)  # noqa: E731
        return x * w, lambda dy: (dw(dy),) if is_alone else (dy * w, dw(dy))

    assert check(product, X, X, argnums=1, raises=False).problems == (
        "dw is not finite in float32, although it is in float64",
    )


@pytest.mark.parametrize("size", [1e-4, 1e6])
def test_the_difference_is_relative_to_the_largest_entry(size):
    x = (size * X).astype(np.float32)
    assert check(lambda x: (x * x, lambda dy: 2 * x * dy), x, atol=0.0).is_right


def mean(x):
    def backward(dy):
        dy /= x.size
        return np.full(x.shape, dy)

    return x.mean(), backward


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_dy_has_the_type_of_a_mean_so_that_backward_may_divide_it(dtype):
    assert check(mean, X.astype(dtype)).is_right


@pytest.mark.parametrize("dtype", [">f4", ">f2", "<f4"])
def test_arrays_of_any_byte_order_are_compared_in_their_precision(dtype):
    report = check(softmax, X.astype(dtype))
    assert report.is_right and "units of rounding" in report.notes[-1]


# Code that computes in single precision whatever its inputs are


def softmax_in(convert, factor=1.0):
    """Return a softmax of `convert(x)`, whose gradient is multiplied by a factor."""

    def softmax(x):
        x = convert(x)
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        y = e / e.sum(axis=-1, keepdims=True)
        return y, lambda dy: convert(factor * y * (dy - (dy * y).sum(axis=-1, keepdims=True)))

    return softmax


CONVERSIONS = {  # the check can replace np.float32, and must measure the others
    "np.float32": (lambda x: x.astype(np.float32), "in float32, the gradients are those of float64"),
    "a string": (lambda x: x.astype("float32"), "the function computes in float32: tolerances are ten times"),
    "a string of float16": (lambda x: x.astype("float16"), "the function computes in float16"),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CONVERSIONS)
def test_code_that_converts_to_a_low_precision_is_judged(name, dtype):
    convert, note = CONVERSIONS[name]
    report = check(softmax_in(convert), X.astype(dtype), raises=False)
    assert note in report.notes[-1] and (report.is_right or name == "a string of float16")
    assert "WRONG" not in {argument.verdict for argument in report.arguments}
    for factor in (-1.0, 2.0) if "16" in name else (-1.0, 1.01, 1.1):
        report = check(softmax_in(convert, factor), X.astype(dtype), raises=False, explain=False)
        assert report["x"].verdict == "WRONG", factor


def test_one_wrong_entry_among_many_in_single_precision_is_found():
    def off(x):
        y = np.tanh(x.astype("float32"))
        wrong = np.where(np.arange(x.size).reshape(x.shape) % 3, 1.1, 1.0)
        return y, lambda dy: (dy * wrong * (1 - y**2)).astype("float32")

    report = check(off, rng.normal(size=(30, 20)), raises=False)
    assert report["x"].entries == 200 and report["x"].disagree > 100 and report["x"].direction_disagrees


class Layer:
    """y = x W, in float32."""

    def __init__(self, factor=1.0):
        self.W, self.dW, self.factor = rng.normal(size=(5, 3)).astype(np.float32), np.zeros((5, 3), np.float32), factor

    def forward(self, x):
        self.x = x.astype(np.float32)
        return self.x @ self.W

    def backward(self, dy):
        self.dW[...] = self.factor * self.x.T @ dy
        return (dy @ self.W.T).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_layer_in_single_precision_is_checked_as_people_use_it(dtype):
    report = check_module(from_layer(Layer()), X.astype(dtype))
    assert [argument.verdict for argument in report.arguments] == ["right", "right"] and "in float32" in report.notes[
        -1
    ]
    with pytest.raises(GradientError, match=r"W\.grad: 15 of 15 entries disagree"):
        check_module(from_layer(Layer(1.01)), X.astype(dtype))


def test_a_gradient_that_is_zero_up_to_rounding_is_right_in_single_precision_too():
    block = TransformerBlock(4, 2, 6)
    report = check_module(block, rng.normal(size=(2, 3, 4)).astype(np.float32))
    assert report["attention.w_k.bias"].is_right and block.norm1.gamma.data.dtype == np.float32


def empty(shape, dtype=np.float32):
    return np.empty(shape, dtype)


class Buffered(Layer):
    """Copies its input to an array of float32."""

    def forward(self, x):
        copy = empty(x.shape)
        copy[...] = x
        return super().forward(copy)


def test_a_layer_that_rounds_to_float32_in_a_default_argument_is_measured():
    report = check_module(from_layer(Buffered()), X.astype(np.float64))
    assert report.is_right and "the function computes in float32" in report.notes[-1]
    wrong = check_module(from_layer(Buffered(1.01)), X.astype(np.float64), raises=False)
    assert (wrong["x"].verdict, wrong["W"].verdict) == ("CANNOT TELL", "WRONG")
