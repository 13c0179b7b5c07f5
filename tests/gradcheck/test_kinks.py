"""Kinks that several entries share, ties, and outputs that change in steps."""

import re

import numpy as np
import pytest
from sampling import THOROUGH
from scipy import optimize
from verdicts import check, check_call, check_case, normal, verdict

from gradcheck import Call, GradientError
from minitransformer.cases import CASES


def maximum(share, extreme=np.max, of=lambda x: x):
    """The extreme of each row; `share(ties)` is the gradient of each of the entries that are equal to it."""

    def function(x):
        y = extreme(of(x), axis=-1)

        def backward(dy):
            ties = of(x) == y[..., None]
            return dy[..., None] * share(ties) * np.where(of is np.abs, np.sign(x), 1)

        return y, backward

    return function


def first(ties):
    return ties * (np.cumsum(ties, axis=-1) == 1)


def evenly(ties):
    return ties / ties.sum(axis=-1, keepdims=True)


def unevenly(ties):
    return evenly(ties * np.arange(1, ties.shape[-1] + 1))


WRONG = (lambda ties: 1.0 * ties, lambda ties: 0.0 * ties, lambda ties: 0.9 * evenly(ties))
whole = WRONG[0]
TIED = {
    "all equal": np.full((1, 4), 2.0),
    "some equal": np.array([[1.0, 2.0, 2.0, -1.0, 2.0]]),
    "in two rows of three": np.array([[0.5, 0.5, -1.0], [1.0, -2.0, 0.3], [3.0, 3.0, 3.0]]),
    "all zero": np.zeros((2, 3)),
}


@pytest.mark.parametrize("tied", TIED)
@pytest.mark.parametrize("extreme", [np.max, np.min])
def test_a_maximum_may_share_its_gradient_among_equals_as_it_likes_but_only_once(tied, extreme):
    x = TIED[tied] * (1 if extreme is np.max else -1)
    for share in (first, evenly, unevenly):
        assert verdict(maximum(share, extreme), x).startswith("right, ")
    for share in WRONG:
        assert verdict(maximum(share, extreme), x) == "WRONG"


def test_equal_moduli_of_both_signs_are_a_tie_as_well():
    x = np.array([[2.0, -2.0, 1.0, 2.0]])
    assert verdict(maximum(evenly, of=np.abs), x) == "right, 3 at a kink"
    assert verdict(maximum(whole, of=np.abs), x) == "WRONG"


def test_the_message_says_that_the_entries_are_wrong_together():
    message = r"function: dx: 3 of 3 entries disagree: each alone may be right at a kink, but as they move together b"
    with pytest.raises(GradientError, match=message + r"ackward gives \S+, central differences give \S+$") as caught:
        check(maximum(whole), np.ones((1, 3)))
    backwards, true = caught.value.report["x"].together
    assert backwards == pytest.approx(3 * true)


def pool(x, *, to_all=False):
    """The maximum of overlapping pairs along a line."""
    pairs = np.stack([x[:-1], x[1:]])
    y = pairs.max(axis=0)

    def backward(dy):
        ties = pairs == y
        given = dy * (ties if to_all else first(ties.T).T)
        dx = np.zeros_like(x)
        dx[:-1] += given[0]
        dx[1:] += given[1]
        return dx

    return y, backward


def test_a_pool_with_overlapping_windows_over_equals_is_seen_through():
    x = np.array([1.0, 3.0, 3.0, 3.0, 0.0, 2.0])
    assert verdict(pool, x).startswith("right, ")
    assert verdict(pool, x, to_all=True) == verdict(pool, np.zeros(6), to_all=True) == "WRONG"


@pytest.mark.parametrize("at_zero", [0.0, 0.3, 1.0])
def test_kinks_of_their_own_do_not_have_to_hold_together(at_zero):
    def relu(x):
        return np.maximum(x, 0), lambda dy: dy * np.where(x == 0, at_zero, x > 0)

    for seed in range(3):
        x = np.where(normal(4, 5, seed=seed) > 0.3, 0.0, normal(4, 5, seed=seed + 50))
        assert verdict(relu, x, seed=seed).startswith("right")


def test_a_distance_of_equals_may_be_given_anything_that_is_the_same_for_both():
    def apart(x, *, both=False):
        y = np.maximum(x[0] - x[1], 0)  # moved together, nothing happens
        return y, lambda dy: dy * np.array([0.5, 0.5 if both else -0.5])

    assert verdict(apart, np.array([1.5, 1.5])) == "right, 2 at a kink"
    assert verdict(apart, np.array([1.5, 1.5]), both=True) == "WRONG"


@pytest.mark.parametrize("case", [case for case in CASES if case.name.startswith("relu")], ids=lambda case: case.name)
def test_the_relus_of_the_catalogue_are_right_at_zeros_too(case):
    assert check_case(case).is_right
    call = case.call(np.random.default_rng(0))
    zeros = Call(call.target, *(np.zeros_like(value) for value in call.inputs), **call.options)
    assert check_call(zeros).is_right


def sorted_values(x, *, assigned=None, factor=1.0):
    """y = sort(x), whose backward assigns the ranks `assigned`; among equals any order is right."""
    ranks = np.argsort(x, kind="stable") if assigned is None else np.array(assigned)

    def backward(dy):
        dx = np.zeros_like(x)
        dx[ranks] = factor * dy
        return dx

    return np.sort(x), backward


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 1, 3), (1, 2, 0, 3)])
def test_a_sort_of_three_equals_may_rank_them_in_any_order_but_not_with_others(order):
    x = np.array([1.0, 1.0, 1.0, 2.0])
    for seed in range(5):
        assert verdict(sorted_values, x, seed=seed, assigned=order) == "right, 3 at a kink"
        assert verdict(sorted_values, x, seed=seed, assigned=order, factor=1.5) == "WRONG"
        assert verdict(sorted_values, x, seed=seed, assigned=(order[0], order[1], 3, order[2])) == "WRONG"


def test_a_median_of_equals_is_one_of_them_and_cannot_be_told():
    def median(x, *, whose=1, factor=1.0):
        return np.sort(x)[len(x) // 2], lambda dy: factor * dy * (np.arange(len(x)) == whose)

    for n in (3, 5):
        for whose in range(n):
            assert verdict(median, np.full(n, 0.7), whose=whose) == "CANNOT TELL"
        assert verdict(median, np.full(n, 0.7), factor=1.01) == "WRONG"
        assert verdict(median, np.full(n, 0.7), factor=0.5) == "CANNOT TELL"


@pytest.mark.parametrize("large", [1.0, 1e3, 1e6, 1e9, 1e11])
def test_rounding_errors_of_a_large_constant_are_no_ties(large):
    def beside(x):
        return large + np.sin(x), lambda dy: 1.5 * np.cos(x) * dy

    assert verdict(beside, np.array([0.3, 0.3, -1.0])) == "WRONG"


# Steps of the output


def rounded(decimals, factor=1.0):
    return lambda x: (np.round(x**2, decimals), lambda dy: factor * 2 * x * dy)


@pytest.mark.parametrize("decimals", [2, 3, 4, 5, 6, 7, 8])
def test_the_gradient_of_the_function_that_is_rounded_is_not_called_wrong(decimals):
    for seed in range(3):
        report = check(rounded(decimals), normal(6, seed=seed), seed=seed, raises=False)
        assert report["x"].verdict == "CANNOT TELL"
        assert "the output changes in steps of" in report["x"].explain()


def softmax_in_single_precision(scale=1.0, forgotten=False):
    """Return softmax with its sum in float32: shorter steps than 6e-8 of the sum do not change it."""

    def softmax(x):
        y = np.exp(x) / np.exp(x).sum().astype(np.float32).astype(float)
        return y, lambda dy: scale * y * (dy - (0 if forgotten else (dy * y).sum()))

    return softmax


@pytest.mark.parametrize(
    "wrong, size, expected",
    [
        ({}, 4, {"CANNOT TELL"}),
        ({}, 30, {"CANNOT TELL"}),
        ({"forgotten": True}, 4, {"WRONG", "CANNOT TELL"}),
        ({"forgotten": True}, 30, {"WRONG"}),
        ({"scale": 1.05}, 30, {"WRONG"}),
    ],
)
def test_an_intermediate_result_in_single_precision_decides_no_verdict(wrong, size, expected):
    for seed in range(10):
        report = check(softmax_in_single_precision(**wrong), normal(size, seed=seed), raises=False, explain=False)
        assert report["x"].verdict in expected
        if report["x"].verdict == "CANNOT TELL":
            assert re.search("as if part of it were computed in float32|scale shorter than", report["x"].explain())


@pytest.mark.parametrize("decimals, expected", [(2, "CANNOT TELL"), (6, "WRONG"), (8, "WRONG"), (12, "WRONG")])
def test_an_error_larger_than_the_steps_explain_is_wrong(decimals, expected):
    assert verdict(rounded(decimals, factor=2.0), normal(6)) == expected


def test_a_rounded_argument_beside_a_smooth_one_is_seen():
    def quantized(x, w):
        q = np.round(8 * x) / 8
        return q @ w, lambda dy: (dy @ w.T, q.T @ dy)

    report = check(quantized, normal(3, 4), normal(4, 2, seed=1), raises=False)
    assert report["x"].verdict == "CANNOT TELL" and report["w"].is_right
    assert "the output changes in steps of" in report["x"].explain()


def test_a_large_constant_beside_the_function_is_no_step():
    def beside(x):
        return 1e6 + np.abs(np.sin(x)), lambda dy: np.where(x > 0, 1.5, 1.0) * np.sign(np.sin(x)) * np.cos(x) * dy

    report = check(beside, np.array([1.0, -1.2, 0.7, -0.4]), raises=False)
    assert (report["x"].disagree, report["x"].cannot_tell) == (2, 0)


def test_a_gradient_of_zeros_and_a_straight_through_estimate_of_plateaus_are_told_apart():
    x = np.array([0.3, 1.4, -2.2])
    assert verdict(lambda x: (np.round(x), lambda dy: np.zeros_like(x)), x).startswith("right")
    assert verdict(lambda x: (np.sign(x), lambda dy: dy), x) == "WRONG"


@pytest.mark.parametrize("factor, found", [(1.0, "CANNOT TELL"), (1.001, "WRONG")], ids=["right", "off by 0.1 %"])
def test_a_solver_that_stops_early_is_not_accused_of_its_tolerance(factor, found):
    def root(a):
        y = np.ones_like(a)
        while np.max(np.abs(y**3 + y - a)) > 1e-6:
            y = y - 0.2 * (y**3 + y - a)
        return y, lambda dy: factor * dy / (3 * y * y + 1)

    report = check(root, np.array([1.3, 0.4, 1.9]), raises=False)
    assert report["a"].verdict == found
    assert (found == "WRONG") or "the forward pass is step-wise: the output jumps by 2e-07" in report["a"].explain()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("method", ["brentq", "newton", "bisect"])
@pytest.mark.parametrize("draw", range(40) if THOROUGH else [6])
def test_the_implicit_gradient_of_a_root_of_a_tolerance_is_never_wrong_and_one_off_by_a_percent_always(method, draw):
    def root(a, b):  # of x³ + a x = b
        def cubic(x, a, b):
            return x**3 + a * x - b

        solve, pairs = getattr(optimize, method), zip(a, b, strict=True)
        if method == "newton":
            x = np.array([solve(cubic, pair[1], args=pair, tol=1e-6) for pair in pairs])
        else:
            x = np.array([solve(cubic, -10, 10, args=pair, xtol=1e-6) for pair in pairs])

        def backward(dy):
            db = factor * dy / (3 * x**2 + a)
            return -x * db, db

        return x, backward

    rng = np.random.default_rng(draw)
    inputs = rng.uniform(0.5, 2, 3), rng.normal(size=3)
    factor = 1.01
    assert "WRONG" in [argument.verdict for argument in check(root, *inputs, raises=False, explain=False).arguments]
    factor = 1.0
    for argument in check(root, *inputs, raises=False, explain=False).arguments:
        assert argument.verdict != "WRONG"
        assert argument.is_right or "the forward pass is step-wise: the output" in argument.explain()


@pytest.mark.parametrize(
    "function, slope, found",
    [
        (np.log, lambda p: 1.003 / p, "WRONG"),
        (lambda p: 1 + 1e-13 * np.abs(p), lambda p: 1e-13 * np.sign(p), "CANNOT TELL"),
    ],
    ids=["wrong", "tiny"],
)
def test_a_function_that_refuses_inputs_nearby_is_still_judged(function, slope, found):
    def of_probabilities(p):
        if np.any(p.real > 1) or np.any(p.real < 0):
            raise ValueError("p must be a probability")
        return function(p), lambda dy: dy * slope(p)

    assert check(of_probabilities, np.array([0.97, 0.4, 0.6]), raises=False)["p"].verdict == found
