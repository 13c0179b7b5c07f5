"""The experiment on the belief "They understand language as people do". understanding.md describes it."""

import re
from collections import Counter
from functools import cache, partial

import numpy as np

from minitransformer.config import Config
from minitransformer.experiments.misconceptions.form import Experiment, Panel
from minitransformer.experiments.misconceptions.models import train
from minitransformer.losses import cross_entropy
from minitransformer.module import apply
from minitransformer.text import default_corpus, random_batch
from minitransformer.transformer import Transformer

WORDS = 512  # the most frequent words have the numbers from 1; every other word is number 0
CONTEXT, WIDTH, LAYERS, HEADS = 16, 32, 1, 4
STEPS, ROWS, LR = 400, 64, 3e-3
LOOKS = [STEPS * k // 5 for k in range(1, 6)]  # the steps of the evaluations during training
EXCHANGES = (("true", "false"), ("and", "or"), ("is", "not"))


def measure(seed: int) -> dict:
    rng = np.random.default_rng((seed, 0))
    english = parts()
    renumbered = rng.permutation(WORDS)
    nonsense = [renumbered[ids] for ids in english]
    passages = [ids[: len(ids) // CONTEXT * CONTEXT].reshape(-1, CONTEXT) for ids in english]
    shuffled = [rng.permuted(rows, axis=1).ravel() for rows in passages]
    model, curve = trained(*english, np.random.default_rng((seed, 1)))
    curves = {
        "english": curve,
        "nonsense": trained(*nonsense, np.random.default_rng((seed, 2)))[1],
        "shuffled": trained(*shuffled, np.random.default_rng((seed, 3)))[1],
    }
    last = {name: curve[-1] for name, curve in curves.items()}
    share = (last["nonsense"] - last["english"]) / (last["shuffled"] - last["english"])
    surprises = {f"{one}_{other}": surprise(model, english[1], one, other) for one, other in EXCHANGES}
    return {"share": share, **last, **surprises, "curves": curves}


@cache
def vocabulary() -> dict[str, int]:
    return {word: i for i, (word, _) in enumerate(Counter(words()).most_common(WORDS - 1), 1)}


def words() -> list[str]:
    return re.findall("[a-z]+", default_corpus().lower())


@cache
def parts():
    """Return the words of the text as numbers, in two arrays. The second one is the held-out last tenth."""
    ids = np.array([vocabulary().get(word, 0) for word in words()])
    cut = len(ids) * 9 // 10
    return ids[:cut], ids[cut:]


def trained(training, test, rng):
    """Train a model. Return it with its losses on the test part at the steps LOOKS."""
    config = Config(WORDS, CONTEXT, WIDTH, HEADS, LAYERS, positions="rotary", tie_embeddings=False)
    model = Transformer(config, rng=rng)
    curve = []

    def look(step, *_):
        if step in LOOKS:
            curve.append(float(losses(model, test)[0].mean()))

    draw_batch = partial(random_batch, training, ROWS, CONTEXT, rng)
    train(model, draw_batch, STEPS, LR, LR / 20, STEPS // 20, look=look, betas=(0.9, 0.99))
    return model, curve


def losses(model, ids):
    """Return the loss at each word after the first, and these words, as two arrays (windows, CONTEXT)."""
    n = (len(ids) - 1) // CONTEXT
    inputs, targets = (ids[k : k + n * CONTEXT].reshape(n, CONTEXT) for k in (0, 1))
    return apply(cross_entropy, model.predict(inputs), targets, reduction="none")[0], targets


def surprise(model, ids, *pair: str) -> float:
    one, other = (vocabulary()[word] for word in pair)
    before, targets = losses(model, ids)
    after, _ = losses(model, np.where(ids == one, other, np.where(ids == other, one, ids)))
    return float((after - before)[np.isin(targets, (one, other))].mean())


TEXTS, LOSS = ("shuffled", "english", "nonsense"), "loss on held-out text (nats per word)"
PAIRS = [f"{one}_{other}" for one, other in EXCHANGES]
PANELS = [
    Panel("The models of the three texts", TEXTS, "training step", LOSS, within="curves", xs=LOOKS),
    Panel("Cost of exchanging two words", PAIRS, y="increase of the loss at each (nats)"),
]
EXPERIMENT = Experiment(measure, PANELS, seconds=40)
