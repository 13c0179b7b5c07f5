"""How much the luck of the seeds decides: the bootstrap over runs (Efron, 1979).

Of each size there are a few runs, alike but for their seeds. A resample draws as many of them, with replacement, at
each size by itself; whatever is computed from the runs is computed from 1,000 resamples as well, and the middle 95 % of
the results are its interval.

What it does not show: with three runs there are ten different resamples, and an interval is then no wider than the
three values lie apart. It is on the narrow side, and one run has none at all. Nor does it know of what all the runs
share: the text, the tests, the recipe.
"""

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95


def resampled_means(groups, rng):
    """Return (means (S, ...), resampled means (RESAMPLES, S, ...)) of S groups of runs, arrays (n_s, ...)."""
    means = np.stack([group.mean(axis=0) for group in groups])
    draws = [group[rng.integers(len(group), size=(RESAMPLES, len(group)))].mean(axis=1) for group in groups]
    return means, np.stack(draws, axis=1)


def interval(resamples):
    """Return (..., 2), the ends of the middle LEVEL of the resamples (R, ...)."""
    tail = (1 - LEVEL) / 2
    return np.moveaxis(np.quantile(resamples, [tail, 1 - tail], axis=0), 0, -1)
