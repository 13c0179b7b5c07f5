"""The scaling law: the fit finds a known law, and the closed form is the numeric minimum."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.optimize import minimize_scalar

from minitransformer.experiments.emergence import ScalingLaw, fit_scaling_law, forecast as f, scaling_law as s

TRUTH = ScalingLaw(E=1.2, A=15.0, B=60.0, alpha=0.35, beta=0.5)
SIZES, LENGTHS, SEEDS = np.geomspace(1e3, 2e6, 8), np.array([25e3, 5e4, 1e5, 2e5]), 3


@pytest.fixture
def few_refits(monkeypatch):
    """Fewer resamples, for tests that do not depend on their number."""
    monkeypatch.setattr(s, "REFITS", 20)


def family(law, rng=None, noise=0.0):
    """Return, for each size and seed, an array (lengths, 3) of N, D and the law's loss, with noise of that share."""
    rng = rng or np.random.default_rng(0)

    def run(N):
        L = law.loss(N, LENGTHS) * np.exp(noise * rng.normal(size=len(LENGTHS)))
        return np.stack([np.full(len(LENGTHS), N), LENGTHS, L], axis=1)

    return [[run(N) for _ in range(SEEDS)] for N in SIZES]


def table(groups):
    """Return the columns N, D and L of a family."""
    return np.concatenate([points for runs in groups for points in runs]).T


laws = st.builds(
    ScalingLaw,
    E=st.floats(0.1, 3),
    A=st.floats(1, 1000),
    B=st.floats(1, 1000),
    alpha=st.floats(0.05, 1.5),
    beta=st.floats(0.05, 1.5),
)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("truth", [TRUTH, ScalingLaw(1.69, 406.4, 410.7, 0.34, 0.28)])
def test_known_constants_are_found_again(truth):
    N, D, L = table(family(truth))
    L[5] *= 1.5  # an outlier hardly moves the fit
    assert fit_scaling_law(N, D, L).alpha == pytest.approx(truth.alpha, rel=0.01)
    found = fit_scaling_law(*table(family(truth)))
    for name in ("E", "A", "B", "alpha", "beta"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=1e-6)


@given(law=laws, log_budget=st.floats(np.log(1e8), np.log(1e20)))
def test_the_closed_form_is_the_numeric_minimum_along_the_budget(law, log_budget):
    C = np.exp(log_budget)
    N, D = law.optimal(C)
    np.testing.assert_allclose(6 * N * D, C)
    reducible = dataclasses.replace(law, E=0.0)  # with E, the differences would be lost in rounding
    numeric = minimize_scalar(
        lambda log_n: reducible.loss(np.exp(log_n), C / 6 / np.exp(log_n)),
        bounds=(np.log(N) - 3, np.log(N) + 2),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert np.log(N) == pytest.approx(numeric.x, abs=1e-4)
    assert reducible.loss(N, D) <= numeric.fun * (1 + 1e-12)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda N, D, L: (N, D, -L), "every L must be positive and finite"),
        (lambda N, D, L: (N, np.minimum(D, 5e4), L), "at least 3 different D, not 2"),
    ],
)
def test_measurements_that_determine_no_law_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        fit_scaling_law(*change(*table(family(TRUTH))))


@pytest.mark.slow
@pytest.mark.usefixtures("few_refits")
def test_the_largest_size_is_predicted_without_it():
    groups = family(TRUTH)
    spoiled = [*groups[:-1], [points * [1, 1, 2] for points in groups[-1]]]
    for largest in (groups, spoiled):
        prediction = f.predict_largest(largest)
        assert prediction.predicted == pytest.approx(TRUTH.loss(SIZES[-1], LENGTHS[-1]), rel=1e-6)
        assert prediction.measured == pytest.approx(largest[-1][0][-1, 2])
        assert prediction.no_better == pytest.approx(TRUTH.loss(SIZES[-2], LENGTHS[-1]))
        assert (prediction.parameters, prediction.characters) == (int(SIZES[-1]), LENGTHS[-1])


def runs_of(groups):
    """Return a family in the form of the results of Plan.run, with the entries that a forecast reads."""
    return [
        [
            {"parameters": points[0, 0], "lengths": [{"characters": D, "loss": L} for _, D, L in points]}
            for points in runs
        ]
        for runs in groups
    ]


@pytest.mark.usefixtures("few_refits")
def test_a_forecast_says_which_choices_lie_beyond_what_was_trained():
    found, reason = f.forecast(runs_of(family(TRUTH, noise=0.002)))
    assert reason == "" and found.error < 0.01
    N, D, _ = found.points.T
    for choice in found.choices:
        assert 6 * choice.parameters * choice.characters == pytest.approx(choice.budget)
        inside = N.min() <= choice.parameters <= N.max() and D.min() <= choice.characters <= D.max()
        assert choice.measured_range == inside
        assert choice.parameters_ends[0] <= choice.parameters <= choice.parameters_ends[1]
    assert [c.measured_range for c in found.choices].count(True) in (1, 2, 3)


def test_too_few_sizes_give_a_reason_instead_of_a_law():
    found, reason = f.forecast(runs_of(family(TRUTH)[:3]))
    assert found is None and "at least 4 sizes, of which one is held out, not 3" in reason
