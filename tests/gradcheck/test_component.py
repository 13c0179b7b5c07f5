"""Typical mistakes of a component: named in any spelling, at the line that has them, and only if all draws agree."""

import numpy as np
import pytest

from gradcheck import steps
from gradcheck.lines import Component, typical


def softmax(x, *, scale=1.0):
    e = np.exp(scale * x)
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        total = (y * dy).sum(axis=-1, keepdims=True)  # (2)
        dx = scale * y * (dy - total)  # (3)
        return dx

    return y, backward


ROWS = (
    typical("diagonal alone", "scale * y * (1 - y) * dy", "only the diagonal is there", where="dx"),
    typical("factor dropped", "V / scale", "the scale is forgotten", where="dx"),
    typical("sum and mean exchanged", "V / x.shape[-1]", "the sum is a mean", where="total"),
    typical("name replaced", "e * dy", "e stands for y", where="dx"),
)


def diagonal(x, *, scale=1.0):
    e = np.exp(scale * x)
    p = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        g = scale * p * dy
        g = g - g * p
        return g

    return p, backward


def unscaled(x, *, scale=1.0):
    e = np.exp(scale * x)
    p = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        return p * dy - p * np.einsum("ij,ij->i", p, dy)[:, None]

    return p, backward


def averaged(x, *, scale=1.0):
    e = np.exp(scale * x)
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        total = np.average(y * dy, axis=-1)[:, None]
        dx = scale * (y * dy - y * total)
        return dx

    return y, backward


def squared(x, *, scale=1.0):
    e = np.exp(scale * x)
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        dx = scale * y * dy**2
        return dx

    return y, backward


X = np.random.default_rng(0).standard_normal((4, 3))


def first_wrong(function, rows=ROWS, right=softmax):
    return steps(function, X, scale=1.7, component=Component(right, rows)).first_wrong


@pytest.mark.parametrize(
    "function, kind, sentence",
    [
        (diagonal, "diagonal alone", "only the diagonal is there"),
        (unscaled, "factor dropped", "the scale is forgotten"),
        (averaged, "sum and mean exchanged", "the sum is a mean"),
    ],
)
def test_a_typical_mistake_is_named_however_the_code_is_written(function, kind, sentence):
    row = first_wrong(function)
    assert row.kind == kind and row.sentence.endswith(sentence)


def test_a_mistake_that_no_row_makes_is_not_named_by_one():
    assert first_wrong(squared).sentence not in {row.sentence for row in ROWS}


def test_two_rows_that_give_the_same_numbers_are_joined():
    rows = (*ROWS, typical("term dropped", "scale * (y - y**2) * dy", "another name of it", where="dx"))
    assert first_wrong(diagonal, rows).sentence == "only the diagonal is there, or another name of it"


def test_a_right_function_has_no_typical_mistake_and_a_component_that_raises_is_ignored():
    def broken(x, *, scale):
        if np.size(x):
            raise ValueError("it takes no such inputs")

        def backward(dy):
            dx = dy
            return dx

        return x, backward

    assert first_wrong(softmax) is None
    assert first_wrong(diagonal, ROWS[:1], broken).kind != "diagonal alone"


@pytest.mark.parametrize(
    "right, row, message",
    [
        (np.round, ROWS[0], "round defines no function `backward`"),
        (
            softmax,
            typical("term dropped", "dy", "a term", where="dz"),
            "where must be a target in softmax.backward .*'dz'",
        ),
    ],
)
def test_a_component_without_the_place_of_a_row_is_refused(right, row, message):
    with pytest.raises(ValueError, match=message):
        first_wrong(diagonal, (row,), right)
