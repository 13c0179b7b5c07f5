"""The first steps: their gradients are right, a planted sign is found, and one query is a row of attention."""

import runpy

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import rngs

import gradcheck
from minitransformer import attention, first_steps
from minitransformer.first_steps import attend, check, expression, fork, neuron, shares, sum_and_share, wrong_neuron

SHAPES = {
    expression: ((), (), ()),
    fork: ((),),
    sum_and_share: ((2, 3),),
    neuron: (3, 3, ()),
    shares: ((), ()),
    attend: (4, (5, 4), (5, 4)),
}


def drawn(function, rng):
    return [np.array(rng.normal(size=shape)) for shape in SHAPES[function]]


@pytest.mark.parametrize("function", SHAPES)
def test_every_gradient_is_right_by_the_check_of_the_page_and_by_gradcheck(function, rng):
    inputs = drawn(function, rng)
    assert check(function, *inputs) < 1e-8
    assert gradcheck.check(function, *inputs).is_right


def test_the_check_of_the_page_finds_the_planted_sign_and_leaves_the_inputs_as_they_are(rng):
    inputs = drawn(neuron, rng)
    before = [x.copy() for x in inputs]
    assert check(wrong_neuron, *inputs) > 1e-3
    assert all(np.array_equal(x, kept) for x, kept in zip(inputs, before, strict=True))


@given(rngs, st.integers(1, 6), st.integers(1, 5))
def test_one_query_is_attention(rng, T, D):
    q, k, v, dy = rng.normal(size=D), rng.normal(size=(T, D)), rng.normal(size=(T, D)), rng.normal(size=D)
    y, backward = attend(q, k, v)
    expected, attention_backward = attention(q[None, None], k[None], v[None])
    np.testing.assert_allclose(y, expected[0, 0], rtol=0, atol=1e-12)
    for gradient, other in zip(backward(dy), attention_backward(dy[None, None]), strict=True):
        np.testing.assert_allclose(gradient, other.reshape(gradient.shape), rtol=0, atol=1e-12)


def test_the_numbers_in_the_text_are_those_of_the_code(capsys):
    L, backward = expression(2.0, -3.0, 10.0)
    assert (L, *backward()) == (16.0, -24.0, 16.0, 8.0)
    assert expression(2.001, -3.0, 10.0)[0] == pytest.approx(15.976009, abs=1e-12)
    assert abs(L - 15.976009 - (24 * 0.001 - 0.000009)) < 1e-12
    runpy.run_path(first_steps.__file__, run_name="__main__")
    errors = dict(line.split(": largest error ") for line in capsys.readouterr().out.splitlines())
    assert errors.pop("wrong_neuron") == "2e-01"
    assert list(errors) == [function.__name__ for function in SHAPES]
    assert all(float(error) < 1e-8 for error in errors.values())
