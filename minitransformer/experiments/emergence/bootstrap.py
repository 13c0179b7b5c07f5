"""Intervals over the seeds: the bootstrap over runs (Efron, 1979).

Each size has a few runs that differ only in their seeds. A resample draws as many runs, with replacement, separately at
each size. Any quantity is computed from the runs and from 1,000 resamples, and the middle 95 % of the latter is its
interval.

Limits: three runs have ten different resamples, so their interval stays within the range of the three values,
and is usually too narrow. One run has no interval. An interval does not include the variation of anything that all runs
share: the text, the tests, the recipe.
"""

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95


def resampled_means(groups, rng):
    """Return the means (S, ...) of S arrays of runs (n_s, ...), and their resampled means (RESAMPLES, S, ...)."""
    means = np.stack([group.mean(axis=0) for group in groups])
    draws = [group[rng.integers(len(group), size=(RESAMPLES, len(group)))].mean(axis=1) for group in groups]
    return means, np.stack(draws, axis=1)


def interval(resamples):
    """Return the ends (..., 2) of the interval that contains the middle LEVEL of the resamples (R, ...)."""
    tail = (1 - LEVEL) / 2
    return np.moveaxis(np.quantile(resamples, [tail, 1 - tail], axis=0), 0, -1)
