"""Medians, quartiles, and ratios in pairs.

Let a_ij and b_ij be the median times of turn j of round i, the one right beside the other. What the machine does
slowly, by heat or by its neighbours, happens to both, and goes out of

    ratio_ij = b_ij / a_ij                          (1)

so the ratio is known better than either time. Within a round the turns share their two processes, whose luck with
memory is part of what varies; so rounds, not turns, are the independent observations (Kalibera and Jones, 2013). Ratios
are averaged as logarithms, under which twice and half as fast are opposites:

    x_i = mean_j log ratio_ij                       (2)
    ratio = exp(mean x ± t · s / √n)                (3)

with n rounds, s the deviation of x over rounds and t the 0.975 quantile of Student's distribution with n − 1 degrees of
freedom. One round has no interval.
"""

import math
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Median, quartiles and number of some measurements."""

    median: float
    lower: float
    upper: float
    count: int

    @classmethod
    def of(cls, values) -> "Summary":
        """Summarize one value or more. Quartiles interpolate between the order statistics."""
        lower, middle, upper = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        return cls(middle, lower, upper, len(values))


@dataclass(frozen=True)
class Ratio:
    """A ratio in pairs. low and high: the ends of its interval, None after a single round."""

    ratio: float
    low: float | None
    high: float | None
    rounds: int


def paired_ratio(ours, theirs) -> Ratio:
    """Return theirs / ours, from lists of rounds, each a list of turns: above 1, we are faster.

    Raises ValueError unless both have the same rounds and turns, and at least one.
    """
    if not ours or [len(turns) for turns in ours] != [len(turns) for turns in theirs]:
        raise ValueError("a ratio in pairs needs as many turns of the one as of the other, in each round")
    logarithms = []
    for a_turns, b_turns in zip(ours, theirs, strict=True):
        ratios = [b / a for a, b in zip(a_turns, b_turns, strict=True)]  # (1)
        logarithms.append(mean(map(math.log, ratios)))  # (2)
    centre, n = mean(logarithms), len(logarithms)
    if n == 1:
        return Ratio(math.exp(centre), None, None, 1)
    margin = student(n - 1) * stdev(logarithms) / math.sqrt(n)
    return Ratio(math.exp(centre), math.exp(centre - margin), math.exp(centre + margin), n)  # (3)


def student(freedom: int) -> float:
    """Return the half-width, in standard errors, of a 95 % interval with so many degrees of freedom."""
    from scipy.special import stdtrit  # half of a command's start, if every command did it

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
