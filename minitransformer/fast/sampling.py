"""Top-p sampling without sorting the whole vocabulary.

Only the likeliest tokens can be kept, so only these are sorted: first all that are at least a quarter as likely as the
likeliest token, then a sixteenth, and so on, until their sum reaches top_p. The result is bit-identical. For 50,257
tokens, this takes 0.06 of the time of a complete sort, which adds a fifth to the time per token of GPT-2.
"""

import numpy as np

from minitransformer import generation as textbook
from minitransformer.fast.registration import twin_of

LARGE = 1024  # tokens; with a smaller vocabulary, sorting several rows together is faster
ROUNDING = 1e-9  # added to top_p, because the sum in another order of addition may be smaller by rounding
TRIES = 12  # each with a quarter of the previous threshold


def some_rows(keep_top_p, rng):
    p = rng.dirichlet(np.ones(12), size=3)
    return [keep_top_p(p[:1], 0.7), keep_top_p(p, 0.3)]


@twin_of(textbook.keep_top_p, "557fd5e78c35", cases=(some_rows,))
def keep_top_p(p, top_p):
    """Keep the likeliest entries of each row of p (..., V) until their sum reaches top_p. Set all others to 0."""
    if p.size > p.shape[-1] < LARGE:
        return textbook.keep_top_p(p, top_p)
    kept = np.zeros_like(p)
    for row, kept_row in zip(p.reshape(-1, p.shape[-1]), kept.reshape(-1, p.shape[-1]), strict=True):
        likeliest = reaching(row, top_p + ROUNDING)
        ranked = likeliest[np.argsort(-row[likeliest], kind="stable")]
        before = row[ranked].cumsum() - row[ranked]
        needed = ranked[before < top_p]
        kept_row[needed] = row[needed]
    return kept


def reaching(row, total):
    """Return the indices of all entries of row (V,) above a threshold, in increasing order.

    The threshold is lowered until the sum of these entries is at least `total`.
    """
    border = row.max()
    for _ in range(TRIES):
        border = border / 4
        likeliest = np.flatnonzero(row >= border)
        if row[likeliest].sum() >= total:
            return likeliest
    return np.arange(row.size)
