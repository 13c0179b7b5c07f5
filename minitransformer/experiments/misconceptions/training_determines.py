"""The experiment on the belief "The training data determine the behaviour of a model".

training_determines.md describes it.
"""

from itertools import combinations

import numpy as np

from minitransformer.config import Config
from minitransformer.experiments.emergence.alphabet import ANSWER, LETTERS, VOCAB_SIZE
from minitransformer.experiments.emergence.plan import rescaled
from minitransformer.experiments.misconceptions.form import Experiment, Panel
from minitransformer.experiments.misconceptions.models import train
from minitransformer.layers.softmax import softmax
from minitransformer.losses import cross_entropy
from minitransformer.module import apply
from minitransformer.text import IGNORE_INDEX
from minitransformer.transformer import Transformer

MODELS = 4
STEPS, EACH, LR, WIDTH = 450, 10, 8e-3, 32  # EACH is the number of rows of each sort in a batch
TEST = 300  # questions of each sort
LENGTH = 6  # letters in a question
SEEN, UNSEEN = LETTERS[:-LENGTH], LETTERS[-LENGTH:]
MARK = 8  # an id that alphabet.py leaves free
RULES = {  # functions of letters (n, LENGTH) and the positions (n,) of the marked letters
    "first": lambda letters, places: letters[:, 0],
    "last": lambda letters, places: letters[:, -1],
    "largest": lambda letters, places: letters.max(axis=1),
    "marked": lambda letters, places: letters[np.arange(len(letters)), places],
}
SORTS = list(combinations(RULES, 2))  # a sort of question can be answered by either of two rules


def measure(seed: int) -> dict:
    models = [trained(seed, number) for number in range(MODELS)]
    rng = np.random.default_rng((seed, 9))
    kinds = {"answered": (False, SEEN), "silent": (True, SEEN), "unseen": (False, UNSEEN)}
    asked_by_kind = {
        kind: [asked(models, *questions(rng, sort, TEST, part=part, symbols=symbols)) for sort in SORTS]
        for kind, (part, symbols) in kinds.items()
    }
    answered, silent = asked_by_kind["answered"], asked_by_kind["silent"]
    found = {kind: float(np.mean([one["disagree"] for one in sorts])) for kind, sorts in asked_by_kind.items()}
    losses = np.mean([one["losses"] for one in answered], axis=0)
    return {
        "difference": found["silent"] - found["answered"],
        **found,
        "right": float(np.mean([one["follow"] for one in answered])),
        "loss_gap": float(losses.max() - losses.min()),
        "sure": float(np.mean([one["sure"] for one in silent])),
        "spread": {" ".join(sort): float(np.ptp(one["follow"])) for sort, one in zip(SORTS, silent, strict=True)},
    }


def questions(rng, sort, n: int, *, part: bool, symbols=SEEN):
    """Draw n questions such as `sign b d ! a c f e =`, with a mark ! before a letter.

    Returns the tokens (n, LENGTH + 3), and the answers (n,) according to each of the two rules of `sort`. The two
    answers to a question differ if `part` is True, and are equal otherwise.
    """
    first, second = (RULES[rule] for rule in sort)
    kept, count = [], 0
    while count < n:
        letters = rng.permuted(np.tile(symbols, (10 * n, 1)), axis=1)[:, :LENGTH]
        if sort == ("first", "last") and not part:
            letters[:, -1] = letters[:, 0]
        places = rng.integers(0, LENGTH, len(letters))
        fits = (first(letters, places) != second(letters, places)) == part
        kept.append((letters[fits], places[fits]))
        count += int(fits.sum())
    letters, places = (np.concatenate(parts)[:n] for parts in zip(*kept, strict=True))
    marked = np.insert(letters.ravel(), np.arange(n) * LENGTH + places, MARK).reshape(n, LENGTH + 1)
    tokens = np.pad(marked, [(0, 0), (1, 1)], constant_values=ANSWER)
    tokens[:, 0] = 2 + SORTS.index(sort)
    return tokens, first(letters, places), second(letters, places)


def trained(seed: int, number: int):
    """Train the model with this number for a seed. Models with equal seeds differ only in the initial weights."""
    config = Config(VOCAB_SIZE, LENGTH + 3, d_model=WIDTH, n_heads=4, n_layers=2)
    model = rescaled(Transformer(config, rng=np.random.default_rng((seed, 1 + number))))
    rng = np.random.default_rng((seed, 0))

    def draw_batch():
        batch = [questions(rng, sort, EACH, part=False)[:2] for sort in SORTS]
        inputs, answers = (np.concatenate(parts) for parts in zip(*batch, strict=True))
        targets = np.full(inputs.shape, IGNORE_INDEX)
        targets[:, -1] = answers
        return inputs, targets

    return train(model, draw_batch, STEPS, LR)


def asked(models, inputs, first, second) -> dict:
    """Compare the answers of all models with each other and with those of the first rule."""
    logits = [model.predict(inputs)[:, -1] for model in models]
    given = [rows.argmax(axis=-1) for rows in logits]
    return {
        "disagree": float(np.mean([one != other for one, other in combinations(given, 2)])),
        "follow": [float((answers == first).mean()) for answers in given],
        "losses": [float(apply(cross_entropy, rows, first)[0]) for rows in logits],
        "sure": float(np.mean([softmax(rows)[0].max(axis=-1) for rows in logits])),
    }


KINDS, PAIRS = ("answered", "silent", "unseen"), [" ".join(sort) for sort in SORTS]
PERCENT: dict = {"scale": 100, "y": "% of the questions", "ylim": (-4, 104)}
PANELS = [
    Panel("Different answers", KINDS, **PERCENT, width=2),
    Panel(
        "Range over the models of the share of answers by the first rule, where the rules differ",
        PAIRS,
        within="spread",
        **PERCENT,
        width=5,
    ),
]
EXPERIMENT = Experiment(measure, PANELS, seconds=40)
