"""Typical mistakes of a component: named in any spelling, at the line that has them, and only if all draws agree."""

import numpy as np
import pytest
from corpus import functions_in

from gradcheck import steps
from gradcheck.lines import Component, typical

FUNCTIONS = functions_in("""
softmax(x, *, scale=1.0): 0
    e = np.exp(scale * x)
    y = e / e.sum(axis=-1, keepdims=True)
backward(dy):
    total = (y * dy).sum(axis=-1, keepdims=True)  # (2)
    dx = scale * y * (dy - total)  # (3)
    return dx

diagonal(x, *, scale=1.0): 0
    e = np.exp(scale * x)
    p = e / e.sum(axis=-1, keepdims=True)
backward(dy):
    g = scale * p * dy
    g = g - g * p
    return g
return p, backward

unscaled(x, *, scale=1.0): 0
    e = np.exp(scale * x)
    p = e / e.sum(axis=-1, keepdims=True)
backward(dy):
    return p * dy - p * np.einsum("ij,ij->i", p, dy)[:, None]
return p, backward

averaged(x, *, scale=1.0): 0
    e = np.exp(scale * x)
    y = e / e.sum(axis=-1, keepdims=True)
backward(dy):
    total = np.average(y * dy, axis=-1)[:, None]
    dx = scale * (y * dy - y * total)
    return dx

squared(x, *, scale=1.0): 0
    e = np.exp(scale * x)
    y = e / e.sum(axis=-1, keepdims=True)
backward(dy):
    dx = scale * y * dy**2
    return dx

broken(x, *, scale): 0
    y = x / (not np.size(x))
backward(dy):
    dx = dy
    return dx
""")
softmax, diagonal = FUNCTIONS["softmax"][0], FUNCTIONS["diagonal"][0]
ROWS = (
    typical("diagonal alone", "scale * y * (1 - y) * dy", "only the diagonal is there", where="dx"),
    typical("factor dropped", "V / scale", "the scale is forgotten", where="dx"),
    typical("sum and mean exchanged", "V / x.shape[-1]", "the sum is a mean", where="total"),
    typical("name replaced", "e * dy", "e stands for y", where="dx"),
)
X = np.random.default_rng(0).standard_normal((4, 3))


def first_wrong(name, rows=ROWS, right=softmax):
    return steps(FUNCTIONS[name][0], X, scale=1.7, component=Component(right, rows)).first_wrong


@pytest.mark.parametrize("name, row", [*zip(["diagonal", "unscaled", "averaged"], ROWS[:3], strict=True)])
def test_a_typical_mistake_is_named_however_the_code_is_written(name, row):
    found = first_wrong(name)
    assert found.kind == row.kind and found.sentence.endswith(row.sentence)


def test_a_mistake_that_no_row_makes_is_not_named_by_one():
    assert first_wrong("squared").sentence not in {row.sentence for row in ROWS}


def test_two_rows_that_give_the_same_numbers_are_joined():
    rows = (*ROWS, typical("term dropped", "scale * (y - y**2) * dy", "another name of it", where="dx"))
    assert first_wrong("diagonal", rows).sentence == "only the diagonal is there, or another name of it"


def test_a_right_function_has_no_typical_mistake_and_a_component_that_raises_is_ignored():
    assert first_wrong("softmax") is None
    assert first_wrong("diagonal", ROWS[:1], FUNCTIONS["broken"][0]).kind != "diagonal alone"


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
        first_wrong("diagonal", (row,), right)
