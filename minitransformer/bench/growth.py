"""Exponents: how fast a cost grows.

A cost that grows as a power of n is a straight line in logarithms:

    y = c nᵖ, so log y = log c + p log n            (1)

With x = log n and z = log y of the measured points, least squares gives the slope and its standard error,

    p = Σ (x − x̄)(z − z̄) / Σ (x − x̄)²               (2)
    s = √(Σ residual² / (points − 2) / Σ (x − x̄)²)  (3)

and p ± t s an interval, t the quantile of Student's distribution. Two things stand between the slope and the power
that theory names. Every call has a cost that does not grow, which flattens the line at the left: so only the upper
part of the points is used. And caches and small matrices make the work itself slower or faster with size, which bends
the line: the interval knows only of scatter, not of this.
"""

import math
from dataclasses import asdict, dataclass

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

    def to_dict(self) -> dict:
        """Return what JSON can hold."""
        return asdict(self)


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
    x = [math.log(n) for n, _ in upper]  # (1)
    z = [math.log(cost) for _, cost in upper]  # (1)
    x_mean, z_mean = sum(x) / len(x), sum(z) / len(z)
    spread = sum((a - x_mean) ** 2 for a in x)
    slope = sum((a - x_mean) * (b - z_mean) for a, b in zip(x, z, strict=True)) / spread  # (2)
    residuals = (b - z_mean - slope * (a - x_mean) for a, b in zip(x, z, strict=True))
    error = math.sqrt(sum(r * r for r in residuals) / (len(x) - 2) / spread)  # (3)
    return Exponent(slope, student(len(x) - 2) * error, math.exp(z_mean - slope * x_mean), len(x))
