"""What a report says beside its verdict is true: of arguments compared in part, ties, state, caches and shapes."""

import numpy as np
import pytest

import gradcheck
from gradcheck.adapters import from_pair


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def said(function, *inputs, **options):
    """Return the message of the GradientError that a check raises."""
    with pytest.raises(gradcheck.GradientError) as raised:
        gradcheck.check(function, *inputs, **options)
    return str(raised.value)


# What was not compared


@pytest.mark.parametrize("seed", range(10))
def test_an_error_outside_the_compared_entries_is_not_said_to_be_small(seed):
    def square(x):
        def backward(dy):
            dx = 2 * x * dy
            dx[seed::1000] *= 3  # of which a sample of 20 meets none
            return dx

        return x**2, backward

    x = normal(3000, seed=seed)
    message = said(square, x, max_entries=20, seed=1)
    assert "off by no more than" not in message


@pytest.mark.parametrize("seed", range(14))
def test_a_gradient_that_is_wrong_at_ties_alone_is_not_said_to_be_reversed(seed):
    def largest(x):
        top = x.max()
        return np.array([top]), lambda dy: dy * (x == top)

    x = normal(6, seed=seed)
    x[0] = x[-1] = 5.0
    message = said(largest, x)
    assert "as they move together" in message and "reversed" not in message
