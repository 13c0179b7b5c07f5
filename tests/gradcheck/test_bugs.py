"""Gradients at the limits of a check, and random polynomials: right ones are always right, wrong ones always wrong."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose
from verdicts import check

from gradcheck import GradientError
from minitransformer import softmax


def test_a_softmax_backward_of_zeros_under_a_nearly_constant_dy_is_beyond_central_differences_alone():
    # The very reason for refusing a constant one: here it is off by 1e-12, so that it is let through.
    def zeros(x):
        return softmax(x)[0], np.zeros_like

    x = np.random.default_rng(0).standard_normal((3, 4))
    dy = np.ones((3, 4))
    dy[0, 0] += 1e-12
    with pytest.raises(GradientError, match=r"disagree.*the complex step gives"):
        check(zeros, x, dy=dy)
    with pytest.raises(GradientError, match="cannot tell: the norm of the gradient is"):
        check(zeros, x, dy=dy, oracles="central")
    assert check(zeros, x, dy=dy, oracles="central", atol=1e-8).is_right


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
