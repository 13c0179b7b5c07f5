"""The training data determine the behaviour of a model: measured as training_determines.md describes."""

from itertools import combinations

import numpy as np

from minitransformer.config import Config
from minitransformer.experiments.emergence.alphabet import ANSWER, LETTERS, VOCAB_SIZE
from minitransformer.experiments.emergence.one_run import rescaled
from minitransformer.experiments.misconceptions.form import Experiment
from minitransformer.experiments.misconceptions.models import train
from minitransformer.experiments.misconceptions.panels import draw_named_bars, panels_of
from minitransformer.layers.softmax import softmax
from minitransformer.losses import cross_entropy
from minitransformer.module import apply
from minitransformer.system.pictures import BLUE, GREEN, INK, ORANGE, VERMILION, label
from minitransformer.text import IGNORE_INDEX
from minitransformer.transformer import Transformer

MODELS = 4
STEPS, EACH, LR, WARMUP, WIDTH = 450, 10, 8e-3, 30, 32  # EACH: rows of each sort in a batch
TEST = 300  # questions of each sort
LENGTH = 6  # letters in a question
SEEN, UNSEEN = LETTERS[:-LENGTH], LETTERS[-LENGTH:]
MARK = 8  # an id that alphabet.py leaves free
RULES = {  # functions of letters (n, LENGTH) and the places (n,) of the marked ones
    "first": lambda letters, places: letters[:, 0],
    "last": lambda letters, places: letters[:, -1],
    "largest": lambda letters, places: letters.max(axis=1),
    "marked": lambda letters, places: letters[np.arange(len(letters)), places],
}
SORTS = list(combinations(RULES, 2))


def measure(seed: int) -> dict:
    models = [trained(seed, number) for number in range(MODELS)]
    rng = np.random.default_rng((seed, 9))
    answered = {sort: asked(models, *questions(rng, sort, TEST, part=False)) for sort in SORTS}
    silent = {sort: asked(models, *questions(rng, sort, TEST, part=True)) for sort in SORTS}
    unseen = {sort: asked(models, *questions(rng, sort, TEST, part=False, symbols=UNSEEN)) for sort in SORTS}
    found = {
        name: float(np.mean([one["disagree"] for one in sorts.values()]))
        for name, sorts in (("silent", silent), ("answered", answered), ("unseen", unseen))
    }
    losses = np.mean([one["losses"] for one in answered.values()], axis=0)
    return {
        "difference": found["silent"] - found["answered"],
        **found,
        "right": float(np.mean([one["follow"] for one in answered.values()])),
        "loss_gap": float(losses.max() - losses.min()),
        "sure": float(np.mean([one["sure"] for one in silent.values()])),
        "follow": [one["follow"] for one in silent.values()],
    }


def questions(rng, sort, n: int, *, part: bool, symbols=SEEN):
    """Draw n questions of a sort. Return tokens (n, T) and the answers by each of the sort's two rules.

    The two answers differ if `part`, and are equal otherwise. A row has this form, where ! is the mark before a letter:

        sign  b d ! a c f e  =
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
    return as_tokens(sort, letters, places), first(letters, places), second(letters, places)


def as_tokens(sort, letters, places):
    """Return the rows (n, LENGTH + 3) of questions: the sign of the sort, the letters with the mark, ANSWER."""
    n = len(letters)
    marked = np.insert(letters.ravel(), np.arange(n) * LENGTH + places, MARK).reshape(n, LENGTH + 1)
    sign = np.full((n, 1), 2 + SORTS.index(sort))
    return np.concatenate([sign, marked, np.full((n, 1), ANSWER)], axis=1)


def trained(seed: int, number: int):
    """Train one of the models, which share the seed's examples and differ in their initial weights."""
    config = Config(VOCAB_SIZE, LENGTH + 3, d_model=WIDTH, n_heads=4, n_layers=2)
    model = rescaled(Transformer(config, rng=np.random.default_rng((seed, 1 + number))))
    rng = np.random.default_rng((seed, 0))

    def draw_batch():
        batch = [questions(rng, sort, EACH, part=False)[:2] for sort in SORTS]
        inputs, answers = (np.concatenate(parts) for parts in zip(*batch, strict=True))
        return inputs, as_targets(inputs, answers)

    schedule: dict = {"steps": STEPS, "lr": LR, "min_lr": 0.0, "warmup": WARMUP}
    return train(model, draw_batch, **schedule, clip=1.0, betas=(0.9, 0.98), weight_decay=0.1)


def as_targets(inputs, answers):
    """Return targets for inputs (n, T): the answer at the last position of each row, and none elsewhere."""
    targets = np.full(inputs.shape, IGNORE_INDEX)
    targets[:, -1] = answers
    return targets


def asked(models, inputs, first, second) -> dict:
    """Ask all models the same questions, and compare their answers.

    Returns {"disagree": how often two models differ, "follow": how often each model answers by the first rule,
    "losses": the loss of each model by that rule, "sure": mean probability of the given answers}.
    """
    logits = [model.predict(inputs)[:, -1] for model in models]
    given = [rows.argmax(axis=-1) for rows in logits]
    return {
        "disagree": float(np.mean([one != other for one, other in combinations(given, 2)])),
        "follow": [float((answers == first).mean()) for answers in given],
        "losses": [float(apply(cross_entropy, rows, first)[0]) for rows in logits],
        "sure": float(np.mean([softmax(rows)[0].max(axis=-1) for rows in logits])),
    }


def draw(figure, measured) -> None:
    disagreement, rules = panels_of(figure, 2, width_ratios=(2, 5))
    kinds = {"answered": ("as in\ntraining", BLUE), "silent": ("the rules\ndiffer", ORANGE)}
    draw_named_bars(disagreement, measured, kinds | {"unseen": ("new\nletters", GREEN)}, scale=100)
    label(disagreement, "Different answers", "", "% of the questions")
    places = np.add.outer(np.linspace(-0.3, 0.3, len(measured)), range(len(SORTS)))
    follow = 100 * np.array([one["follow"] for one in measured])  # (seeds, sorts, models)
    rules.vlines(places, follow.min(axis=-1), follow.max(axis=-1), color=INK, linewidth=0.8)
    for number in range(MODELS):
        rules.plot(places.ravel(), follow[..., number].ravel(), "o", color=VERMILION, markersize=3, alpha=0.8)
    rules.set_xticks(range(len(SORTS)), [f"{first}\n(or {second})" for first, second in SORTS])
    label(rules, "Where the rules differ: answers by the upper one (one line per seed)")
    for axes in (disagreement, rules):
        axes.set_ylim(-4, 104)


EXPERIMENT = Experiment(measure, draw, seconds=40, size=(8, 3.6))
