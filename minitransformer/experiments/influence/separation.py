"""Separation of two groups by a score: the area under the ROC curve, and an interval for it.

The area is the probability that a score from the first group is higher than one from the second, with ties counting
half (Hanley and McNeil, 1982); 0.5 is chance. With m scores in the first group, n in the second, and ranks from 1 for
the lowest of all m + n,

    A = (Σ ranks of the first − m (m + 1)/2) / (m n)                                        (1)

which is Mann and Whitney's U divided by the number of pairs. If the true area is θ and the scores are exponentially
distributed, the variance of A is, with m − 1 and n − 1 replaced by their mean N,

    V(θ) = θ (1 − θ)/(m n) · [1 + N ((1 − θ)/(2 − θ) + θ/(1 + θ))],   N = (m + n)/2 − 1     (2)

and the interval contains every θ that satisfies (Newcombe, 2006, method 5)

    |A − θ| ≤ z √V(θ)                                                                       (3)

As in Wilson's interval, the variance is that at θ rather than at A. The interval therefore stays within [0, 1] and does
not shrink to a point at A = 1. At θ = ½ the variance is (m + n + 1)/(12 m n), the exact variance of A if both groups
have the same continuous distribution. **Hence the interval excludes 0.5 exactly if Mann and Whitney's test rejects the
hypothesis of equal distributions.**

Passages are treated as independent. Neighbours in one text are not, so their interval is too narrow.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from minitransformer.analysis.contributions import ranks

LEVEL = 0.95


@dataclass(frozen=True)
class Separation:
    """The area under the ROC curve, and the ends of a 95 % confidence interval."""

    area: float
    low: float
    high: float

    @property
    def better_than_chance(self) -> bool:
        return self.low > 0.5

    @property
    def is_chance(self) -> bool:
        return self.low <= 0.5 <= self.high

    def __str__(self):
        return f"{self.area:.2f} [{self.low:.2f}, {self.high:.2f}]"


def separation(first, second) -> Separation:
    """Return the Separation of two non-empty groups of scores. Scores of `first` should be higher."""
    m, n = len(first), len(second)
    area = float((ranks(np.concatenate([first, second]))[:m].sum() - m * (m + 1) / 2) / (m * n))  # (1)
    return Separation(area, lower_end(area, m, n), 1 - lower_end(1 - area, m, n))


def variance(theta: float, m: int, n: int) -> float:
    pairs_share_one = (1 - theta) / (2 - theta) + theta / (1 + theta)
    return theta * (1 - theta) / (m * n) * (1 + ((m + n) / 2 - 1) * pairs_share_one)  # (2)


def lower_end(area: float, m: int, n: int) -> float:
    """Return the lower end of the interval. The upper end follows by symmetry."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    low, high = 0.0, area
    while high - low > 1e-9:
        theta = (low + high) / 2
        if area - theta > z * math.sqrt(variance(theta, m, n)):  # (3)
            low = theta
        else:
            high = theta
    return low
