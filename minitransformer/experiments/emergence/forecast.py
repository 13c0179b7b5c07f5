"""The scaling law of a family: the fit, a test by prediction, and the best size for a budget.

**A test of the law.** The law is fitted to all sizes except the largest, and predicts the loss of the largest. If this
prediction is at least as far from the measured loss as the loss of the next smaller size, the test does not support the
law. The test does not show that the law holds at ten times the size. The intervals reflect only the variation over
seeds.
"""

from dataclasses import dataclass

import numpy as np

from minitransformer.experiments.emergence.jumps import interval
from minitransformer.experiments.emergence.scaling_law import ScalingLaw, fit_scaling_law, refits

FEWEST_SIZES = 4
BUDGETS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # multiples of the budget of the largest run


@dataclass(frozen=True)
class Prediction:
    parameters: int  # N
    characters: int  # D
    predicted: float  # loss according to the law of the smaller sizes
    ends: np.ndarray  # (2,) the interval of `predicted`
    no_better: float  # loss of the next smaller size, for comparison
    measured: float  # mean loss over the runs


@dataclass(frozen=True)
class Choice:
    budget: float
    parameters: float  # N*
    parameters_ends: np.ndarray  # (2,) the interval of N*
    characters: float  # D*
    characters_ends: np.ndarray  # (2,) the interval of D*
    loss: float  # according to the law
    measured_range: bool  # True if N* and D* lie within the trained range


@dataclass(frozen=True)
class Forecast:
    law: ScalingLaw  # fitted to all sizes
    ends: dict  # {name of E, A, B, alpha or beta: interval}
    error: float  # typical relative error of a loss in the fit
    prediction: Prediction  # of the largest size
    choices: tuple[Choice, ...]  # one per budget
    points: np.ndarray  # (M, 3): N, D and loss of every length of every run


def forecast(by_size) -> tuple[Forecast | None, str]:
    """Fit and test a scaling law, given the runs of each size.

    Returns the Forecast and "", or None and the reason if there are fewer than FEWEST_SIZES sizes.
    """
    if len(by_size) < FEWEST_SIZES:
        return None, f"the fit requires at least {FEWEST_SIZES} sizes, of which one is held out, not {len(by_size)}"
    groups = [
        [np.array([[run["parameters"], one["characters"], one["loss"]] for one in run["lengths"]]) for run in runs]
        for runs in by_size
    ]
    points = np.concatenate([points for runs in groups for points in runs])
    law = fit_scaling_law(*points.T)
    laws = refits(law, groups, np.random.default_rng(0))
    ends = {name: interval([getattr(each, name) for each in laws]) for name in ("E", "A", "B", "alpha", "beta")}
    N, D, L = points.T
    error = float(np.sqrt(np.mean(np.log(law.loss(N, D) / L) ** 2)))
    largest = 6 * N.max() * D.max()
    choices = tuple(choice(law, laws, budget * largest, points) for budget in BUDGETS)
    return Forecast(law, ends, error, predict_largest(groups), choices, points), ""


def predict_largest(groups) -> Prediction:
    smaller = groups[:-1]
    law = fit_scaling_law(*np.concatenate([points for runs in smaller for points in runs]).T)
    N, D, _ = groups[-1][0][-1]
    predictions = [other.loss(N, D) for other in refits(law, smaller, np.random.default_rng(0))]
    before, measured = (float(np.mean([points[-1, 2] for points in runs])) for runs in groups[-2:])
    return Prediction(int(N), int(D), float(law.loss(N, D)), interval(predictions), before, measured)


def choice(law: ScalingLaw, laws, budget: float, points) -> Choice:
    """Return the Choice for a budget, with intervals from `laws`, refits of `law`."""
    N, D = law.optimal(budget)
    others = np.array([each.optimal(budget) for each in laws])
    lowest, highest = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    within = bool(lowest[0] <= N <= highest[0] and lowest[1] <= D <= highest[1])
    loss = float(law.loss(N, D))
    return Choice(budget, float(N), interval(others[:, 0]), float(D), interval(others[:, 1]), loss, within)
