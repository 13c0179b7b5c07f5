"""Wrong gradients that everyone writes sooner or later, and random ones: each is caught in exactly its arguments."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose
from verdicts import check, normal, verdict, verdicts

import gradcheck
from gradcheck import GradientError

T = 4


def softmax(x, *, bug=None):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        if bug == "without the Jacobian":
            return dy
        if bug == "zeros":
            return np.zeros_like(dy)
        if bug == "missing term":
            return y * dy
        axis = -2 if bug == "wrong axis" else -1
        total = np.mean if bug == "mean for sum" else np.sum
        dx = y * (dy - total(dy * y, axis=axis, keepdims=True))
        return -dx if bug == "sign flipped" else dx

    return y, backward


def layer_norm(x, gamma, beta, *, bug=None):
    centred = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    x_hat = centred * r

    def backward(dy):
        positions = tuple(range(dy.ndim - 1))
        dx_hat = dy if bug == "gamma outside the means" else dy * gamma
        shift = dx_hat.mean(axis=-1, keepdims=True)
        scale = x_hat * (dx_hat * x_hat).mean(axis=-1, keepdims=True)
        if bug == "shift forgotten":
            shift = 0.0
        if bug == "scale forgotten":
            scale = 0.0
        dx = r * (dx_hat - shift - scale)
        if bug == "gamma outside the means":
            dx = dx * gamma
        dgamma = (dy * x_hat).sum(axis=positions)
        dbeta = dy.sum(axis=positions)
        if bug == "mean of dy":
            dbeta = dy.mean(axis=positions)
        if bug == "exchanged":
            dgamma, dbeta = dbeta, dgamma
        return dx, dgamma, dbeta

    return gamma * x_hat + beta, backward


SHAPES = {softmax: [(3, T)], layer_norm: [(2, 3, 5), (5,), (5,)]}
BUGS = {  # bug: the function, and the arguments whose gradient it makes wrong
    **dict.fromkeys(["gamma outside the means", "shift forgotten", "scale forgotten"], (layer_norm, ["x"])),
    "mean of dy": (layer_norm, ["beta"]),
    "exchanged": (layer_norm, ["gamma", "beta"]),
    **dict.fromkeys(["without the Jacobian", "zeros", "missing term", "wrong axis"], (softmax, ["x"])),
    **dict.fromkeys(["mean for sum", "sign flipped"], (softmax, ["x"])),
}
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))]


@pytest.mark.parametrize("function", SHAPES, ids=lambda function: function.__name__)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_right_gradient_passes(function, seed):
    inputs = [normal(*shape, seed=seed) for shape in SHAPES[function]]
    report = check(function, *inputs, seed=seed)
    assert report.is_right and max(argument.worst_relative for argument in report.arguments) < 1e-8
    assert [argument.entries for argument in report.arguments] == [array.size for array in inputs]


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_planted_bug_is_caught_in_the_arguments_it_affects_and_in_no_other(bug, seed):
    function, wrong = BUGS[bug]
    found = verdicts(function, *(normal(*shape, seed=seed) for shape in SHAPES[function]), seed=seed, bug=bug)
    assert [name for name, verdict in found.items() if verdict != "right"] == wrong


def test_gamma_outside_the_means_cannot_be_seen_at_gamma_one():
    # The value that every layer norm starts from: this is why parameters are drawn at random.
    assert check(layer_norm, normal(2, 3, 5), np.ones(5), np.zeros(5), bug="gamma outside the means").is_right


def test_a_softmax_backward_of_zeros_under_a_nearly_constant_dy_is_beyond_central_differences_alone():
    # The very reason for refusing a constant one: here it is off by 1e-12, so that it is let through.
    x = np.random.default_rng(0).standard_normal((3, T))
    dy = np.ones((3, T))
    dy[0, 0] += 1e-12
    with pytest.raises(GradientError, match=r"disagree.*the complex step gives"):
        check(softmax, x, dy=dy, bug="zeros")
    with pytest.raises(GradientError, match="cannot tell: the norm of the gradient is"):
        check(softmax, x, dy=dy, bug="zeros", oracles="central")
    assert check(softmax, x, dy=dy, bug="zeros", oracles="central", atol=1e-8).is_right


def test_a_checker_one_and_a_half_times_the_truth_calls_right_gradients_wrong(monkeypatch):
    inner = gradcheck.central_differences._inner
    monkeypatch.setattr(gradcheck.central_differences, "_inner", lambda a, b: 1.5 * inner(a, b))
    assert verdict(softmax, np.random.default_rng(0).standard_normal((3, T))) == "WRONG"


shapes = st.tuples(st.integers(1, 4), st.integers(1, 3))
seeds = st.integers(0, 2**32)


def random_map(shape, rng):
    """y = A x + (B x)² x̄ with random A, B: a polynomial map of degree 3. Returns it with an error in its gradient."""
    n_x, n_y = shape
    a, b = rng.standard_normal((n_y, n_x)), rng.standard_normal((n_y, n_x))

    def function(x, *, error=0.0):
        mean = x.mean()

        def backward(dy):
            quadratic = b @ x
            dx = a.T @ dy + b.T @ (2 * quadratic * mean * dy) + np.sum(dy * quadratic**2) / n_x
            return dx + error * max(1.0, np.abs(dx).max()) * (np.arange(n_x) == n_x - 1)

        return a @ x + (b @ x) ** 2 * mean, backward

    return function, rng.standard_normal(n_x)


@given(shapes, seeds)
def test_random_polynomial_maps_are_always_called_right(shape, seed):
    function, x = random_map(shape, np.random.default_rng(seed))
    report = check(function, x, seed=seed)
    assert report.arguments[0].verdict == "right"
    assert_allclose(report.arguments[0].analytic, report.arguments[0].numeric, rtol=1e-8, atol=1e-9)


@given(shapes, seeds, st.floats(1e-4, 1e4), st.sampled_from([1.0, -1.0]))
def test_random_polynomial_maps_with_one_entry_off_are_always_called_wrong_there(shape, seed, error, sign):
    function, x = random_map(shape, np.random.default_rng(seed))
    argument = check(function, x, seed=seed, error=sign * error, raises=False)["x"]
    assert argument.disagree == 1 and argument.worst_index == (len(x) - 1,) and argument.at_kink == 0
