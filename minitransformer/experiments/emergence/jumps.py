"""Jumps: sizes at which a score more than doubles from a tenth of the size, beyond the variation over seeds.

s(N) is the mean score over the runs of a size, linear in log N between the trained sizes. At a trained size N, if N/10
is within the family, the score

    jumps if   s(N) − 2 max(s(N/10), floor) > 0          (1)

and the lower end of the bootstrap interval of this difference is positive too. The floor is 0.05, or twice the chance
of a guess if that is more: a rise from 0.00 to 0.01 more than doubles the score, and is noise. A size with only one run
has no interval and is never flagged. Neighbouring flagged sizes are one jump, described by the size with the largest
rise.

The same rule is applied to the smooth score. A log-likelihood ℓ cannot double; the probability exp(ℓ) can, which is the
geometric mean of the probabilities of the right answers' tokens. If it more than doubles too, the models gained an
ability in that decade. If it does not, they had improved before, and **the jump may be due to the metric alone**: an
answer of m tokens is right with about pᵐ, which turns a smooth rise of p into a leap (Schaeffer et al., 2023).

Limits: a jump may move to another size with more steps, another learning rate or other questions, and nothing is known
between two trained sizes. A rise that takes more than a decade is not a jump here.
"""

from dataclasses import dataclass

import numpy as np

from minitransformer.experiments.emergence.bootstrap import interval

DECADE = 10
FLOOR = 0.05


@dataclass(frozen=True)
class Jump:
    """One jump of the exact score.

    parameters              N, the size with the largest rise
    before, after           s(N/10) and s(N)
    excess                  (2,), the interval of (1)
    flagged                 all sizes that belong to it, in order
    smooth_before, smooth_after, smooth_excess   the same for exp(loglik)
    smooth_jumps            True if the smooth score jumps too, by the same rule
    """

    parameters: int
    before: float
    after: float
    excess: tuple[float, float]
    flagged: tuple[int, ...]
    smooth_before: float
    smooth_after: float
    smooth_excess: tuple[float, float]
    smooth_jumps: bool


def find_jumps(parameters, exact, loglik, runs, chance: float = 0.0) -> tuple[Jump, ...]:
    """Return the jumps of a capability, in order of size.

    parameters      (S,), ascending
    exact, loglik   pairs (means (S,), resamples (R, S)) of resampled_means
    runs            (S,), number of runs of each size
    """
    floor = max(FLOOR, 2 * chance)
    rising = Rise(parameters, *exact, floor)
    smooth = Rise(parameters, *(np.exp(values) for values in loglik), floor)
    several = np.asarray(runs) > 1
    groups = []
    for i in rising.sizes:
        if several[: i + 1].all() and rising.jumps(i):
            if groups and groups[-1][-1] == i - 1:
                groups[-1].append(i)
            else:
                groups.append([i])
    return tuple(jump_of(rising, smooth, group) for group in groups)


class Rise:
    """A score s by size, and its rise in the decade below each size that has one."""

    def __init__(self, parameters, means, resamples, floor: float):
        self.parameters, self.means = np.asarray(parameters), np.asarray(means)
        log_n = np.log(self.parameters)
        self.sizes = [i for i, n in enumerate(self.parameters) if n / DECADE >= self.parameters[0]]
        self.before, self.excess, self.ends = {}, {}, {}
        for i in self.sizes:
            x = log_n[i] - np.log(DECADE)
            self.before[i] = np.interp(x, log_n, self.means)
            before = np.array([np.interp(x, log_n, sample) for sample in resamples])
            self.excess[i] = self.means[i] - 2 * max(self.before[i], floor)  # (1)
            self.ends[i] = interval(resamples[:, i] - 2 * np.maximum(before, floor))

    def jumps(self, i: int) -> bool:
        return bool(self.excess[i] > 0 and self.ends[i][0] > 0)

    def described(self, i: int) -> tuple:
        """Return s(N/10), s(N) and the interval of the excess at size i."""
        return float(self.before[i]), float(self.means[i]), tuple(map(float, self.ends[i]))


def jump_of(rising: Rise, smooth: Rise, group) -> Jump:
    """Return the jump of neighbouring sizes, described by the one with the largest rise."""
    i = max(group, key=lambda i: rising.means[i] - rising.before[i])
    flagged = tuple(int(rising.parameters[j]) for j in group)
    return Jump(int(rising.parameters[i]), *rising.described(i), flagged, *smooth.described(i), smooth.jumps(i))
