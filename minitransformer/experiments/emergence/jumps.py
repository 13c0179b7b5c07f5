"""Jumps: where a score more than doubles from a tenth of the size, and the luck of the seeds does not explain it.

s(N) is the mean score over the runs of a size, linear in log N between the sizes that were trained. At a size N that
was trained, a tenth of which is within the family, the score

    jumps if   s(N) − 2 max(s(N/10), floor) > 0          (1)

and the lower end of the bootstrap's interval of that difference is positive too. The floor, 0.05 or twice the chance
of a guess if that is more, is what counts as nothing: from 0.00 to 0.01 is more than double, and is noise. A size of
which there is only one run has no interval, and is never flagged.

Neighbouring sizes that are flagged are one jump. It is described by the one among them with the largest rise.

**Whose jump is it?** The same rule is applied to the smooth score. A log-likelihood ℓ cannot double; the probability
exp(ℓ) can, the geometric mean of what the model gives to each token of the right answers. Where it more than doubles
as well, the models came to do something in that decade that they could not do before. Where it does not, they had been
on their way, and **the jump may be the metric's alone**: an answer of m tokens is right with about pᵐ, which a smooth
rise of p turns into a leap (Schaeffer et al., 2023).

What a jump does not show: that it would stay at that size with more steps, another learning rate or other questions;
nor what lies between two sizes that were trained. A rise that takes more than a decade is no jump here.
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
    smooth_before, smooth_after, smooth_excess   the same of exp(loglik)
    smooth_jumps            whether the smooth score jumps too, by the same rule
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
    exact, loglik   each a pair (means (S,), resamples (R, S)) of resampled_means
    runs            (S,), how many there are of each size
    """
    floor = max(FLOOR, 2 * chance)
    rising = Rise(parameters, *exact, floor)
    smooth = Rise(parameters, *(np.exp(values) for values in loglik), floor)
    several = np.asarray(runs) > 1
    flagged = [i for i in rising.sizes if several[i] and several[: i + 1].all() and rising.jumps(i)]
    return tuple(jump_of(rising, smooth, group) for group in neighbours(flagged))


class Rise:
    """A score s against the size, and how much it rises in the decade below each size that has one."""

    def __init__(self, parameters, means, resamples, floor: float):
        self.parameters, self.means = np.asarray(parameters), np.asarray(means)
        log_n = np.log(self.parameters)
        self.sizes = [i for i, n in enumerate(self.parameters) if n / DECADE >= self.parameters[0]]
        tenth = log_n[self.sizes] - np.log(DECADE)
        self.before = dict(zip(self.sizes, np.interp(tenth, log_n, self.means), strict=True))
        self.excess, self.ends = {}, {}
        for i, x in zip(self.sizes, tenth, strict=True):
            before = np.array([np.interp(x, log_n, sample) for sample in resamples])
            self.excess[i] = self.means[i] - 2 * max(self.before[i], floor)  # (1)
            self.ends[i] = interval(resamples[:, i] - 2 * np.maximum(before, floor))

    def jumps(self, i: int) -> bool:
        """Whether the score jumps at size i."""
        return bool(self.excess[i] > 0 and self.ends[i][0] > 0)

    def described(self, i: int) -> tuple:
        """Return s(N/10), s(N) and the interval of the excess at size i."""
        return float(self.before[i]), float(self.means[i]), tuple(map(float, self.ends[i]))


def neighbours(indices) -> list[list[int]]:
    """Return ascending indices in groups that have no gaps: 3 4 5 9 gives [3 4 5] [9]."""
    groups = []
    for i in indices:
        if groups and groups[-1][-1] == i - 1:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def jump_of(rising: Rise, smooth: Rise, group) -> Jump:
    """Return the jump of neighbouring sizes, described by the one with the largest rise."""
    i = max(group, key=lambda i: rising.means[i] - rising.before[i])
    flagged = tuple(int(rising.parameters[j]) for j in group)
    return Jump(
        int(rising.parameters[i]), *rising.described(i), flagged, *smooth.described(i), smooth_jumps=smooth.jumps(i)
    )
