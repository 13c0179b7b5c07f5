"""They understand language as people do: measured as understanding.md describes."""

import re
from collections import Counter
from functools import cache, partial

import numpy as np

from minitransformer.config import Config
from minitransformer.experiments.misconceptions.form import Experiment
from minitransformer.experiments.misconceptions.models import train
from minitransformer.experiments.misconceptions.panels import draw_bars, draw_curve, legend, panels_of
from minitransformer.losses import cross_entropy
from minitransformer.module import apply
from minitransformer.system.pictures import BLUE, GREEN, ORANGE, VERMILION, label
from minitransformer.text import default_corpus, random_batch
from minitransformer.transformer import Transformer

WORDS = 512  # the most frequent words have the numbers from 1; every other word is number 0
CONTEXT, WIDTH, LAYERS, HEADS = 16, 32, 1, 4
STEPS, ROWS, LR = 400, 64, 3e-3
LOOKS = 5  # evaluations during training
EXCHANGES = (("true", "false"), ("and", "or"), ("is", "not"))


def measure(seed: int) -> dict:
    rng = np.random.default_rng((seed, 0))
    english = parts()
    renumbered = rng.permutation(WORDS)
    nonsense = [renumbered[ids] for ids in english]
    shuffled = [in_random_order(ids, rng) for ids in english]
    model, curve = trained(*english, np.random.default_rng((seed, 1)))
    curves = {
        "english": curve,
        "nonsense": trained(*nonsense, np.random.default_rng((seed, 2)))[1],
        "shuffled": trained(*shuffled, np.random.default_rng((seed, 3)))[1],
    }
    found = {f"{name}_curve": curve for name, curve in curves.items()}
    found |= {name: curve[-1] for name, curve in curves.items()}
    found |= {f"{one}_{other}": surprise(model, english[1], one, other) for one, other in EXCHANGES}
    return found | {"share": share(found["english"], found["nonsense"], found["shuffled"])}


def share(english: float, nonsense: float, shuffled: float) -> float:
    return (nonsense - english) / (shuffled - english)


@cache
def vocabulary() -> dict[str, int]:
    """Return {word: number} of the most frequent words."""
    return {word: i for i, (word, _) in enumerate(Counter(words()).most_common(WORDS - 1), 1)}


def words() -> list[str]:
    return re.findall("[a-z]+", default_corpus().lower())


@cache
def parts():
    """Return the text as numbers of words, in two parts: the first nine tenths, and the held-out last tenth."""
    ids = np.array([vocabulary().get(word, 0) for word in words()])
    cut = len(ids) * 9 // 10
    return ids[:cut], ids[cut:]


def in_random_order(ids, rng):
    """Permute the words of each passage of CONTEXT words."""
    return rng.permuted(ids[: len(ids) // CONTEXT * CONTEXT].reshape(-1, CONTEXT), axis=1).ravel()


def exchanged(ids, one: int, other: int):
    return np.where(ids == one, other, np.where(ids == other, one, ids))


def trained(training, test, rng):
    """Train a model on a text.

    Return the model, and its losses on the test part at each of `looks`, in nats per word.
    """
    config = Config(WORDS, CONTEXT, WIDTH, HEADS, LAYERS, positions="rotary", tie_embeddings=False)
    model = Transformer(config, rng=rng)
    curve = []

    def look(step):
        if step in looks():
            curve.append(float(losses(model, test)[0].mean()))

    draw_batch = partial(random_batch, training, ROWS, CONTEXT, rng)
    schedule: dict = {"steps": STEPS, "lr": LR, "min_lr": LR / 20, "warmup": STEPS // 20}
    train(model, draw_batch, **schedule, clip=1.0, look=look, betas=(0.9, 0.99), weight_decay=0.1)
    return model, curve


def looks() -> list[int]:
    return [STEPS * (k + 1) // LOOKS for k in range(LOOKS)]


def losses(model, ids):
    """Return the cross-entropy at each word of a text except the first, and these words.

    Both are arrays (windows, CONTEXT).
    """
    n = (len(ids) - 1) // CONTEXT
    inputs, targets = (ids[k : k + n * CONTEXT].reshape(n, CONTEXT) for k in (0, 1))
    return apply(cross_entropy, model.predict(inputs), targets, reduction="none")[0], targets


def surprise(model, ids, one: str, other: str) -> float:
    """Return the increase of the loss at two words if they are exchanged, in nats per occurrence."""
    pair = vocabulary()[one], vocabulary()[other]
    before, targets = losses(model, ids)
    after, _ = losses(model, exchanged(ids, *pair))
    return float((after - before)[np.isin(targets, pair)].mean())


def draw(figure, measured) -> None:
    curves, bars = panels_of(figure, 2)
    lines = (("shuffled", "words in random order", VERMILION, "-"), ("english", "English", BLUE, "-"))
    for name, title, colour, style in (*lines, ("nonsense", "nonsense", ORANGE, "--")):
        draw_curve(curves, looks(), [one[f"{name}_curve"] for one in measured], colour, title, linestyle=style)
    legend(curves)
    label(curves, "The models of the three texts", "training step", "loss on held-out text (nats per word)")
    names = [f"{one} \N{LEFT RIGHT ARROW} {other}" for one, other in EXCHANGES]
    draw_bars(bars, names, [[one[f"{a}_{b}"] for a, b in EXCHANGES] for one in measured], GREEN)
    label(bars, "Cost of exchanging two words", "the words", "increase of the loss at each (nats)")


EXPERIMENT = Experiment(measure, draw, seconds=40)
