"""Forward passes whose output changes in steps: finite differences see the steps, so they decide less."""

import numpy as np
import pytest
from verdicts import check


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def rounded(decimals, factor=1.0):
    return lambda x: (np.round(x**2, decimals), lambda dy: factor * 2 * x * dy)


@pytest.mark.parametrize("decimals", [2, 3, 4, 5, 6, 7, 8])
def test_the_gradient_of_the_function_that_is_rounded_is_not_called_wrong(decimals):
    for seed in range(3):
        report = check(rounded(decimals), normal(6, seed=seed), seed=seed, raises=False)
        assert report["x"].verdict == "CANNOT TELL"
        assert "the output changes in steps of" in report["x"].explain()


@pytest.mark.parametrize("decimals, verdict", [(2, "CANNOT TELL"), (6, "WRONG"), (8, "WRONG"), (12, "WRONG")])
def test_an_error_larger_than_the_steps_explain_is_wrong(decimals, verdict):
    assert check(rounded(decimals, factor=2.0), normal(6), raises=False)["x"].verdict == verdict


def test_a_large_constant_beside_the_function_is_no_step():
    def beside(x):
        return 1e6 + np.abs(np.sin(x)), lambda dy: np.where(x > 0, 1.5, 1.0) * np.sign(np.sin(x)) * np.cos(x) * dy

    report = check(beside, np.array([1.0, -1.2, 0.7, -0.4]), raises=False)
    assert (report["x"].disagree, report["x"].cannot_tell) == (2, 0)


def test_a_gradient_of_zeros_and_a_straight_through_estimate_of_plateaus_are_told_apart():
    x = np.array([0.3, 1.4, -2.2])
    assert check(lambda x: (np.round(x), lambda dy: np.zeros_like(x)), x).is_right
    assert check(lambda x: (np.sign(x), lambda dy: dy), x, raises=False)["x"].verdict == "WRONG"
