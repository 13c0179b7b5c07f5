"""gradcheck's interface: comparisons and reports of check and check_module, without side effects."""

import contextlib
import functools
import json
import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from verdicts import Parameter, Scale, check as quick_check, normal, verdicts

from gradcheck import Call, GradientError, check, check_call, check_module, randomize_parameters


def product(x, w, *, scale=1.0, wrong=False):
    """y = scale · x * w, elementwise."""

    def backward(dy):
        return scale * dy * w, (2 if wrong else 1) * scale * dy * x

    return scale * x * w, backward


def square(x):
    return x * x, lambda dy: 2 * x * dy


def relu(x, *, at_zero=0.0):
    return np.maximum(x, 0), lambda dy: dy * np.where(x == 0, at_zero, x > 0)


# Comparison and report


def gather(x, ids, mask, nothing, *, scale):
    def backward(dy):
        dx = np.zeros_like(x)
        np.add.at(dx, ids, scale * mask * dy)
        return dx

    return scale * mask * x[ids], backward


def mean_in_place(x, *, kind=np.float64):
    def backward(dy):
        assert type(dy) is kind
        dy /= x.size
        return np.full(x.shape, dy)

    return x.mean() if kind is np.float64 or np.iscomplexobj(x) else kind(x.mean()), backward


def total(*terms):
    return sum(terms), lambda dy: tuple(dy.copy() for _ in terms)


def once(x):
    saved = [x]

    def backward(dy):
        if not saved:
            raise RuntimeError("already called")
        return 2 * saved.pop() * dy

    return x * x, backward


X = normal(3)
RIGHT = {  # the function, its inputs, the names of its arguments, and options
    "every floating-point input": (product, (normal(2, 3), normal(2, 3, seed=1)), "x w", {}),
    "integers, booleans, None and options have no gradient": (
        gather,
        (normal(4), np.array([0, 2, 2]), np.array([True, False, True]), None),
        "x",
        {"scale": np.float32(3)},
    ),
    "a float": (lambda x: (float((x * x).sum()), lambda dy: 2 * x * dy), (X,), "x", {}),
    "a NumPy number": (lambda x: ((x * x).sum(), lambda dy: 2 * x * dy), (X,), "x", {}),
    "a dy of a number is divided in place": (mean_in_place, (X,), "x", {}),
    "a dy of a float is a float": (mean_in_place, (X,), "x", {"kind": float}),
    "an array without dimensions": (square, (np.array(1.5),), "x", {}),
    "an empty input": (square, (np.zeros((0, 3)),), "x", {}),
    "an empty input beside another": (lambda x, e: (x.copy(), lambda dy: (dy, e.copy())), (X, X[:0]), "x e", {}),
    "its very argument": (lambda x: (x, lambda dy: dy), (X,), "x", {}),
    "an array given twice": (product, (X, X), "x w", {}),
    "a view": (square, (normal(6, 4)[::2, ::-1].T,), "x", {}),
    "big-endian": (lambda x: (x * x, lambda dy: (2 * x * dy).astype(">f8")), (X.astype(">f8"),), "x", {}),
    "arguments without a name": (total, (X, X), "terms[0] terms[1]", {}),
    "a partial": (functools.partial(product, scale=3.0), (X, X), "x w", {}),
    "an option that check has too": (functools.partial(lambda x, *, seed: square(x), seed=3), (X,), "x", {}),
    "a backward that refuses a second call": (once, (X,), "x", {}),
}


@pytest.mark.parametrize("name", RIGHT)
def test_functions_of_many_kinds_are_checked(name):
    function, inputs, names, options = RIGHT[name]
    report = check(function, *inputs, **options)
    assert report.is_right and [a.name for a in report.arguments] == names.split()
    assert [a.entries for a in report.arguments] == [
        x.size for x in inputs if isinstance(x, np.ndarray) and x.dtype.kind == "f"
    ]


def test_a_report_has_a_name_an_entry_for_each_argument_and_says_which():
    report = check(functools.partial(product, scale=3.0), X, X)
    assert report.name == "product" and report.entries == 6
    with pytest.raises(KeyError, match="product has no argument 'z'; it has x, w"):
        report["z"]
    assert check_call(Call(lambda x, *, seed: square(x), X, seed=3)).is_right
    assert check(square, np.array(1.5))["x"].worst_index == ()


def test_a_tiny_entry_among_large_ones_is_moved_by_their_scale():
    # Moved by a thousandth of itself it would change the output by less than its rounding.
    report = check(lambda x: (x.sum(), lambda dy: np.full(x.shape, dy)), np.array([1.0, 2.0, 1e-13, 1.5]))
    assert report["x"].worst_relative < 1e-9


def test_a_wrong_gradient_raises_an_assertion_error_with_the_whole_report():
    with pytest.raises(AssertionError) as caught:
        check(product, normal(2, 3), normal(2, 3, seed=1), wrong=True)
    report = caught.value.report
    assert report["x"].is_right and report["w"].disagree == 6 and report["w"].worst_relative > 0.1
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, GradientError) and str(again) == str(caught.value) and again.report == report


def test_the_message_names_argument_worst_entry_and_both_values():
    def off(x, w):
        y, product_backward = product(x, w)

        def backward(dy):
            dx, dw = product_backward(dy)
            dw[1, 0] += 0.25
            return dx, dw

        return y, backward

    with pytest.raises(GradientError) as caught:
        check(off, np.array([[1.0, 2.0], [3.0, 0.5]]), normal(2, 2), dy=np.array([[1.0, -1.0], [0.5, 2.0]]))
    assert str(caught.value).splitlines()[:2] == [
        "off: dw: 1 of 4 entries disagree; worst at [1, 0]: backward gives 1.75, central differences give 1.5",
        "    dw is not linear in dy: for 2 dy it is not twice as large",
    ]


def test_values_that_differ_late_are_shown_with_the_digits_that_differ():
    with pytest.raises(GradientError, match=r"backward gives 1\.00001, central differences give 1(\.00000)?$"):
        quick_check(lambda x: (x.copy(), lambda dy: dy * (1 + 1e-5)), np.ones(2), dy=np.array([1.0, 0]))


def test_the_report_is_an_aligned_table():
    report = check(product, normal(2, 3), normal(2, 3, seed=1), wrong=True, raises=False)
    name, *lines, explanation, diagnosis = str(report).splitlines()
    assert name == "product" and explanation.startswith("dw: 6 of 6 entries disagree; worst at [")
    assert diagnosis == "    dw is 2 times the correct gradient"
    assert lines[0].split() == ["argument", "entries", "absolute", "relative", "oracle", "±", "verdict"]
    assert [(line.split()[0], line.split()[-1]) for line in lines[1:]] == [("x", "right"), ("w", "WRONG")]
    assert len({line.rindex(line.split()[-1]) for line in lines}) == 1


def test_the_relative_error_is_what_the_tolerance_limits():
    def off(by, **options):
        return quick_check(lambda x: (1.0 * x, lambda dy: (1 + by) * dy), X, raises=False, **options)["x"]

    assert off(0.9e-6, atol=0.0).worst_relative == pytest.approx(0.9e-6, rel=1e-3)
    assert off(0.9e-6, atol=0.0).is_right and not off(1.1e-6, atol=0.0).is_right
    assert off(1e-4, rtol=1e-3).is_right and off(1e-4, rtol=0.0, atol=1e-2).is_right


def test_the_loss_is_weighted_by_dy_which_is_random_and_repeats_no_input_of_the_same_seed():
    seen = []

    def watched(x):
        return x * x, lambda dy: seen.append(dy.copy()) or 2 * x * dy

    dy = np.array([0.5, -2.0, 3.0])
    argument = check(watched, X, dy=dy)["x"]
    assert_array_equal(seen[0], dy)
    assert argument.numeric == pytest.approx((2 * X * dy)[argument.worst_index])
    seen.clear()
    x = normal(500)  # with dy = x a layer norm's dx would be zero
    check(watched, x, seed=0)
    assert abs(np.corrcoef(x, seen[0])[0, 1]) < 0.2 and abs(seen[0].mean()) < 0.2 and abs(seen[0].std() - 1) < 0.2


# Large arguments


def big(x, *, wrong_entries=0, factor=1.0):
    """y = sin x summed over rows."""

    def backward(dy):
        dx = np.cos(x) * dy * factor
        dx.flat[:wrong_entries] += 1.0
        return dx

    return np.sin(x).sum(axis=0), backward


def test_a_large_array_is_checked_without_the_threads_of_blas(monkeypatch):
    for product in ("dot", "vdot", "inner", "tensordot"):
        monkeypatch.setattr(np, product, None)
    x = np.random.default_rng(0).normal(size=3_000)
    assert check(lambda x: (x**3, lambda dy: dy * 3 * x**2), x, max_entries=50).is_right


def test_a_large_argument_is_sampled_and_the_rest_checked_along_a_random_direction():
    report = check(big, normal(50, 60), max_entries=100)
    assert report["x"].entries == 100 and report["x"].size == 3000 and report["x"].verdict == "right"
    assert report["x"].extent == "100 of 3000 + direction"
    analytic, numeric = report["x"].direction
    assert analytic == pytest.approx(numeric, rel=1e-8) and analytic != 0
    passes = []
    assert check(lambda x: passes.append(x) or big(x), normal(50, 60))["x"].extent == "200 of 3000 + direction"
    assert len(passes) < 4 * 200 + 50


@pytest.mark.parametrize("error, expected", [(0.0, "right"), (1e-4, "WRONG"), (3e-5, "WRONG")])
def test_a_small_error_of_one_entry_that_is_not_sampled_is_found(error, expected):
    def sine(x):
        def backward(dy):
            dx = dy * np.cos(x)
            dx[17, 33] += error
            return dx

        return np.sin(x), backward

    report = quick_check(sine, normal(100, 100), raises=False)["x"]  # the norm of the gradient is 50 to 70
    assert report.verdict == expected
    if error == 3e-5:  # less than 1e-6 of the norm
        assert report.disagree == 1 and report.worst_index == (17, 33)


def test_a_wrong_large_gradient_is_found_in_the_sample_or_by_the_direction():
    with pytest.raises(GradientError, match=r"dx: 100 of 100 sampled entries disagree; worst at \[\d+, \d+\]"):
        quick_check(big, normal(50, 60), max_entries=100, factor=1.5)
    report = quick_check(big, normal(50, 60), max_entries=1, wrong_entries=1, raises=False)
    assert report["x"].disagree == 0 and report["x"].direction_disagrees
    assert re.fullmatch(
        r"dx: all 1 sampled entries agree, but a random direction through all 3000 does not: "
        r"backward gives \S+, central differences give \S+",
        report.failures()[0],
    )


# Kinks


@pytest.mark.parametrize("at_zero", [0.0, 0.3, 0.5, 1.0])  # 0.5 equals the central difference
def test_entries_at_a_kink_are_reported_and_excused(at_zero):
    argument = check(relu, np.array([0.0, 1.0, -2.0, 0.0, 1e-6]), at_zero=at_zero)["x"]
    assert argument.at_kink == 2 and argument.verdict == "right, 2 at a kink"
    assert argument.worst_index not in [(0,), (3,)] and argument.worst_absolute < 1e-9
    assert check(relu, np.zeros(4), at_zero=at_zero)["x"].verdict == "right, 4 at a kink"


@pytest.mark.parametrize("at_zero", [-0.1, 1.1, 7.0])
def test_a_wrong_gradient_at_a_kink_is_wrong(at_zero):
    with pytest.raises(GradientError, match=r"dx: 1 of 3 entries disagree; worst at \[1\]"):
        check(relu, np.array([1.0, 0.0, -1.0]), at_zero=at_zero)


def test_a_forward_pass_that_is_not_finite_beside_the_input_is_named_as_the_side_at_fault():
    with pytest.raises(GradientError, match="give nan: the forward pass is not finite near this entry"):
        check(lambda x: (np.where(x == 0.5, 1.0, np.nan), lambda dy: dy), np.full(2, 0.5))


def test_the_callers_arrays_are_never_moved():
    x, w, dy = normal(3), normal(3, seed=1), np.array([1.0, 2.0, 3.0])
    for array in (x, w, dy):
        array.flags.writeable = False
    assert check(product, x, w, dy=dy).is_right


# Modules


def test_every_parameter_and_every_input_of_a_module_is_checked_each_once():
    class Tied(Scale):
        def named_parameters(self):
            yield from super().named_parameters()
            yield "again", self.gamma

    report = check_module(Tied(), normal(4, 3))
    assert report.name == "Tied"
    assert [(a.name, a.entries) for a in report.arguments] == [("x", 12), ("gamma", 3), ("beta", 3)]


@pytest.mark.parametrize("is_trained", [True, False])
def test_a_wrong_parameter_gradient_is_named_by_its_dotted_name_also_if_it_is_frozen(is_trained):
    module = Scale(wrong=True)
    module.gamma.requires_grad = is_trained
    for target, name in ((module, "Scale"), (module.forward, "forward")):  # a method of a module is a module
        with pytest.raises(GradientError, match=rf"{name}: gamma\.grad: 3 of 3 entries disagree; worst at \[\d\]"):
            check_module(target, normal(4, 3), explain=False)


def test_parameters_are_float64_and_random_during_the_check_unless_asked_otherwise():
    module = Scale()
    check_module(module, normal(4, 3))
    gamma, beta = module.seen[0]
    assert gamma.dtype == np.float64 and beta.dtype == np.float64
    assert not np.any(gamma == 1) and not np.any(beta == 0)
    module.seen.clear()
    check_module(module, normal(4, 3), randomize=False)
    assert_array_equal(module.seen[0], (np.ones(3), np.zeros(3)))
    module.gamma.data[1] = np.inf
    with pytest.raises(ValueError, match=r"gamma is not finite: inf at \[1\]"):
        check_module(module, normal(4, 3), randomize=False)


class Broken(Scale):
    def __call__(self, x):
        def backward(dy):
            self.gamma.grad = dy
            raise ZeroDivisionError

        return self.forward(x)[0], backward


@pytest.mark.parametrize("module, error", [(Scale(), ()), (Scale(True), GradientError), (Broken(), GradientError)])
@pytest.mark.parametrize("grad", [None, np.array([1.0, 2.0, 3.0], np.float32)])
def test_data_gradients_and_flags_are_given_back_also_after_an_error(module, error, grad):
    data = module.gamma.data
    module.gamma.grad, module.gamma.requires_grad = grad, False
    with pytest.raises(error) if error else contextlib.nullcontext():
        check_module(module, normal(4, 3), explain=grad is None)
    assert module.gamma.data is data and module.gamma.grad is grad and module.gamma.requires_grad is False
    assert_array_equal(data, np.ones(3, np.float32))
    assert module.beta.grad is None and module.beta.requires_grad is True


def test_a_module_that_adds_into_gradient_arrays_finds_them_zero():
    class InPlace(Scale):
        def __call__(self, x):
            def backward(dy):
                self.gamma.grad += (dy * x).sum(axis=0)
                self.beta.grad += dy.sum(axis=0)
                return dy * self.gamma.data

            return self.gamma.data * x + self.beta.data, backward

    module = InPlace()
    module.gamma.grad, module.beta.grad = normal(3), normal(3)
    before = module.gamma.grad.copy()
    assert check_module(module, normal(4, 3)).is_right
    assert_array_equal(module.gamma.grad, before)


def test_a_parameter_without_a_gradient_counts_as_zeros_and_says_so():
    class Forgetful(Scale):
        def __call__(self, x):
            y, scale_backward = self.forward(x)

            def backward(dy):
                dx = scale_backward(dy)
                self.beta.grad = None
                return dx

            return y, backward

    with pytest.raises(GradientError, match=r"beta\.grad: 3 of 3 entries disagree \(backward left no gradient, which"):
        check_module(Forgetful(), normal(4, 3))


def test_a_module_of_integer_inputs_returns_none_for_them():
    class Table:
        def __init__(self, returned=None):
            self.weight = Parameter(normal(5, 2))
            self.returned = returned

        def named_parameters(self):
            yield "weight", self.weight

        def __call__(self, ids):
            def backward(dy):
                self.weight.grad = np.zeros_like(self.weight.data)
                np.add.at(self.weight.grad, ids, dy)
                return self.returned

            return self.weight.data[ids], backward

    ids = np.array([1, 3, 1])
    assert [a.name for a in check_module(Table(), ids).arguments] == ["weight"]
    with pytest.raises(GradientError, match="backward returned 1 gradient, expected an empty tuple"):
        check_module(Table(returned=np.zeros(3)), ids)


def test_random_parameters_are_of_order_one_whatever_the_width_and_keep_their_dtype():
    class Wide:
        weight = Parameter(np.zeros((400, 50), np.float32))
        bias = Parameter(np.zeros(2000))
        steps = Parameter(np.arange(3))

        def named_parameters(self):
            return [("weight", self.weight), ("bias", self.bias), ("steps", self.steps)]

    module = Wide()
    randomize_parameters(module, np.random.default_rng(0))
    assert module.weight.data.dtype == np.float32 and module.bias.data.dtype == np.float64
    assert module.weight.data.std() == pytest.approx(400**-0.5, rel=0.05)
    assert module.bias.data.std() == pytest.approx(1, rel=0.05)
    assert_array_equal(module.steps.data, np.arange(3))


# Which inputs, which result


@pytest.mark.one_in(3)
@pytest.mark.parametrize("argnums, names", [(0, ["x"]), ((0, 2), ["x", "scale"]), ([-1], ["scale"])])
@pytest.mark.parametrize("are_all_returned", [True, False])
def test_argnums_selects_the_inputs_whose_gradients_are_compared(argnums, names, are_all_returned):
    def weighted(x, w, scale):
        def backward(dy):
            gradients = {"x": dy * w * scale, "w": 2 * dy * x * scale, "scale": (dy * x * w).sum()}  # dw is wrong
            return tuple(g for name, g in gradients.items() if are_all_returned or name in names)

        return x * w * scale, backward

    inputs = normal(4), normal(4, seed=1), np.array(1.5)
    assert verdicts(weighted, *inputs, argnums=argnums) == dict.fromkeys(names, "right")
    if are_all_returned:
        with pytest.raises(GradientError, match=r"dw: 4 of 4 entries disagree.*\n    dw is 2 times"):
            check(weighted, *inputs, argnums=1)


@pytest.mark.parametrize("argnums", [2, True, 1, "x", (), (0, 2)])
def test_argnums_that_select_no_floating_point_input_are_refused(argnums):
    with pytest.raises(ValueError, match=rf"argnums .* not {re.escape(repr(argnums))}$"):
        check(lambda x, n: (n * x, lambda dy: n * dy), X, 2, argnums=argnums)


def test_with_raises_false_the_report_is_returned_whatever_the_verdict():
    assert check(square, X, raises=False).is_right
    report = check(lambda x: (x * 1.0, lambda dy: 2 * dy), X, raises=False)
    assert not report.is_right and "dx is 2 times" in report["x"].diagnosis
    short = check(lambda x: (x * 1.0, lambda dy: dy[:1]), X, raises=False)
    assert short.problems == ("dx has shape (1,), but x has (3,)",) and not short.is_right


def test_the_wrong_line_is_found_also_if_argnums_leaves_inputs_out():
    def wrong(x, w):
        h = x * w
        y = h**2

        def backward(dy):
            dh = dy * h
            dx = dh * w
            dw = dh * x
            return dx, dw

        return y, backward

    with pytest.raises(GradientError, match=r"dh +WRONG"):
        check(wrong, X, normal(3, seed=1), argnums=1)


def test_the_largest_error_is_told_first_and_the_report_is_a_dictionary_for_json():
    def both_wrong(x, w):
        return x * w, lambda dy: (1.001 * dy * w, -dy * x)

    report = check(both_wrong, normal(3), normal(3, seed=1), raises=False)
    assert [line.partition(":")[0] for line in report.failures()] == ["dw", "dx"]
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["name"] == "both_wrong" and found["is_right"] is False
    assert [(a["name"], a["verdict"], a["disagree"], a["shape"]) for a in found["arguments"]] == [
        ("x", "WRONG", 3, [3]),
        ("w", "WRONG", 3, [3]),
    ]
    assert found["arguments"][0]["analytic"] == report["x"].analytic


@pytest.mark.parametrize("oracles", [None, "adjoint", "central", "complex"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gradient_with_an_entry_that_is_not_finite_is_wrong_for_every_oracle(oracles, value):
    def square_with(x):
        return x * x, lambda dy: np.where(np.arange(3) == 1, value, 2 * x * dy)

    assert check(square_with, normal(3), oracles=oracles, raises=False, explain=False)["x"].verdict == "WRONG"
