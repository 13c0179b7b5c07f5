"""Jumps: sizes at which a score is more than twice as high as at a tenth of the size, beyond variation over seeds.

s(N) is the mean score over the runs of a size, interpolated linearly in log N between the trained sizes. At a trained
size N, if N/10 is within the family, the score

    jumps if   s(N) − 2 max(s(N/10), floor) > 0          (1)

and the lower end of the bootstrap interval of this difference is positive too. The floor is 0.05 or twice the score of
guessing, whichever is larger. A size is flagged only if it and all smaller sizes have several runs. Neighbouring
flagged sizes are one jump, which is described by the size with the largest rise. The same rule is applied to the smooth
score, the geometric mean exp(ℓ) of the probabilities of the right answers' tokens. If the smooth score does not jump,
the models had improved before, and **the jump may be due to the metric alone** (Schaeffer et al., 2023).

**Intervals** come from the bootstrap over runs (Efron, 1979). A resample draws as many runs as there are, with
replacement, separately at each size. An interval contains the middle 95 % of the values of 1,000 resamples. It is
usually too narrow, because three runs have only ten different resamples, and it does not include the variation of
anything that all runs share: the text, the tests, the recipe.
"""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

DECADE = 10
FLOOR = 0.05
RESAMPLES = 1000
LEVEL = 0.95


def resampled_means(groups, rng):
    """Return the means (S, ...) of S groups, and (RESAMPLES, S, ...) of resamples.

    A group is an array (n_s, ...) of the results of n_s runs.
    """
    means = np.stack([group.mean(axis=0) for group in groups])
    draws = [group[rng.integers(len(group), size=(RESAMPLES, len(group)))].mean(axis=1) for group in groups]
    return means, np.stack(draws, axis=1)


def interval(resamples):
    """Return the ends (..., 2) of the bootstrap interval of resamples (R, ...)."""
    tail = (1 - LEVEL) / 2
    return np.moveaxis(np.quantile(resamples, [tail, 1 - tail], axis=0), 0, -1)


@dataclass(frozen=True)
class Jump:
    """A jump of the exact score, and the same numbers for the smooth score, exp(loglik)."""

    parameters: int  # N, the size with the largest rise
    before: float  # s(N/10)
    after: float  # s(N)
    excess: tuple[float, float]  # the interval of (1)
    flagged: tuple[int, ...]  # all sizes that belong to the jump, in order
    smooth_before: float
    smooth_after: float
    smooth_excess: tuple[float, float]
    smooth_jumps: bool  # True if the smooth score jumps too, by the same rule


def find_jumps(parameters, exact, loglik, runs, chance: float = 0.0) -> tuple[Jump, ...]:
    """Return the jumps of a capability, in order of size.

    `parameters` (S,) are the sizes, and `runs` (S,) the numbers of runs. `exact` and `loglik` are results of
    resampled_means. `chance` is the exact score of guessing.
    """
    floor = max(FLOOR, 2 * chance)
    rise = rises(parameters, *exact, floor)
    smooth = rises(parameters, *(np.exp(values) for values in loglik), floor)
    several = np.asarray(runs) > 1
    flagged = [i for i in rise if rise[i][3] and several[: i + 1].all()]
    jumps = []
    for _, neighbours in groupby(enumerate(flagged), key=lambda pair: pair[1] - pair[0]):
        group = [i for _, i in neighbours]
        i = max(group, key=lambda i: rise[i][1] - rise[i][0])
        sizes = tuple(int(parameters[j]) for j in group)
        jumps.append(Jump(int(parameters[i]), *rise[i][:3], sizes, *smooth[i]))
    return tuple(jumps)


def rises(parameters, means, resamples, floor: float) -> dict[int, tuple]:
    """Compare s(N) with s(N/10) for each size N if N/10 is within the family.

    The keys of the result are the indices of N. A value consists of s(N/10), s(N), the interval of (1), and True if the
    score jumps.
    """
    log_n, found = np.log(parameters), {}
    for i, n in enumerate(parameters):
        if n / DECADE >= parameters[0]:
            before = [np.interp(log_n[i] - np.log(DECADE), log_n, scores) for scores in (means, *resamples)]
            excess = np.append(means[i], resamples[:, i]) - 2 * np.maximum(before, floor)  # (1)
            low, high = map(float, interval(excess[1:]))
            found[i] = float(before[0]), float(means[i]), (low, high), bool(excess[0] > 0 and low > 0)
    return found
