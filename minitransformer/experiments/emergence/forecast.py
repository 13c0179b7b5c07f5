"""What the scaling law says about a family: its fit, a size predicted from the smaller ones, and what to buy.

**A prediction that can fail.** The law is fitted to all sizes but the largest, and its loss predicted. Beside it stands
what costs nothing to predict, that the largest does no better than the size before. A law that comes no nearer has
shown nothing. Then it is fitted again, to all.

What it does not show: that the law holds for ten times the size. The interval of the prediction is that of the seeds;
if the law is of the wrong form, the truth may lie far outside.
"""

from dataclasses import dataclass

import numpy as np

from minitransformer.experiments.emergence.bootstrap import interval
from minitransformer.experiments.emergence.scaling_law import ScalingLaw, fit_scaling_law, refits

FEWEST_SIZES = 4
BUDGETS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # in those of the largest run


@dataclass(frozen=True)
class Prediction:
    """The loss of the largest size, predicted without it.

    parameters, characters   N and D
    predicted, ends          by the law of the smaller sizes, with its interval
    no_better                the loss of the size before
    measured                 the mean over the runs
    """

    parameters: int
    characters: int
    predicted: float
    ends: tuple[float, float]
    no_better: float
    measured: float

    @property
    def is_nearer(self) -> bool:
        """Whether the law came nearer than the loss of the size before."""
        return abs(self.predicted - self.measured) < abs(self.no_better - self.measured)


@dataclass(frozen=True)
class Choice:
    """The best size for a budget: C operations, N* parameters and D* characters with their intervals, and the loss."""

    budget: float
    parameters: float
    parameters_ends: tuple[float, float]
    characters: float
    characters_ends: tuple[float, float]
    loss: float
    measured_range: bool  # whether N* and D* lie among what was trained


@dataclass(frozen=True)
class Forecast:
    """law, and the ends of E, A, B, alpha, beta; error, the typical relative error of a loss in the fit; and the rest.

    points   (M, 3): the N, D and loss of every length of every run
    """

    law: ScalingLaw
    ends: dict
    error: float
    prediction: Prediction
    choices: tuple[Choice, ...]
    points: np.ndarray


def forecast(by_size) -> tuple[Forecast | None, str]:
    """Return the Forecast of the runs of each size, by size, and ""; or None, and why there is none."""
    if len(by_size) < FEWEST_SIZES:
        return None, f"a law with a size held out needs at least {FEWEST_SIZES} sizes, and there are {len(by_size)}"
    groups = [[points_of(run) for run in runs] for runs in by_size]
    prediction = predict_largest(groups)
    points = np.concatenate([points for runs in groups for points in runs])
    law = fit_scaling_law(*points.T)
    laws = refits(law, groups, np.random.default_rng(0))
    ends = {name: ends_of([getattr(each, name) for each in laws]) for name in ("E", "A", "B", "alpha", "beta")}
    N, D, L = points.T
    error = float(np.sqrt(np.mean(np.log(law.loss(N, D) / L) ** 2)))
    largest = 6 * N.max() * D.max()
    choices = tuple(choice(law, laws, budget * largest, points) for budget in BUDGETS)
    return Forecast(law, ends, error, prediction, choices, points), ""


def points_of(run: dict) -> np.ndarray:
    """Return (lengths, 3): the N, D and loss of a run at each of its lengths."""
    return np.array([[run["parameters"], length["characters"], length["loss"]] for length in run["lengths"]])


def ends_of(values) -> tuple[float, float]:
    """Return the ends of the interval of resampled numbers."""
    low, high = interval(np.asarray(values))
    return float(low), float(high)


def predict_largest(groups) -> Prediction:
    """Predict the last loss of the largest size from all others."""
    smaller = groups[:-1]
    law = fit_scaling_law(*np.concatenate([points for runs in smaller for points in runs]).T)
    N, D, _ = groups[-1][0][-1]
    predictions = [other.loss(N, D) for other in refits(law, smaller, np.random.default_rng(0))]
    before, measured = (float(np.mean([points[-1, 2] for points in runs])) for runs in groups[-2:])
    return Prediction(int(N), int(D), float(law.loss(N, D)), ends_of(predictions), before, measured)


def choice(law: ScalingLaw, laws, budget: float, points) -> Choice:
    """Return the compute-optimal choice of a budget, by the law and by those of its resamples."""
    N, D = law.optimal(budget)
    others = np.array([each.optimal(budget) for each in laws])
    lowest, highest = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    within = bool(lowest[0] <= N <= highest[0] and lowest[1] <= D <= highest[1])
    loss = float(law.loss(N, D))
    return Choice(budget, float(N), ends_of(others[:, 0]), float(D), ends_of(others[:, 1]), loss, within)
