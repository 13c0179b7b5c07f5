"""The sentences of a report are true: on arguments compared in part, ties, state, caches and shapes."""

import numpy as np
import pytest
from verdicts import diagnosed, message, normal

import gradcheck
from gradcheck.adapters import from_pair


def said(function, *inputs, **options):
    """Return the message of the GradientError that a check raises."""
    with pytest.raises(gradcheck.GradientError) as raised:
        gradcheck.check(function, *inputs, **options)
    return str(raised.value)


# Entries that were not compared


def test_an_error_outside_the_compared_entries_is_not_said_to_be_small():
    def square(x):
        def backward(dy):
            dx = 2 * x * dy
            dx[::1000] *= 3  # of which a sample of 20 meets none
            return dx

        return x**2, backward

    x = normal(3000)
    assert "off by no more than" not in diagnosed(square, x, max_entries=20, seed=1)["x"].diagnosis


def test_a_gradient_that_is_wrong_at_ties_alone_is_not_said_to_be_reversed():
    def largest(x):
        top = x.max()
        return np.array([top]), lambda dy: dy * (x == top)

    x = normal(6)
    x[0] = x[-1] = 5.0
    sentences = message(largest, x)
    assert "as they move together" in sentences and "reversed" not in sentences


# Arrays without axes


@pytest.mark.parametrize("kind", [float, np.float64])
def test_backward_of_a_number_is_given_a_number_and_may_divide_it(kind):
    def mean_square(x):
        n = x.size

        def backward(dy):
            assert type(dy) is kind
            dy /= n
            return 2 * dy * x

        return kind(np.mean(x**2)), backward

    assert gradcheck.check(mean_square, normal(5), oracles="central").problems == ()


# State


def popped_forward(x):
    return x**2, [x]


def popped_backward(dy, cache):
    x = cache.pop()
    return 2 * x * dy


def test_a_cache_that_backward_empties_is_a_fault():
    message = said(from_pair(popped_forward, popped_backward), normal(4))
    assert "a second backward(dy) raises IndexError: pop from empty list; a backward that may be called only" in message


SAVED = []


def saving(x):
    SAVED.append(x)

    def backward(dy):
        return 2 * SAVED[-1] * dy

    return x**2, backward


def test_a_list_that_each_forward_pass_lengthens_is_a_fault():
    SAVED.clear()
    message = said(saving, normal(4))
    assert "another forward pass before backward(dy) changes it" in message


# Signatures and shapes


def test_a_backward_that_takes_a_cache_is_pointed_to_from_pair():
    def affine(x, w):
        def backward(dy, cache):
            return dy @ cache[1].T, cache[0].T @ dy

        return x @ w, backward

    with pytest.raises(TypeError, match=r"backward must take dy alone; .*see from_pair"):
        gradcheck.check(affine, normal(4, 3), normal(3, 2))


def product_forward(x, w, b):
    return x @ w + b, (x, w)


def without_transpose(dout, cache):
    x, w = cache
    dx = dout @ w
    return dx, x.T @ dout, dout.sum(axis=0)


def without_sum(dout, cache):
    x, w = cache
    db = np.zeros(w.shape[1])
    db += dout
    return dout @ w.T, x.T @ dout, db


def without_either(dout, cache):
    x, w = cache
    dx = dout @ w
    return dx, x.T @ dout, dout.sum(axis=0) * 2


@pytest.mark.parametrize(
    "backward, line, shapes",
    [
        (without_transpose, "dx = dout @ w", "dout has shape (4, 2), w has shape (3, 2); w is not transposed"),
        (without_sum, "db += dout", "db has shape (2,), dout has shape (4, 2); the sum over axis 0 is missing"),
        (without_either, "dx = dout @ w", "dout has shape (4, 2), w has shape (3, 2)"),
    ],
)
def test_an_error_of_shapes_comes_with_its_line_and_with_the_mistake_that_explains_it(backward, line, shapes):
    call = from_pair(product_forward, backward), normal(4, 3), normal(3, 2), normal(2)
    number = backward.__code__.co_firstlineno + (3 if "db" in line else 2)
    assert said(*call) == f"product_forward: backward raises ValueError in line {number}, `{line}`: {shapes}"
    row = gradcheck.steps(*call).first_wrong
    assert (row.name, row.line, row.sentence) == (line[:2], number, f"it raises ValueError: {shapes}")
