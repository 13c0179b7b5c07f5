"""Fine-tuning of a fraction of a second: a model that knows small_runs.TEXT a little, and pairs of its words."""

import copy
import functools

import numpy as np
from small_runs import TEXT, small_corpus, small_lm

from minitransformer.training import Settings, pretrain

GENERAL = TEXT[-400:]


def drawn_rows():
    """Return 30 rows whose safe response is the one that the text makes less likely."""
    rng = np.random.default_rng(3)
    nouns, verbs = ["cat", "mat", "rat", "oat", "cake"], ["sat", "saw", "ate"]
    objects = iter(rng.choice(nouns, 30))
    return [
        {"prompt": f"{article} {noun} {verb}", "safe": f" and {thing} that", "unsafe": f" on the {thing}"}
        for noun in nouns
        for verb in verbs
        for article, thing in zip(("the", "a"), objects, strict=False)
    ]


ROWS = drawn_rows()


@functools.cache
def trained_once(**fields):
    """Train a model of two blocks on the text, for a second."""
    lm = small_lm(context=24, d_model=16, n_layers=2, **({"dropout": 0.0} | fields))
    settings = Settings(steps=400, batch_size=8, lr=1e-2, eval_every=0, checkpoint_every=0)
    pretrain(lm, small_corpus(), settings)
    return lm


def trained_lm(**fields):
    """Return a copy of that model."""
    return copy.deepcopy(trained_once(**fields))
