"""The text that every model of a family reads in addition to its exercises.

It is the Python manual, reduced to 27 characters: lower-case letters, and one space for everything between them.
Windows of CONTEXT characters are drawn from the first nine tenths, and the loss is measured on windows of the last.
"""

import hashlib
import re
from functools import cache

import numpy as np

from minitransformer.experiments.emergence.alphabet import CONTEXT, LETTERS, SPACE
from minitransformer.losses import cross_entropy
from minitransformer.module import apply
from minitransformer.text import default_corpus, random_batch

TEST_WINDOWS = 600


@cache
def text_ids():
    """Return the ids of the training part and of the test part of the text."""
    letters = re.sub("[^a-z]+", " ", default_corpus().lower()).encode()
    codes = np.frombuffer(letters, np.uint8).astype(np.int64)
    ids = np.where(codes == ord(" "), SPACE, codes - ord("a") + LETTERS[0])
    cut = len(ids) * 9 // 10
    return ids[:cut], ids[cut:]


def text_fingerprint() -> str:
    return hashlib.sha256(np.concatenate(text_ids()).astype(np.uint8).tobytes()).hexdigest()[:16]


def text_batch(rng, n: int):
    return random_batch(text_ids()[0], n, CONTEXT, rng)


def text_loss(model) -> float:
    """Return the mean cross-entropy of the test windows, in nats per character."""
    inputs, targets = random_batch(text_ids()[1], TEST_WINDOWS, CONTEXT, np.random.default_rng(0))
    return float(apply(cross_entropy, model.predict(inputs), targets)[0])
