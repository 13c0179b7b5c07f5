"""Bigger is always better: measured as bigger.md describes."""

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
from minitransformer.experiments.misconceptions.form import Experiment
from minitransformer.experiments.misconceptions.panels import draw_curves, panels_of, size_axis
from minitransformer.layers.softmax import softmax
from minitransformer.system.pictures import BLUE, GREEN, ORANGE, VERMILION, label

SIZES, STEPS = (820, 1_500, 2_500, 6_000, 15_000), 600
WRONG = 5  # the text is wrong about one pair in WRONG
PAIRS = np.array([(x, y) for x in range(MODULUS) for y in range(x + 1)])


def measure(seed: int) -> dict:
    said = text_of(np.random.default_rng((seed, 2)))
    task = task_of(said)
    configs = [of_size(size) for size in SIZES]
    by_size = [answers(trained(Plan(config, seed, STEPS, (task,))), task, said) for config in configs]
    curves = {name: [one[name] for one in by_size] for name in by_size[0]}
    growth = {name: curves[name][-1] - curves[name][0] for name in EXPERIMENT.numbers}
    return growth | {"parameters": [n_parameters(config) for config in configs], "curves": curves}


def text_of(rng):
    """Return the text's statements (MODULUS, MODULUS) about two numbers: the larger of them, or an error."""
    said = np.maximum.outer(np.arange(MODULUS), np.arange(MODULUS))
    x, y = PAIRS[rng.permutation(len(PAIRS))[: len(PAIRS) // WRONG]].T
    said[x, y] = said[y, x] = (said[x, y] + rng.integers(1, MODULUS, len(x))) % MODULUS
    return said


def task_of(said) -> Capability:
    """Return the exercise of repeating the text's statements."""
    return Capability("larger", "the larger of two numbers", number_pairs, partial(rows, said), in_order)


def rows(said, questions):
    """Return (tokens, is_answer) of rows `x y = <number>` with the number that the text states."""
    return question_and_answer(a.ADD, a.NUMBERS[questions], a.NUMBERS[said[questions[:, 0], questions[:, 1]]][:, None])


def answers(model, task, said) -> dict:
    """Return shares of right and wrong answers of a model, and its mean probability of an error.

    The errors are the pairs on which the text is wrong.
    """
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
    right, wrong = panels_of(figure, 2, sharey=True)
    sizes, curves = measured[0]["parameters"], [one["curves"] for one in measured]
    lines = {"truth": ("pairs on which it is right", BLUE), "truth_unread": ("pairs that it leaves out", GREEN)}
    draw_curves(right, sizes, curves, lines)
    lines = {"repeated": ("repeats the error", VERMILION), "truth_of_errors": ("states the truth", ORANGE)}
    draw_curves(wrong, sizes, curves, lines)
    label(right, "Right answers, where the text is not wrong", "", "fraction of the pairs")
    label(wrong, "Answers where the text is wrong")
    for axes in (right, wrong):
        axes.set_ylim(-0.05, 1.05)
        size_axis(axes, sizes)


EXPERIMENT = Experiment(measure, draw, seconds=45)
