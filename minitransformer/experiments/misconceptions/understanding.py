"""They understand language as people do.

To a person words stand for something. If in a text every word is replaced by another, always the same one, cat by
justice and because by seven, that is gone, and nonsense is left. What does a model lose that learns to predict it?

Three small models learn the words of the Python manual, each from a start of its own: as they are, as such nonsense,
and with the words of each passage in random order. The number that decides is how much more a word of held-out
nonsense surprises its model than a word of English surprises the other, as a share of what random order adds: 0 if it
is worth nothing to a model that words stand for something, 1 if it is worth as much as their order. For a model of
whole words, whose table begins with random rows, the answer can be proved beforehand; here it is measured.

Then the model of English reads held-out text in which two words are exchanged everywhere. A reader would notice that
what was true is now false. How surprised is the model where these words stand? There are three such texts: with true
and false exchanged, with and and or, and, for comparison, with is and not, which breaks the grammar of any sentence.
"""

import re
from collections import Counter
from functools import cache

import numpy as np

from minitransformer.config import Config
from minitransformer.experiments.misconceptions.form import Experiment, Outcome
from minitransformer.experiments.misconceptions.panels import draw_bars, draw_curve, panels_of
from minitransformer.losses import cross_entropy
from minitransformer.module import apply
from minitransformer.optim import AdamW, cosine_schedule
from minitransformer.pictures import BLUE, GREEN, INK, ORANGE, VERMILION, label
from minitransformer.text import default_corpus, random_batch
from minitransformer.training import training_step
from minitransformer.transformer import Transformer

WORDS = 512  # that are told apart: the commonest; all others are one, number 0
CONTEXT, WIDTH, LAYERS, HEADS = 16, 32, 1, 4
STEPS, ROWS, LR = 400, 64, 3e-3
LOOKS = 5  # at the loss, in the course of training
EXCHANGES = (("true", "false"), ("and", "or"), ("is", "not"))


def measure(seed: int) -> dict:
    """Return the losses of the models of three texts, and the surprise at exchanged words of that of English."""
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
    """Return what nonsense costs more than English, as a share of what random order does."""
    return (nonsense - english) / (shuffled - english)


@cache
def vocabulary() -> dict[str, int]:
    """Return the number of each word that has one of its own, the commonest first."""
    return {word: i for i, (word, _) in enumerate(Counter(words()).most_common(WORDS - 1), 1)}


def words() -> list[str]:
    """Return the words of the text, in lower case."""
    return re.findall("[a-z]+", default_corpus().lower())


@cache
def parts():
    """Return the text's words as numbers, the first nine tenths and the last, which is held out."""
    ids = np.array([vocabulary().get(word, 0) for word in words()])
    cut = len(ids) * 9 // 10
    return ids[:cut], ids[cut:]


def in_random_order(ids, rng):
    """Return passages of CONTEXT words, one after another, the words of each in random order."""
    return rng.permuted(ids[: len(ids) // CONTEXT * CONTEXT].reshape(-1, CONTEXT), axis=1).ravel()


def exchanged(ids, one: int, other: int):
    """Return ids with two of them exchanged everywhere."""
    return np.where(ids == one, other, np.where(ids == other, one, ids))


def trained(training, test, rng):
    """Train a model on a text. Returns it, and its loss on the test part at each look, in nats a word."""
    config = Config(WORDS, CONTEXT, WIDTH, HEADS, LAYERS, positions="rotary", tie_embeddings=False)
    model = Transformer(config, rng=rng)
    optimizer = AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.1)
    curve = []
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = cosine_schedule(step, lr=LR, min_lr=LR / 20, warmup=STEPS // 20, steps=STEPS)
        training_step(model, optimizer, [random_batch(training, ROWS, CONTEXT, rng)], clip=1.0)
        if step + 1 in looks():
            curve.append(float(losses(model, test)[0].mean()))
    return model, curve


def looks() -> list[int]:
    """Return after which steps the loss is measured."""
    return [STEPS * (k + 1) // LOOKS for k in range(LOOKS)]


def losses(model, ids):
    """Return the cross-entropy at each word of a text but the first, in nats, and the words, as windows of CONTEXT."""
    n = (len(ids) - 1) // CONTEXT
    inputs, targets = (ids[k : k + n * CONTEXT].reshape(n, CONTEXT) for k in (0, 1))
    return apply(cross_entropy, model.predict(inputs), targets, reduction="none")[0], targets


def surprise(model, ids, one: str, other: str) -> float:
    """Return how many nats more a word costs the model where two words of a text are exchanged, at just these words."""
    pair = vocabulary()[one], vocabulary()[other]
    before, targets = losses(model, ids)
    after, _ = losses(model, exchanged(ids, *pair))
    return float((after - before)[np.isin(targets, pair)].mean())


def draw(figure, measured) -> None:
    """Draw the losses in the course of training, and the surprise at exchanged words."""
    curves, bars = panels_of(figure, 2)
    for name, title, colour, how in (
        ("shuffled", "words in random order", VERMILION, {}),
        ("english", "English", BLUE, {}),
        ("nonsense", "nonsense", ORANGE, {"linestyle": "--"}),
    ):
        draw_curve(curves, looks(), [one[f"{name}_curve"] for one in measured], colour, title, **how)
    curves.legend(frameon=False, labelcolor=INK, fontsize=8)
    label(curves, "What each text's model has learned", "training step", "loss on held-out text (nats a word)")
    names = [f"{one}_{other}" for one, other in EXCHANGES]
    draw_bars(
        bars,
        [f"{one} \N{LEFT RIGHT ARROW} {other}" for one, other in EXCHANGES],
        [[one[name] for name in names] for one in measured],
        GREEN,
    )
    label(bars, "What two words cost once they are exchanged", "the words", "more at each of them (nats)")


EXPERIMENT = Experiment(
    question="Held-out nonsense, in which each word stands for another, surprises its model",
    outcomes=(
        Outcome(
            -np.inf,
            "about as much as English does its own",
            "What is learned is which words go together and in what order, and that is the same in both texts. What "
            "words stand for takes no part in it.",
        ),
        Outcome(
            0.2,
            "more than English does, but less than words in random order",
            "Something of what words stand for helped, though nothing told the model of it. We could not say what.",
        ),
        Outcome(
            0.8,
            "as much as words in random order, or more",
            "Text whose words stand for nothing is to the model hardly a text, as it is to us.",
        ),
    ),
    numbers={
        "share": "what nonsense costs more than English, as a share of what random order costs more",
        "english": "loss of the model of English on held-out words (nats)",
        "nonsense": "the same of nonsense (nats)",
        "shuffled": "the same of words in random order (nats)",
        "true_false": "what true and false cost more once they are exchanged (nats)",
        "and_or": "the same of and and or (nats)",
        "is_not": "the same of is and not (nats)",
    },
    does_not_show="That nothing in a model answers to the world. To find structure is no less than to learn it: the "
    "positions on a board, or which colours are alike, have been found in models of text alone. A person without a "
    "word of English could not tell the two texts apart either: what is shown is what prediction asks for, not what "
    "understanding is. A model of letters could tell them apart, by spelling. And that it hardly minds true for false "
    "is said of a very small model.",
    sources=(
        "Bender and Koller (2020), Climbing towards NLU: on meaning, form, and understanding in the age of data, "
        "doi:10.18653/v1/2020.acl-main.463",
        "Abdou et al. (2021), Can language models encode perceptual structure without grounding? A case study in "
        "color, arXiv:2109.06129, who object",
        "Li et al. (2023), Emergent world representations: exploring a sequence model trained on a synthetic task, "
        "arXiv:2210.13382, who object",
    ),
    measure=measure,
    draw=draw,
    seconds=40,
)
