"""What a model does is determined by what it was trained on.

A question shows six letters, one of them behind a mark, and asks for one of four: the first, the last, the largest in
the alphabet, or the marked one. But which of the four is never said. There are six sorts of questions, each with a sign
of its own, one for each pair of these rules, and in training every question is one to which both rules of its pair give
the same answer. So examples of each sort can be explained in two ways, and nothing speaks for one of them.

Four models of the same size learn from the same examples in the same order. Only their initial weights differ. Then all
get new questions: some to which the two rules give the same answer, as in training, and some on which the two part.
There the examples are silent. The number that decides is how often two of the models answer differently where the
examples are silent, minus how often where they are not. They are asked as well about letters that no example held, in
questions to which the two rules give the same answer.
"""

from itertools import combinations

import numpy as np

from minitransformer.config import Config
from minitransformer.experiments.emergence.alphabet import ANSWER, LETTERS, VOCAB_SIZE
from minitransformer.experiments.emergence.one_run import rescaled
from minitransformer.experiments.misconceptions.form import Experiment, Outcome
from minitransformer.experiments.misconceptions.panels import draw_bars, panels_of
from minitransformer.layers.softmax import softmax
from minitransformer.losses import cross_entropy
from minitransformer.module import apply
from minitransformer.optim import AdamW, cosine_schedule
from minitransformer.pictures import BLUE, GREEN, INK, ORANGE, VERMILION, label
from minitransformer.text import IGNORE_INDEX
from minitransformer.training import training_step
from minitransformer.transformer import Transformer

MODELS = 4
STEPS, EACH, LR, WARMUP, WIDTH = 450, 10, 8e-3, 30, 32  # EACH: rows of each sort in a batch
TEST = 300  # questions of each sort
LENGTH = 6  # letters in a question
SEEN, UNSEEN = LETTERS[:-LENGTH], LETTERS[-LENGTH:]
MARK = 8  # of the ids that alphabet.py leaves free
RULES = {  # of letters (n, LENGTH) and the places (n,) of those that are marked
    "first": lambda letters, places: letters[:, 0],
    "last": lambda letters, places: letters[:, -1],
    "largest": lambda letters, places: letters.max(axis=1),
    "marked": lambda letters, places: letters[np.arange(len(letters)), places],
}
SORTS = list(combinations(RULES, 2))


def measure(seed: int) -> dict:
    """Return how often two models disagree, on questions of three kinds, and how often each follows which rule."""
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
    """Draw n questions of a sort, on which its two rules part or do not. Returns tokens (n, T), and the two answers.

    sign  b d ! a c f e  =         with ! for the mark, before the letter that is marked
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
    """Return the rows (n, LENGTH + 3) of questions: the sort's sign, the letters with the mark among them, ANSWER."""
    n = len(letters)
    marked = np.insert(letters.ravel(), np.arange(n) * LENGTH + places, MARK).reshape(n, LENGTH + 1)
    sign = np.full((n, 1), 2 + SORTS.index(sort))
    return np.concatenate([sign, marked, np.full((n, 1), ANSWER)], axis=1)


def trained(seed: int, number: int):
    """Return one of the models that learn from the same examples, the seed's, and begin with weights of their own."""
    config = Config(VOCAB_SIZE, LENGTH + 3, d_model=WIDTH, n_heads=4, n_layers=2)
    model = rescaled(Transformer(config, rng=np.random.default_rng((seed, 1 + number))))
    optimizer = AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.1)
    rng = np.random.default_rng((seed, 0))
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = cosine_schedule(step, lr=LR, min_lr=0.0, warmup=WARMUP, steps=STEPS)
        batch = [questions(rng, sort, EACH, part=False)[:2] for sort in SORTS]
        inputs, answers = (np.concatenate(parts) for parts in zip(*batch, strict=True))
        training_step(model, optimizer, [(inputs, as_targets(inputs, answers))], clip=1.0)
    return model


def as_targets(inputs, answers):
    """Return targets of inputs (n, T): of each row's last position alone, its answer."""
    targets = np.full(inputs.shape, IGNORE_INDEX)
    targets[:, -1] = answers
    return targets


def asked(models, inputs, first, second) -> dict:
    """Ask all models. Returns how often two disagree, how often each answers by the first rule, its loss by that, and
    the mean probability of the answers that they give.
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
    """Draw how often the models disagree, and by which rule each answers where the two part."""
    disagreement, rules = panels_of(figure, 2, width_ratios=(2, 5))
    kinds = {
        "answered": ("as in\ntraining", BLUE),
        "silent": ("the rules\npart", ORANGE),
        "unseen": ("new\nletters", GREEN),
    }
    rows = [[100 * one[kind] for kind in kinds] for one in measured]
    draw_bars(disagreement, [name for name, _ in kinds.values()], rows, [colour for _, colour in kinds.values()])
    label(disagreement, "Different answers", "", "% of the questions")
    places = np.add.outer(np.linspace(-0.3, 0.3, len(measured)), range(len(SORTS)))
    follow = 100 * np.array([one["follow"] for one in measured])  # (seeds, sorts, models)
    rules.vlines(places, follow.min(axis=-1), follow.max(axis=-1), color=INK, linewidth=0.8)
    for number in range(MODELS):
        rules.plot(places.ravel(), follow[..., number].ravel(), "o", color=VERMILION, markersize=3, alpha=0.8)
    rules.set_xticks(range(len(SORTS)), [f"{first}\n(or {second})" for first, second in SORTS])
    label(rules, "Where the rules part: answers by the upper one (a line for each seed)")
    for axes in (disagreement, rules):
        axes.set_ylim(-4, 104)


EXPERIMENT = Experiment(
    question="Where the examples are silent, two models that learned from the same ones answer differently",
    outcomes=(
        Outcome(
            -np.inf,
            "hardly more often than where they are not",
            "The examples, with the way of training, decide even what they do not say: the weights that a model begins "
            "with leave no trace.",
        ),
        Outcome(
            0.05,
            "more often, but on fewer than half of the questions",
            "What a model does is determined in part by what it was trained on, and in part by numbers drawn before "
            "training began.",
        ),
        Outcome(
            0.5,
            "on half of the questions or more",
            "Where the examples are silent, what a model does is left to the numbers drawn before training began.",
        ),
    ),
    numbers={
        "difference": "share of questions that two models answer differently, where the rules part minus where not",
        "silent": "the share where the rules part",
        "answered": "the share where both rules give the same answer, as in training",
        "unseen": "the same, with letters that no example held",
        "right": "share of right answers, as in training",
        "loss_gap": "largest loss of the models minus the smallest, as in training (nats)",
        "sure": "mean probability that a model gives its own answer where the rules part",
    },
    does_not_show="How often real examples are as silent: these were made to be, and a few examples on which two rules "
    "part might settle it. Nor that chance alone decides where they are: architecture, optimiser and the order of the "
    "examples are the same for all, and where all models choose the same rule, it is one of these that chose.",
    sources=(
        "McCoy, Min and Linzen (2020), BERTs of a feather do not generalize together, arXiv:1911.02969",
        "D'Amour et al. (2020), Underspecification presents challenges for credibility in modern machine learning, "
        "arXiv:2011.03395",
    ),
    measure=measure,
    draw=draw,
    seconds=40,
    size=(8, 3.6),
)
