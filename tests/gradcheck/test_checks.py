"""gradcheck's interface: comparisons, reports and refusals of check and check_module, without side effects."""

import functools
import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import gradcheck
from gradcheck import Call, GradientError, check, check_module, randomize_parameters
from gradcheck.checking import check_call


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def product(x, w, *, scale=1.0, wrong=False):
    """y = scale · x * w, elementwise."""

    def backward(dy):
        return scale * dy * w, (2 if wrong else 1) * scale * dy * x

    return scale * x * w, backward


def square(x):
    def backward(dy):
        return 2 * x * dy

    return x * x, backward


def relu(x, *, at_zero=0.0):
    def backward(dy):
        return dy * np.where(x == 0, at_zero, x > 0)

    return np.maximum(x, 0), backward


def returning(gradients):
    """A function of x and w whose backward returns `gradients(dy)` for the product of both."""

    def function(x, w):
        def backward(dy):
            return gradients(dy, x, w)

        return x * w, backward

    return function


class Parameter:
    def __init__(self, data):
        self.data = data
        self.grad = None
        self.requires_grad = True


class Scale:
    """y = γ x + β, a module of the plainest kind; `wrong` doubles γ's gradient."""

    def __init__(self, size=3, dtype=np.float32, wrong=False):
        self.gamma = Parameter(np.ones(size, dtype))
        self.beta = Parameter(np.zeros(size, dtype))
        self.wrong = wrong
        self.seen = []

    def named_parameters(self):
        yield "gamma", self.gamma
        yield "beta", self.beta

    def forward(self, x):
        self.seen.append((self.gamma.data.copy(), self.beta.data.copy()))
        gamma = self.gamma.data

        def backward(dy):
            for parameter, grad in (
                (self.gamma, (2 if self.wrong else 1) * (dy * x).sum(axis=0)),
                (self.beta, dy.sum(axis=0)),
            ):
                if parameter.requires_grad:
                    parameter.grad = grad if parameter.grad is None else parameter.grad + grad
            return dy * gamma

        return gamma * x + self.beta.data, backward

    __call__ = forward


# Comparison and report


def test_every_entry_of_every_floating_point_input_is_compared():
    report = check(product, normal(2, 3), normal(2, 3, seed=1))
    assert [(a.name, a.shape, a.entries, a.verdict) for a in report.arguments] == [
        ("x", (2, 3), 6, "right"),
        ("w", (2, 3), 6, "right"),
    ]
    assert report.entries == 12 and report.is_right and report.name == "product"


def test_integer_and_boolean_inputs_none_and_options_have_no_gradient():
    def gather(x, ids, mask, nothing, *, scale):
        def backward(dy):
            dx = np.zeros_like(x)
            np.add.at(dx, ids, scale * mask * dy)
            return dx

        return scale * mask * x[ids], backward

    report = check(gather, normal(4), np.array([0, 2, 2]), np.array([True, False, True]), None, scale=np.float32(3))
    assert [a.name for a in report.arguments] == ["x"]


def test_a_number_is_as_good_an_output_as_an_array():
    for convert in (float, np.float64, np.array):

        def norm(x, convert=convert):
            def backward(dy):
                return 2 * x * dy

            return convert((x * x).sum()), backward

        assert check(norm, normal(3)).is_right


def test_an_input_without_dimensions_is_checked():
    report = check(square, np.array(1.5))
    assert report["x"].entries == 1 and report["x"].worst_index == ()


def test_an_empty_input_beside_another_is_right():
    def first(x, empty):
        def backward(dy):
            return dy, np.zeros_like(empty)

        return x.copy(), backward

    assert check(first, normal(3), np.zeros((0, 2)))["empty"].verdict == "right"


def test_an_identity_that_returns_its_very_argument_is_checked():
    def identity(x):
        def backward(dy):
            return dy

        return x, backward

    report = check(identity, normal(2, 3))
    assert report["x"].numeric != 0 and report.is_right


def test_an_array_given_twice_is_two_arguments():
    x = normal(3)
    assert check(product, x, x).is_right


def test_a_tiny_entry_among_large_ones_is_moved_by_their_scale():
    # Moved by a thousandth of itself it would change the output by less than its rounding.
    def total(x):
        def backward(dy):
            return np.full(x.shape, dy)

        return x.sum(), backward

    assert check(total, np.array([1.0, 2.0, 1e-13, 1.5]))["x"].worst_relative < 1e-9


def test_arrays_that_are_views_are_moved_entry_by_entry_too():
    x = normal(6, 4)[::2, ::-1].T
    assert check(square, x)["x"].entries == 12


def test_a_wrong_gradient_raises_an_assertion_error_with_the_whole_report():
    with pytest.raises(AssertionError) as caught:
        check(product, normal(2, 3), normal(2, 3, seed=1), wrong=True)
    assert isinstance(caught.value, GradientError)
    report = caught.value.report
    assert report["x"].is_right and not report["w"].is_right
    assert report["w"].disagree == 6
    assert report["w"].worst_relative > 0.1


def test_the_message_names_argument_worst_entry_and_both_values():
    x, w = np.array([[1.0, 2.0], [3.0, 0.5]]), normal(2, 2)

    def off(x, w):
        y, product_backward = product(x, w)

        def backward(dy):
            dx, dw = product_backward(dy)
            dw[1, 0] += 0.25
            return dx, dw

        return y, backward

    dy = np.array([[1.0, -1.0], [0.5, 2.0]])
    with pytest.raises(GradientError) as caught:
        check(off, x, w, dy=dy)
    assert str(caught.value) == (
        "off: dw: 1 of 4 entries disagree; worst at [1, 0]: backward gives 1.75, central differences give 1.5. "
        "dw is not linear in dy: for 2 dy it is not twice as large"
    )


def test_values_that_differ_late_are_shown_with_the_digits_that_differ():
    with pytest.raises(GradientError, match=r"backward gives 1\.00001, central differences give 1(\.00000)?$"):
        function = returning(lambda dy, x, w: (dy * w * (1 + 1e-5), dy * x))
        check(function, np.ones(2), np.ones(2), dy=np.array([1.0, 0]), explain=False)


def test_the_report_is_an_aligned_table():
    lines = str(check(product, normal(2, 3), normal(2, 3, seed=1))).splitlines()
    assert lines[0] == "product"
    assert lines[1].split() == ["argument", "entries", "absolute", "relative", "oracle", "±", "verdict"]
    assert len({line.rindex(line.split()[-1]) for line in lines[1:]}) == 1
    assert lines[2].split()[0] == "x" and lines[3].split()[0] == "w"
    table = str(check(product, normal(2), normal(2, seed=1), wrong=True, raises=False))
    assert "WRONG" in table and table.splitlines()[-1].startswith("dw: 2 of 2 entries disagree; worst at [")


def test_a_report_and_its_error_survive_pickling():
    with pytest.raises(GradientError) as caught:
        check(product, normal(2), normal(2, seed=1), wrong=True)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.report == caught.value.report


def test_a_report_says_which_arguments_it_has():
    with pytest.raises(KeyError, match="product has no argument 'z'; it has x, w"):
        check(product, normal(2), normal(2))["z"]


def test_arguments_without_a_name_are_numbered():
    def total(*terms):
        def backward(dy):
            return tuple(dy.copy() for _ in terms)

        return sum(terms), backward

    assert [a.name for a in check(total, normal(2), normal(2, seed=1)).arguments] == ["terms[0]", "terms[1]"]


def test_a_partial_is_named_after_its_function():
    report = check(functools.partial(product, scale=3.0), normal(2), normal(2, seed=1))
    assert report.name == "product" and report.is_right


def test_the_relative_error_is_what_the_tolerance_limits():
    def slightly_off(x, *, by):
        def backward(dy):
            return (1 + by) * dy

        return 1.0 * x, backward

    assert check(slightly_off, normal(3), by=0.9e-6, atol=0.0)["x"].worst_relative == pytest.approx(0.9e-6, rel=1e-3)
    with pytest.raises(GradientError):
        check(slightly_off, normal(3), by=1.1e-6, atol=0.0)
    assert check(slightly_off, normal(3), by=1e-4, rtol=1e-3).is_right
    assert check(slightly_off, normal(3), by=1e-4, rtol=0.0, atol=1e-2).is_right


# dy, randomness


def test_the_loss_is_weighted_by_the_dy_given():
    seen = []

    def watched(x):
        y, square_backward = square(x)

        def backward(dy):
            seen.append(dy.copy())
            return square_backward(dy)

        return y, backward

    dy = np.array([0.5, -2.0, 3.0])
    x = normal(3)
    report = check(watched, x, dy=dy)
    assert_array_equal(seen[0], dy)
    assert report["x"].numeric == pytest.approx((2 * x * dy)[report["x"].worst_index])


def test_dy_does_not_repeat_inputs_drawn_from_the_same_seed():
    # With dy = x a layer norm's dx would be zero.
    seen = []

    def watched(x):
        y, square_backward = square(x)

        def backward(dy):
            seen.append(dy.copy())
            return square_backward(dy)

        return y, backward

    x = np.random.default_rng(0).standard_normal(500)
    check(watched, x, seed=0)
    assert abs(np.corrcoef(x, seen[0])[0, 1]) < 0.2
    assert abs(seen[0].mean()) < 0.2 and abs(seen[0].std() - 1) < 0.2


def test_the_same_seed_gives_the_same_report_and_another_seed_another():
    inputs = normal(2, 3), normal(2, 3, seed=1)
    assert check(product, *inputs, seed=3) == check(product, *inputs, seed=3)
    assert check(product, *inputs, seed=3) != check(product, *inputs, seed=4)


def test_a_random_generator_is_copied_so_that_dropout_repeats():
    def dropout(x, *, rng):
        keep = rng.random(x.shape) < 0.5

        def backward(dy):
            return 2 * keep * dy

        return 2 * keep * x, backward

    rng = np.random.default_rng(7)
    state = rng.bit_generator.state
    assert check(dropout, normal(5, 6), rng=rng).is_right
    assert rng.bit_generator.state == state


# Large arguments


def big(x, *, wrong_entries=0, factor=1.0):
    """y = sin x summed over rows."""

    def backward(dy):
        dx = np.cos(x) * dy * factor
        dx.flat[:wrong_entries] += 1.0
        return dx

    return np.sin(x).sum(axis=0), backward


def test_a_large_argument_is_sampled_and_the_rest_checked_along_a_random_direction():
    report = check(big, normal(50, 60), max_entries=100)
    assert report["x"].entries == 100 and report["x"].size == 3000 and report["x"].verdict == "right"
    assert report["x"].extent == "100 of 3000 + direction"
    analytic, numeric = report["x"].direction
    assert analytic == pytest.approx(numeric, rel=1e-8) and analytic != 0


def test_a_sample_of_a_large_argument_needs_few_forward_passes():
    passes = []
    assert check(lambda x: passes.append(x) or big(x), normal(50, 60))["x"].extent == "200 of 3000 + direction"
    assert len(passes) < 4 * 200 + 50


def test_one_wrong_entry_that_no_sample_meets_is_found_by_the_direction():
    with pytest.raises(GradientError) as caught:
        check(big, normal(50, 60), max_entries=1, wrong_entries=1, explain=False)
    argument = caught.value.report["x"]
    assert argument.disagree == 0 and argument.direction_disagrees
    assert re.fullmatch(
        r"big: dx: all 1 sampled entries agree, but a random direction through all 3000 does not: "
        r"backward gives \S+, central differences give \S+",
        str(caught.value),
    )


def test_a_wrong_large_gradient_says_that_it_was_sampled():
    with pytest.raises(GradientError, match=r"dx: 100 of 100 sampled entries disagree; worst at \[\d+, \d+\]"):
        check(big, normal(50, 60), max_entries=100, factor=1.5, explain=False)


# Kinks


def test_entries_at_a_kink_are_reported_and_excused():
    x = np.array([0.0, 1.0, -2.0, 0.0, 1e-6])
    assert check(relu, np.zeros(4))["x"].verdict == "right, 4 at a kink"
    for at_zero in (0.0, 0.3, 0.5, 1.0):  # 0.5 equals the central difference
        argument = check(relu, x, at_zero=at_zero)["x"]
        assert argument.at_kink == 2 and argument.verdict == "right, 2 at a kink"
        assert argument.worst_index not in [(0,), (3,)] and argument.worst_absolute < 1e-9


def test_a_wrong_gradient_at_a_kink_is_wrong():
    for at_zero in (-0.1, 1.1, 7.0):
        with pytest.raises(GradientError, match=r"dx: 1 of 3 entries disagree; worst at \[1\]"):
            check(relu, np.array([1.0, 0.0, -1.0]), at_zero=at_zero)


# Faults of the backward pass


def test_a_forward_pass_that_is_not_finite_beside_the_input_is_named_as_the_side_at_fault():
    def brittle(x):
        return np.where(x == 0.5, 1.0, np.nan), lambda dy: dy

    with pytest.raises(GradientError, match="give nan: the forward pass is not finite near this entry"):
        check(brittle, np.full(2, 0.5))


def test_an_option_changed_in_place_is_a_fault():
    def careless(x, *, mask):
        mask[0] = False
        return square(x)

    with pytest.raises(GradientError, match="forward changed mask in place: 1 entries"):
        check(careless, normal(3), mask=np.ones(3, dtype=bool))


def test_a_second_backward_that_adds_to_the_array_it_returned_is_a_fault():
    def accumulating(x):
        total = np.zeros_like(x)

        def backward(dy):
            np.add(total, 2 * x * dy, out=total)
            return total

        return x * x, backward

    with pytest.raises(GradientError, match=r"dx: a second backward\(dy\) returns another gradient"):
        check(accumulating, normal(3))


def test_dy_changed_in_place_by_the_second_backward_only_is_a_fault():
    def careless(x):
        calls = []

        def backward(dy):
            dx = 2 * x * dy
            if calls:
                dy *= 2
            calls.append(1)
            return dx

        return x * x, backward

    with pytest.raises(GradientError, match="careless: a second backward changed dy in place"):
        check(careless, normal(3))


def test_a_backward_that_refuses_a_second_call_is_right():
    def once(x):
        saved = [x]

        def backward(dy):
            if not saved:
                raise RuntimeError("already called")
            return 2 * saved.pop() * dy

        return x * x, backward

    assert check(once, normal(3)).is_right


def test_the_callers_arrays_are_never_moved():
    x, w = normal(3), normal(3, seed=1)
    dy = np.array([1.0, 2.0, 3.0])
    for array in (x, w, dy):
        array.flags.writeable = False
    assert check(product, x, w, dy=dy).is_right


# Modules


def test_every_parameter_and_every_input_of_a_module_is_checked():
    report = check_module(Scale(), normal(4, 3))
    assert report.name == "Scale"
    assert [(a.name, a.entries) for a in report.arguments] == [("x", 12), ("gamma", 3), ("beta", 3)]


@pytest.mark.parametrize("is_trained", [True, False])
def test_a_wrong_parameter_gradient_is_named_by_its_dotted_name_also_if_it_is_frozen(is_trained):
    module = Scale(wrong=True)
    module.gamma.requires_grad = is_trained
    with pytest.raises(GradientError, match=r"Scale: gamma\.grad: 3 of 3 entries disagree; worst at \[\d\]"):
        check_module(module, normal(4, 3))


def test_parameters_are_float64_and_random_during_the_check_unless_asked_otherwise():
    module = Scale()
    check_module(module, normal(4, 3))
    gamma, beta = module.seen[0]
    assert gamma.dtype == np.float64 and beta.dtype == np.float64
    assert not np.any(gamma == 1) and not np.any(beta == 0)
    module.seen.clear()
    check_module(module, normal(4, 3), randomize=False)
    assert_array_equal(module.seen[0], (np.ones(3), np.zeros(3)))


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("grad", [None, np.array([1.0, 2.0, 3.0], np.float32)])
def test_data_gradients_and_flags_are_given_back_also_after_an_error(wrong, grad):
    module = Scale(wrong=wrong)
    data = module.gamma.data
    module.gamma.grad = grad
    module.gamma.requires_grad = False
    if wrong:
        with pytest.raises(GradientError):
            check_module(module, normal(4, 3))
    else:
        check_module(module, normal(4, 3))
    assert module.gamma.data is data and module.gamma.grad is grad and module.gamma.requires_grad is False
    assert_array_equal(data, np.ones(3, np.float32))
    assert module.beta.grad is None and module.beta.requires_grad is True


def test_data_gradients_and_flags_are_given_back_after_an_error_of_the_modules_own():
    class Broken(Scale):
        def __call__(self, x):
            y, _ = self.forward(x)

            def backward(dy):
                self.gamma.grad = dy
                raise ZeroDivisionError

            return y, backward

    module = Broken()
    module.gamma.requires_grad = False
    data = module.gamma.data
    with pytest.raises(ZeroDivisionError):
        check_module(module, normal(4, 3))
    assert module.gamma.data is data and module.gamma.grad is None and module.gamma.requires_grad is False


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


def test_a_tied_parameter_is_one_entry():
    class Tied(Scale):
        def named_parameters(self):
            yield from super().named_parameters()
            yield "again", self.gamma

    assert [a.name for a in check_module(Tied(), normal(4, 3)).arguments] == ["x", "gamma", "beta"]


def test_a_module_of_integer_inputs_returns_none_for_them():
    class Table:
        def __init__(self, returned=None):
            self.weight = Parameter(normal(5, 2))
            self.returned = returned

        def named_parameters(self):
            yield "weight", self.weight

        def __call__(self, ids):
            def backward(dy):
                grad = np.zeros_like(self.weight.data)
                np.add.at(grad, ids, dy)
                self.weight.grad = grad
                return self.returned

            return self.weight.data[ids], backward

    ids = np.array([1, 3, 1])
    assert [a.name for a in check_module(Table(), ids).arguments] == ["weight"]
    with pytest.raises(GradientError, match="backward returned 1 gradient, expected 0: one for no input"):
        check_module(Table(returned=np.zeros(3)), ids)


def test_a_method_of_a_module_is_a_module():
    module = Scale(wrong=True)
    with pytest.raises(GradientError, match=r"forward: gamma\.grad: 3 of 3"):
        check_module(module.forward, normal(4, 3))


def test_a_parameter_that_is_not_finite_is_refused():
    module = Scale()
    module.gamma.data[1] = np.inf
    with pytest.raises(ValueError, match=r"gamma is not finite: inf at \[1\]"):
        check_module(module, normal(4, 3), randomize=False)


def test_random_parameters_are_of_order_one_whatever_the_width_and_keep_their_dtype():
    class Wide:
        weight = Parameter(np.zeros((400, 50), np.float32))
        bias = Parameter(np.zeros(2000))
        steps = Parameter(np.arange(3))

        def named_parameters(self):
            return [("weight", self.weight), ("bias", self.bias), ("steps", self.steps)]

        def __call__(self):
            raise NotImplementedError

    module = Wide()
    randomize_parameters(module, np.random.default_rng(0))
    assert module.weight.data.dtype == np.float32 and module.bias.data.dtype == np.float64
    assert module.weight.data.std() == pytest.approx(400**-0.5, rel=0.05)
    assert module.bias.data.std() == pytest.approx(1, rel=0.05)
    assert_array_equal(module.steps.data, np.arange(3))


def test_options_that_share_a_name_with_the_checkers_own_go_through_a_partial_or_a_call():
    def seeded(x, *, seed):
        return product(x, np.full(3, float(seed)))[0], lambda dy: seed * dy

    assert check(functools.partial(seeded, seed=3), normal(3)).is_right
    assert check_call(Call(seeded, normal(3), seed=3)).is_right


def test_every_public_name_is_there():
    assert all(hasattr(gradcheck, name) for name in gradcheck.__all__)


# Which inputs, which result


def weighted(x, w, scale):
    def backward(dy):
        return dy * w * scale, dy * x * scale, (dy * x * w).sum()

    return x * w * scale, backward


@pytest.mark.parametrize("argnums, names", [(0, ["x"]), ((0, 2), ["x", "scale"]), ([-1], ["scale"])])
def test_argnums_selects_the_inputs_whose_gradients_are_compared(argnums, names):
    inputs = normal(4), normal(4, seed=1), np.array(1.5)
    assert [a.name for a in check(weighted, *inputs, argnums=argnums).arguments] == names

    def selected(x, w, scale):
        y, backward = weighted(x, w, scale)
        return y, lambda dy: tuple(dict(zip("xws", backward(dy), strict=True))[name[0]] for name in names)

    assert check(selected, *inputs, argnums=argnums).is_right


def test_a_wrong_gradient_that_argnums_leaves_out_does_not_count_and_others_do():
    def wrong_in_w(x, w):
        return x * w, lambda dy: (dy * w, 2 * dy * x)

    inputs = normal(3), normal(3, seed=1)
    assert check(wrong_in_w, *inputs, argnums=0).is_right
    with pytest.raises(GradientError, match=r"dw: 3 of 3 entries disagree.*dw is 2 times"):
        check(wrong_in_w, *inputs, argnums=1)


@pytest.mark.parametrize(
    "argnums, message",
    [(2, "argnums .* not 2"), (1, "input 1 .* int"), ("x", "argnums .* 'x'"), ((), r"argnums .* not \(\)")],
)
def test_argnums_that_select_no_floating_point_input_are_refused(argnums, message):
    with pytest.raises((TypeError, ValueError), match=message):
        check(lambda x, n: (n * x, lambda dy: n * dy), normal(3), 2, argnums=argnums)


def test_with_raises_false_the_report_is_returned_whatever_the_verdict():
    def doubled(x):
        return x * 1.0, lambda dy: 2 * dy

    assert check(square, normal(3), raises=False).is_right
    report = check(doubled, normal(3), raises=False)
    assert not report.is_right and "dx is 2 times" in report["x"].diagnosis
    short = check(lambda x: (x * 1.0, lambda dy: dy[:1]), normal(3), raises=False)
    assert short.problems == ("dx has shape (1,), but x has (3,)",) and not short.is_right
    with pytest.raises(TypeError, match="float32"):
        check(square, normal(3).astype(np.float32), raises=False)


@pytest.mark.parametrize("order", "<>")
def test_arrays_of_any_byte_order_are_checked(order):
    x = normal(3).astype(f"{order}f8")
    assert check(square, x).is_right
    assert check(lambda x: (x * x, lambda dy: (2 * x * dy).astype(f"{order}f8")), x).is_right


def test_an_empty_input_alone_is_right_if_its_gradient_is_empty_too():
    empty = np.zeros((0, 3))
    assert check(square, empty)["x"].entries == 0
    with pytest.raises(GradientError, match=r"shape \(3,\), but x has \(0, 3\)"):
        check(lambda x: (x.sum(axis=1), lambda dy: np.zeros(3)), empty)


def test_a_backward_may_divide_the_dy_of_a_number_in_place():
    def mean(x):
        def backward(dy):
            dy /= x.size
            return np.full(x.shape, dy)

        return x.mean(), backward

    assert check(mean, normal(4)).is_right


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
        check(wrong, normal(3), normal(3, seed=1), argnums=1)
