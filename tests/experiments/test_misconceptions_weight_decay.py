"""The experiment on weight decay: both kinds of decay on the first step, and the shrinkage by size of the gradients."""

import numpy as np
import pytest

from minitransformer.experiments.emergence.family import of_size
from minitransformer.experiments.misconceptions import weight_decay as w
from minitransformer.transformer import Transformer


@pytest.fixture
def after_one_step(monkeypatch):
    """A function that returns the matrices of a small model after one step, joined; and the initial matrices."""
    monkeypatch.setattr(w, "PARAMETERS", 900)
    monkeypatch.setattr(w, "STEPS", 1)
    initial = [p.data for p in Transformer(of_size(900), 5).parameters() if p.data.ndim == 2]
    return lambda **decay: joined(w.trained(5, **decay)[0]), joined(initial)


def joined(matrices):
    return np.concatenate([matrix.ravel() for matrix in matrices])


def test_added_decay_goes_through_adam_and_decoupled_decay_does_not(after_one_step):
    trained, initial = after_one_step
    steps = initial - trained(added=1e6)  # so large that it decides the sign of each gradient
    np.testing.assert_allclose(steps, w.LR * np.sign(initial), rtol=1e-3)
    np.testing.assert_allclose(trained() - trained(decoupled=0.5), 0.5 * w.LR * initial, atol=1e-7)


def test_shrinkage_is_the_log_ratio_of_lengths_of_the_parts_sorted_by_gradient():
    weights, sizes = [np.array([[3.0, 4.0], [1.0, 1.0]])], [np.array([[5.0, 6.0], [1.0, 2.0]])]
    decayed = [np.array([[1.5, 2.0], [1.0, 1.0]])]
    assert w.shrinkages(weights, decayed, sizes, 2) == pytest.approx([0, np.log(2)])


def test_the_numbers_compare_the_largest_quarter_with_the_smallest(monkeypatch):
    sizes = [np.arange(40.0)]
    factors = {"plain": np.ones(40), "decoupled": np.repeat([0.5, 1], 20), "added": np.repeat([1, 0.25], 20)}
    monkeypatch.setattr(w, "trained", lambda seed, **decay: ([factors[next(iter(decay), "plain")]], sizes))
    found = w.measure(0)
    assert found["adamw"] == pytest.approx(-np.log(2))
    assert found["l2"] == pytest.approx(np.log(4))
    assert found["difference"] == pytest.approx(np.log(8))
