"""Pairs of functions that share a cache."""

import numpy as np
import pytest
from verdicts import check

from gradcheck import GradientError
from gradcheck.adapters import from_pair


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# Pairs with a cache


def affine_forward(x, w, b):
    return x @ w + b, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


def affine_backward_wrong(dout, cache):
    x, w = cache
    return [dout @ w.T, x.T @ dout, dout.mean(axis=0)]


def relu_forward(x):
    return np.maximum(0, x), x


def relu_backward(dout, cache):
    return dout * (cache > 0)


def dropout_forward(x, dropout_param):
    rng = np.random.default_rng(dropout_param["seed"])
    mask = (rng.random(x.shape) < dropout_param["p"]) / dropout_param["p"]
    return x * mask, (dropout_param, mask)


def dropout_backward(dout, cache):
    return dout * cache[1]


INPUTS = normal(4, 3), normal(3, 2, seed=1), normal(2, seed=2)


def test_a_right_pair_passes_with_the_names_of_its_inputs():
    report = check(from_pair(affine_forward, affine_backward), *INPUTS)
    assert report.name == "affine_forward"
    assert [(a.name, a.verdict) for a in report.arguments] == [("x", "right"), ("w", "right"), ("b", "right")]


def test_a_wrong_pair_fails_in_the_gradient_that_is_wrong():
    with pytest.raises(GradientError) as caught:
        check(from_pair(affine_forward, affine_backward_wrong), *INPUTS)
    assert [a.name for a in caught.value.report.arguments if not a.is_right] == ["b"]


def test_a_pair_of_one_input_returns_its_gradient_bare():
    assert check(from_pair(relu_forward, relu_backward), normal(3, 4)).is_right


def test_settings_may_be_positional_as_in_the_courses():
    function = from_pair(dropout_forward, dropout_backward)
    assert check(function, normal(3, 4), {"p": 0.7, "seed": 0}).is_right


def test_keyword_options_reach_the_forward_pass():
    def scale_forward(x, *, factor):
        return factor * x, factor

    def scale_backward(dy, factor):
        return factor * dy

    assert check(from_pair(scale_forward, scale_backward), normal(3), factor=3.0).is_right


def test_each_call_keeps_its_own_cache():
    function = from_pair(affine_forward, affine_backward)
    x, w, b = INPUTS
    _, first = function(x, w, b)
    _, second = function(2 * x, w, b)
    dy = normal(4, 2, seed=3)
    np.testing.assert_array_equal(2 * first(dy)[1], second(dy)[1])


@pytest.mark.parametrize(
    "forward, message",
    [
        (lambda x: x, r"<lambda> returned an array of float64; expected a pair \(y, cache\)"),
        (lambda x: (x, 1, 2), r"<lambda> returned a tuple of 3; expected a pair \(y, cache\)"),
    ],
)
def test_a_forward_that_returns_no_pair_is_refused(forward, message):
    with pytest.raises(TypeError, match=message):
        check(from_pair(forward, relu_backward), normal(3))
