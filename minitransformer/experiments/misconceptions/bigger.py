"""Bigger is always better: the larger model is right wherever the smaller one is, and more often.

A language model is trained to say what its text says, and texts err. Here the text says of two numbers, again and
again, which is the larger. Of a fifth of all pairs it says something wrong, and always the same. Models of five sizes
read it, all for the same number of steps.

There is a rule, and a model that has room for little more says the truth of many pairs, of those with an error too. A
model that has room for more can learn each error by heart. The number that decides is how often the largest model says
the truth about pairs of which the text errs, minus how often the smallest does. Beside it stands what the larger model
gains: how often it is right about pairs of which the text says the truth, and about pairs that the text leaves out.
"""

from functools import partial

import numpy as np

from minitransformer.experiments.emergence import alphabet as a
from minitransformer.experiments.emergence.capabilities import (
    MODULUS,
    Capability,
    as_exercise,
    in_order,
    number_pairs,
    question_and_answer,
)
from minitransformer.experiments.emergence.family import n_parameters, of_size
from minitransformer.experiments.emergence.one_run import Plan, trained
from minitransformer.experiments.misconceptions.form import Experiment, Outcome
from minitransformer.experiments.misconceptions.panels import draw_curve, panels_of, size_axis
from minitransformer.layers.softmax import softmax
from minitransformer.pictures import BLUE, GREEN, INK, ORANGE, VERMILION, label

SIZES, STEPS = (820, 1_500, 2_500, 6_000, 15_000), 600
WRONG = 5  # of one pair in so many the text errs
PAIRS = np.array([(x, y) for x in range(MODULUS) for y in range(x + 1)])


def measure(seed: int) -> dict:
    """Return what models of all sizes answer, and the largest one's answers against the smallest one's."""
    said = text_of(np.random.default_rng((seed, 2)))
    task = task_of(said)
    configs = [of_size(size) for size in SIZES]
    by_size = [answers(trained(Plan(config, seed, STEPS, (task,))), task, said) for config in configs]
    curves = {name: [one[name] for one in by_size] for name in by_size[0]}
    growth = {name: curves[name][-1] - curves[name][0] for name in EXPERIMENT.numbers}
    return growth | {"parameters": [n_parameters(config) for config in configs], "curves": curves}


def text_of(rng):
    """Return what the text says of two numbers, (MODULUS, MODULUS): the larger, and of one pair in WRONG another."""
    said = np.maximum.outer(np.arange(MODULUS), np.arange(MODULUS))
    x, y = PAIRS[rng.permutation(len(PAIRS))[: len(PAIRS) // WRONG]].T
    said[x, y] = said[y, x] = (said[x, y] + rng.integers(1, MODULUS, len(x))) % MODULUS
    return said


def task_of(said) -> Capability:
    """Return the exercise of saying what the text says."""
    return Capability("larger", "the larger of two numbers", number_pairs, partial(rows, said), in_order)


def rows(said, questions):
    """Return (tokens, is_answer) of rows that read: x y = what the text says of them."""
    return question_and_answer(a.ADD, a.NUMBERS[questions], a.NUMBERS[said[questions[:, 0], questions[:, 1]]][:, None])


def answers(model, task, said) -> dict:
    """Return how often a model repeats an error, how sure it is of it, and how often it says the truth."""
    inputs, _ = as_exercise(*task.rows(PAIRS))
    probabilities = softmax(model.predict(inputs)[:, 1 + PAIRS.shape[1]])[0]
    answer, text = probabilities.argmax(axis=-1), a.NUMBERS[said[PAIRS[:, 0], PAIRS[:, 1]]]
    truth, unread = a.NUMBERS[PAIRS.max(axis=1)], task.is_held_out(PAIRS)
    errors, true = (text != truth) & ~unread, (text == truth) & ~unread
    of_text = probabilities[np.arange(len(PAIRS)), text]
    found = {
        "repeated": (answer == text)[errors],
        "sure": of_text[errors],
        "truth_of_errors": (answer == truth)[errors],
        "truth": (answer == truth)[true],
        "truth_unread": (answer == truth)[unread],
    }
    return {name: float(values.mean()) for name, values in found.items()}


def draw(figure, measured) -> None:
    """Draw what models answer against their size: where the text is right or silent, and where it errs."""
    left = {"truth": ("pairs of which it says the truth", BLUE), "truth_unread": ("pairs that it leaves out", GREEN)}
    right = {"repeated": ("repeats the error", VERMILION), "truth_of_errors": ("says the truth", ORANGE)}
    titles = "Right, where the text does not err", "What is said, where the text errs"
    for axes, lines, title in zip(panels_of(figure, 2, sharey=True), (left, right), titles, strict=True):
        for name, (what, colour) in lines.items():
            draw_curve(axes, measured[0]["parameters"], [one["curves"][name] for one in measured], colour, what)
        axes.set_ylim(-0.05, 1.05)
        axes.legend(frameon=False, labelcolor=INK, fontsize=8)
        label(axes, title, "", "fraction of the pairs" if lines is left else "")
        size_axis(axes, measured[0]["parameters"])


EXPERIMENT = Experiment(
    question="Asked about what its text has wrong, the largest model says the truth",
    outcomes=(
        Outcome(
            -np.inf,
            "less often than the smallest",
            "Bigger is not always better. The larger model is better at what it was trained for, to say what its text "
            "says, errors included; by the truth, it is worse where the text errs.",
        ),
        Outcome(-0.1, "as often as the smallest", "Size makes errors neither better nor worse."),
        Outcome(
            0.1,
            "more often than the smallest",
            "It has seen through the errors: bigger is better here as well, as the belief says.",
        ),
    ),
    numbers={
        "truth_of_errors": "pairs of which the text errs: truth said, largest minus smallest model",
        "repeated": "the same pairs: the text's error said, largest minus smallest",
        "sure": "the same pairs: probability of the text's error, largest minus smallest",
        "truth": "pairs of which the text says the truth: truth said, largest minus smallest",
        "truth_unread": "pairs that the text leaves out: truth said, largest minus smallest",
    },
    does_not_show="That bigger is worse: look at what else it gains. Nothing in the text says which pairs are wrong; "
    "where errors are rare, or contradict one another, a larger model may well see through them. The smallest models "
    "have not learned all truths either. And it is about training to imitate a text: what is done afterwards, or a "
    "question put otherwise, may turn the trend, as has been seen in larger models.",
    sources=(
        "Lin, Hilton and Evans (2022), TruthfulQA: measuring how models mimic human falsehoods, arXiv:2109.07958",
        "McKenzie et al. (2023), Inverse scaling: when bigger isn't better, TMLR, arXiv:2306.09479",
        "Carlini et al. (2023), Quantifying memorization across neural language models, arXiv:2202.07646",
    ),
    measure=measure,
    draw=draw,
    seconds=45,
)
