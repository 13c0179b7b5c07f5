"""Dropout."""

import numpy as np
import pytest

from minitransformer import Dropout, dropout


def test_it_zeroes_what_is_not_kept_and_divides_the_rest(rng):
    x, dy = rng.normal(size=(2, 3, 4))
    keep = rng.random((3, 4)) < 0.6
    y, backward = dropout(x, keep=keep, p=0.4)
    for i in np.ndindex(3, 4):
        assert y[i] == pytest.approx(x[i] / 0.6 if keep[i] else 0)
        assert backward(dy)[i] == pytest.approx(dy[i] / 0.6 if keep[i] else 0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_fraction_is_p_and_the_expectation_is_x(rng, p):
    y, backward = Dropout(p)(np.ones((500, 400)), rng=rng)
    deviation = np.sqrt(p * (1 - p) / y.size)
    assert (y == 0).mean() == pytest.approx(p, abs=5 * deviation)
    assert y.mean() == pytest.approx(1, abs=5 * deviation / (1 - p))
    assert np.array_equal(backward(np.ones_like(y)), y), "the gradient is dropped in the same places"


def test_neighbours_and_rows_are_dropped_independently(rng):
    dropped = Dropout(0.5)(np.ones((400, 400)), rng=rng)[0] == 0
    assert (dropped[1:] & dropped[:-1]).mean() == pytest.approx(0.25, abs=0.01)
    assert (dropped[:, 1:] & dropped[:, :-1]).mean() == pytest.approx(0.25, abs=0.01)


def test_the_same_generator_gives_the_same_and_each_call_another():
    layer, x, rng = Dropout(0.5), np.ones(100), np.random.default_rng(1)
    first, second = layer(x, rng=rng)[0], layer(x, rng=rng)[0]
    assert not np.array_equal(first, second)
    assert np.array_equal(layer(x, rng=np.random.default_rng(1))[0], first)


def test_without_a_generator_or_with_p_zero_it_changes_nothing(rng):
    x = rng.normal(size=5)
    for layer, generator in [(Dropout(0.5), None), (Dropout(0.0), rng)]:
        y, backward = layer(x, rng=generator)
        assert y is x and backward(x) is x
