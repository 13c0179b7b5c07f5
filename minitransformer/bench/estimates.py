"""Estimates with intervals: quartiles, ratios of paired times, and exponents of growth.

**Ratios.** Let a_ij and b_ij be the median times of two engines in turn j of round i. The two turns are consecutive, so
slow changes of the machine's speed affect both and cancel in the ratio. All turns of a round use the same two
processes, and the memory layout of a process affects its speed. Therefore the independent observations are the rounds
(Kalibera and Jones, 2013):

    x_i = mean_j log (b_ij / a_ij)                  (1)
    ratio = exp(mean x ± t · s / √n)                (2)

with n rounds, s the standard deviation of x and t the 0.975 quantile of Student's distribution with n − 1 degrees of
freedom.

**Growth.** A power law y = c nᵖ is a line in logarithms:

    log y = log c + p log n                         (3)

Least squares gives p and its standard error. The fit uses the upper half of the points, because the constant cost of a
call flattens the lower end. The interval reflects only the scatter of the points, not the curvature due to caches and
small matrices.
"""

import math
from statistics import mean, stdev

import numpy as np

FEWEST = 4  # points of a fit


def summary(values) -> dict:
    lower, middle, upper = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {"median": middle, "lower": lower, "upper": upper, "count": len(values)}


def paired_ratio(ours, theirs) -> dict:
    """Return the ratio theirs / ours and its 95 % interval.

    `ours` and `theirs` are lists of rounds, and a round is a list of times, one per turn. The keys of the result are
    "ratio", "low", "high" and "rounds". "low" and "high" are None for a single round.
    """
    pairs = [zip(a_turns, b_turns, strict=True) for a_turns, b_turns in zip(ours, theirs, strict=True)]
    x = [mean(math.log(b / a) for a, b in turns) for turns in pairs]  # (1)
    centre, n = mean(x), len(x)
    if n == 1:
        return {"ratio": math.exp(centre), "low": None, "high": None, "rounds": 1}
    margin = student(n - 1) * stdev(x) / math.sqrt(n)
    low, high = math.exp(centre - margin), math.exp(centre + margin)
    return {"ratio": math.exp(centre), "low": low, "high": high, "rounds": n}  # (2)


def fit_exponent(points) -> dict:
    """Fit the power law to the upper half of points (n, cost).

    At least FEWEST points are fitted. Sizes and costs must be positive. The keys of the result are "exponent",
    "margin" (half the width of the exponent's 95 % interval), "constant" and "points" (the number of fitted points).
    """
    points = sorted(points)
    upper = points[-max(FEWEST, math.ceil(len(points) / 2)) :]
    (p, log_c), covariance = np.polyfit(*np.log(upper).T, 1, cov=True)  # (3)
    margin = student(len(upper) - 2) * math.sqrt(covariance[0, 0])
    return {"exponent": float(p), "margin": margin, "constant": math.exp(log_c), "points": len(upper)}


def student(freedom: int) -> float:
    from scipy.special import stdtrit  # this import takes half of the start-up time of a command

    return float(stdtrit(freedom, 0.975))
