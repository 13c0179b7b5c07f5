"""Exponents: how fast a cost grows.

A cost that grows as a power of n is a straight line in logarithms:

    y = c nᵖ, so log y = log c + p log n            (1)

Least squares gives the slope and its standard error s, and p ± t s an interval, t the quantile of Student's
distribution. Two things stand between the slope and the power
that theory names. Every call has a cost that does not grow, which flattens the line at the left: so only the upper
part of the points is used. And caches and small matrices make the work itself slower or faster with size, which bends
the line: the interval knows only of scatter, not of this.
"""

import math
from dataclasses import dataclass

import numpy as np

from minitransformer.bench.pairing import student

FEWEST = 4  # points of a fit


@dataclass(frozen=True)
class Exponent:
    """The exponent of a cost and the half-width of its 95 % interval, from the last `points` of the measured ones."""

    exponent: float
    margin: float
    constant: float
    points: int

    def at(self, n: float) -> float:
        """Return the fitted cost at n."""
        return self.constant * n**self.exponent


def fit_exponent(points) -> Exponent:
    """Fit the power law to the upper part of points (n, cost): the last half, and at least FEWEST.

    Raises ValueError for fewer points, or any that is not positive.
    """
    points = sorted(points)
    if len(points) < FEWEST:
        raise ValueError(f"an exponent needs {FEWEST} points or more, not {len(points)}")
    if not all(n > 0 and cost > 0 for n, cost in points):
        raise ValueError("an exponent needs positive sizes and costs")
    upper = points[-max(FEWEST, math.ceil(len(points) / 2)) :]
    (p, log_c), covariance = np.polyfit(*np.log(upper).T, 1, cov=True)  # (1)
    margin = student(len(upper) - 2) * math.sqrt(covariance[0, 0])
    return Exponent(float(p), margin, math.exp(log_c), len(upper))
