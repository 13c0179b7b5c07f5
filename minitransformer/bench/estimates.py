"""Quartiles, and ratios of paired times with their intervals.

Let a_ij and b_ij be the median times of two engines in turn j of round i. The two turns are consecutive, so
slow changes of the machine's speed affect both and cancel in the ratio. All turns of a round use the same two
processes, and the memory layout of a process affects its speed. Therefore the independent observations are the rounds
(Kalibera and Jones, 2013):

    x_i = mean_j log (b_ij / a_ij)                  (1)
    ratio = exp(mean x ± t · s / √n)                (2)

with n rounds, s the standard deviation of x and t the 0.975 quantile of Student's distribution with n − 1 degrees of
freedom.
"""

import math
from statistics import mean, stdev

import numpy as np


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


def student(freedom: int) -> float:
    from scipy.special import stdtrit  # this import takes half of the start-up time of a command

    return float(stdtrit(freedom, 0.975))
