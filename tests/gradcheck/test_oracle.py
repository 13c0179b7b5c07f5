"""The checker checked: its numerical derivative against closed forms, and its verdicts at and near kinks."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, strategies as st

from gradcheck.central_differences import RELATIVE_STEP, Estimate
from gradcheck.judgement import CANNOT_TELL, KINK, RIGHT, WRONG
from gradcheck.refine.one_derivative import estimates, judge

CLOSED_FORMS = {
    "sin": (np.sin, np.cos),
    "exp": (np.exp, np.exp),
    "log": (lambda x: np.log(x + 10), lambda x: 1 / (x + 10)),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "x^7": (lambda x: x**7, lambda x: 7 * x**6),
    "1 / (1 + x^2)": (lambda x: 1 / (1 + x * x), lambda x: -2 * x / (1 + x * x) ** 2),
}


def along(function, x, dy=1.0):
    """The estimates of the derivative of dy · function at the number x."""
    y = np.array(function(x))
    return estimates(lambda t: np.array(function(x + t)), y, np.array(dy), 2.0 ** np.ceil(np.log2(max(abs(x), 1.0))))


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("x", [-1.9, -0.3, 0.0, 0.7, 2.4])
def test_derivatives_equal_the_closed_forms(name, x):
    function, slope = CLOSED_FORMS[name]
    assert next(along(function, x)).value == pytest.approx(slope(x), rel=1e-9, abs=1e-10)


@given(st.lists(st.floats(-3, 3), min_size=5, max_size=5), st.floats(-2, 2))
def test_polynomials_of_degree_four_are_differentiated_to_rounding(coefficients, x):
    polynomial = np.polynomial.Polynomial(coefficients)
    assert next(along(polynomial, x)).value == pytest.approx(polynomial.deriv()(x), rel=1e-10, abs=1e-10)


def test_the_error_is_of_fourth_order_in_the_step_and_the_jump_of_the_slopes_of_third():
    large, small = (
        next(estimates(lambda t: np.exp(1.0 + t), np.exp(np.array(1.0)), np.array(1.0), scale)) for scale in (128, 64)
    )
    assert (large.value - np.e) / (small.value - np.e) == pytest.approx(16, rel=0.05)
    assert (large.right - large.left) / (small.right - small.left) == pytest.approx(8, rel=0.1)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_the_spread_the_noise_and_the_uncertainty_bound_the_error(name):
    function, slope = CLOSED_FORMS[name]
    for estimate in islice(along(function, 0.7), 3):
        assert abs(estimate.value - slope(0.7)) <= estimate.spread + 1.5 * estimate.noise
    for x in np.random.default_rng(0).uniform(-2, 2, size=50):
        first = next(along(function, x))
        assert abs(first.value - slope(x)) <= first.uncertainty
        assert first.uncertainty <= 1e-6 * abs(first.value) + 1e-8


def test_the_spread_bounds_the_error_where_two_kinks_hide_each_other_from_the_one_sided_derivatives():
    limit = 0.7 * RELATIVE_STEP
    first = next(along(lambda x: np.clip(x, -limit, limit), 0.0))
    assert first.left == pytest.approx(first.right)
    assert first.spread >= 1.0 - first.value > 0.1


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_the_spread_shows_a_bend_on_one_side_that_the_central_estimate_cannot_see(side):
    # The outputs at -h and -2h are off by 0.1 h and 0.8 h. The central extrapolation cancels them.
    h = RELATIVE_STEP

    def bent(x):
        return side * np.interp(side * x, [-2 * h, -h, 0, 2 * h], [-1.2 * h, -0.9 * h, 0, 2 * h])

    first = next(along(bent, 0.0))
    assert first.value == pytest.approx(1.0)
    assert first.spread == pytest.approx(0.2)


def test_a_large_common_part_of_the_output_leaves_no_rounding_error_behind():
    # One of 1,001 outputs moves; the others are large. A difference of the sums would be off by about 1e-7.
    rest = 1e4 * np.random.default_rng(0).standard_normal(1000)
    dy = np.random.default_rng(1).standard_normal(1001)
    first = next(estimates(lambda t: np.append(rest, np.sin(t)), np.append(rest, 0.0), dy, 1.0))
    assert first.value == pytest.approx(dy[-1], abs=1e-12)


def counted(estimates, taken):
    for estimate in estimates:
        taken.append(estimate)
        yield estimate


def test_a_wrong_slope_of_a_smooth_function_takes_no_more_than_two_estimates():
    taken = []
    assert judge(2.0, counted(along(np.sin, 0.3), taken), 1e-6, 1e-8)[0] == WRONG and len(taken) == 2


def test_a_first_estimate_that_agrees_but_is_unsure_is_refined_before_it_is_believed():
    # Twice the first step grazes the kink, which moves the first estimate by half of the tolerance.
    taken = []
    judgement = judge(1.0, counted(along(relu, 2 * RELATIVE_STEP * (1 - 3e-6)), taken), 1e-6, 1e-8)
    assert 1e-7 < abs(taken[0].value - 1.0) < 1e-6
    assert len(taken) == 2 and judgement.verdict == RIGHT
    assert abs(judgement.numeric - 1.0) < 1e-12 and judgement.uncertainty < 1e-11


def sure(value, spread=0.0):
    return Estimate(value, left=value, right=value, spread=spread, noise=0.0)


COARSE, BY_CHANCE = sure(0.0, spread=5.0), Estimate(1.0, left=-2.0, right=4.0, spread=3.0, noise=3.0)
SUREST = Estimate(1.0, left=1.1, right=1.1, spread=0.1, noise=0.0)
FINER = Estimate(1.0, left=0.95, right=1.0, spread=0.05, noise=0.0)
FAR = Estimate(1.0, left=0.5, right=0.45, spread=0.55, noise=0.0)
JUDGED = [
    (1.0, [COARSE, BY_CHANCE], CANNOT_TELL),  # a fine estimate that does not know itself agrees only by chance
    (1.0, [BY_CHANCE], CANNOT_TELL),
    (30.0, [COARSE, BY_CHANCE], WRONG),
    (1.0, [sure(0.0, 0.5), sure(0.0), sure(1.0)], RIGHT),  # not wrong before two sure estimates agree: one is unsure
    (1.0, [sure(0.0), sure(0.0, 0.5), sure(1.0)], RIGHT),
    (1.0, [sure(-1.0), sure(0.0), sure(1.0)], RIGHT),  # they disagree
    (1.0, [SUREST, FINER], RIGHT),  # denied only by one that differs by more than its own spread
    (1.0, [SUREST, FAR], CANNOT_TELL),
    (0.9, [Estimate(0.5, left=0.0, right=1.0, spread=0.5, noise=0.0)] * 4, KINK),
    (0.9, [Estimate(0.5, left=0.0, right=1.0, spread=0.5, noise=1.0)] * 4, CANNOT_TELL),  # slopes differ by rounding
]


@pytest.mark.parametrize("analytic, seen, expected", JUDGED)
def test_a_verdict_needs_estimates_that_are_sure_and_agree(analytic, seen, expected):
    rtol = 1e-4 if SUREST in seen else 1e-6
    assert judge(analytic, seen, rtol, 1e-8 * (rtol < 1e-5))[0] == expected


# Verdicts. Each function has slope `left` just below 0 and `right` just above it.


def relu(x):
    return x * (x > 0)


KINKED = {
    "relu": (relu, 0.0, 1.0),
    "absolute value": (abs, -1.0, 1.0),
    "leaky relu on a slope": (lambda x: 3 * x + 0.1 * relu(x) + x * x, 3.0, 3.1),
    "concave": (lambda x: -abs(x) * np.exp(x), 1.0, -1.0),
    "maximum": (lambda x: np.maximum(np.sin(x), 2 * x), 1.0, 2.0),
    "offset": (lambda x: np.pi + 0.7 * relu(x), 0.0, 0.7),
    "steep beside the kink": (lambda x: relu(x) * np.exp(300 * x), 0.0, 1.0),
}


def verdict(function, x, analytic):
    return judge(analytic, along(function, x), 1e-6, 1e-8)[0]


@pytest.mark.parametrize("name", KINKED)
def test_at_a_kink_a_slope_between_the_two_is_excused_and_one_outside_is_wrong(name):
    function, left, right = KINKED[name]
    for share in (0.0, 0.2, 0.9, 1.0):
        assert verdict(function, 0.0, left + share * (right - left)) == KINK
    for share in (-10.0, -0.5, -1e-3, 1.001, 1.5, 10.0, np.nan, np.inf, -np.inf):
        assert verdict(function, 0.0, left + share * (right - left)) == WRONG


@pytest.mark.parametrize("name", ["relu", "absolute value", "offset"])
@pytest.mark.parametrize("distance", [1e-3, 1e-4, 1e-5, 1e-6])
def test_beside_a_kink_the_slope_of_that_side_is_right_and_any_other_is_wrong(name, distance):
    function, left, right = KINKED[name]
    for x, here, there in ((distance, right, left), (-distance, left, right)):
        assert verdict(function, x, here) == RIGHT
        assert verdict(function, x, there) == verdict(function, x, (here + there) / 2) == WRONG


@pytest.mark.parametrize("distance", [1e-12, 1e-14, 1e-16])
def test_closer_to_a_kink_than_any_step_either_slope_is_excused_and_no_other(distance):
    assert verdict(relu, distance, 1.0) in (RIGHT, KINK)
    assert verdict(relu, distance, 2.0) == WRONG


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("x", [-1.9, 0.0, 0.7])
def test_a_wrong_slope_of_a_smooth_function_is_never_excused(name, x):
    function, slope = CLOSED_FORMS[name]
    assert verdict(function, x, slope(x)) == RIGHT
    for error in (1e-5, -1e-4, 1e-2, 1.0, -30.0, np.nan, np.inf):
        assert verdict(function, x, slope(x) + error * max(1.0, abs(slope(x)))) == WRONG


@given(st.floats(1, 1e5), st.floats(0.01, 0.99), st.sampled_from([1.0, -1.0]))
def test_a_bend_that_is_sharp_but_smooth_is_not_a_kink(sharpness, share, sign):
    def softplus(x):  # slopes 0 and 1 far from 0, with the bend 1 / sharpness wide
        return sign * np.logaddexp(0.0, sharpness * x) / sharpness

    assert verdict(softplus, 0.0, sign / 2) == RIGHT
    if abs(share - 0.5) > 1e-5:
        assert verdict(softplus, 0.0, sign * share) == WRONG


@given(st.floats(-1e3, 1e3), st.floats(-3, 3), st.floats(1e-4, 10), st.sampled_from([1.0, -1.0]))
def test_rounding_noise_is_not_a_kink(offset, x, error, sign):
    def noisy(t):  # the offset causes rounding errors of its size in each difference
        return (offset + np.sin(t)) * 10.0

    assert verdict(noisy, x, 10 * np.cos(x) + sign * error) == WRONG


@pytest.mark.parametrize("analytic, expected", [(0.0, CANNOT_TELL), (1.0, CANNOT_TELL), (1e9, WRONG)])
def test_a_jump_of_the_output_is_neither_a_kink_nor_right(analytic, expected):
    assert verdict(lambda x: np.where(x >= 0, x + 1.0, x), 0.0, analytic) == expected
    assert verdict(lambda x: np.where(x >= 0, 1.0, 0.0), 0.0, analytic) == expected


WAVES = {
    "sine": (np.sin, np.cos),
    "sawtooth": (lambda x: x - np.floor(x), np.ones_like),
    "triangle": (lambda x: np.abs(x % 1 - 0.5), lambda x: np.sign(x % 1 - 0.5)),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "line", [0.0, pytest.param(1.0, marks=pytest.mark.slow)], ids=["alone", "beside a straight line"]
)
@pytest.mark.parametrize("name", WAVES)
def test_the_right_slope_of_a_wave_of_any_period_is_never_wrong(name, line):
    wave, slope = WAVES[name]
    rng = np.random.default_rng(0)
    found = []
    for period in 10 ** rng.uniform(-6, 0, size=2000):
        x = rng.uniform(1, 2)
        found.append(verdict(lambda x, p=period: line * x + p * wave(x / p), x, line + slope(x / period)))
    # Beside a line, short waves look like an intermediate result in float32: long steps agree on another slope.
    assert WRONG not in found and found.count(RIGHT) > (1500 if line else 1900)


def test_where_the_output_is_zero_and_so_is_its_rounding_error_a_wrong_slope_is_wrong():
    for slope in np.random.default_rng(0).standard_normal(100):

        def line(x, slope=slope):  # whose outputs near 0 are rounded as well
            return slope * x + 0.3 * slope * x - 0.1 * x

        assert verdict(line, 0.0, 1.3 * slope - 0.1) == RIGHT
        assert verdict(line, 0.0, 2 * slope) == WRONG


STEEP = [  # the function, x, the right slope and a wrong one: each changes on a shorter scale than x
    (np.log, 1e-4, 1e4, 1.001e4),
    (np.sqrt, 1e-5, 0.5 / 1e-5**0.5, 1.0),
    (lambda x: np.tanh(3 * (x - 1000.0)), 1000.1, 3 * (1 - np.tanh(0.3000000000000682) ** 2), 2.0),
    (lambda x: np.clip(x, -1e-5, 1e-5), 0.0, 1.0, 0.0),
]


@pytest.mark.parametrize("function, x, right, wrong", STEEP, ids=["log", "root", "tanh", "clip"])
def test_a_step_that_is_too_long_for_the_function_is_shortened(function, x, right, wrong):
    assert verdict(function, x, right) == RIGHT
    assert verdict(function, x, wrong) == WRONG


def test_a_forward_pass_that_is_nowhere_finite_gives_no_numeric_value():
    found, numeric, uncertainty = judge(1.0, along(lambda x: np.nan if x != 0.3 else 0.0, 0.3), 1e-6, 1e-8)
    assert found == CANNOT_TELL and np.isnan(numeric) and uncertainty == np.inf
