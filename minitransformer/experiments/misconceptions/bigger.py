"""The experiment on the belief "Bigger is always better". bigger.md describes it."""

from functools import partial

import numpy as np

from minitransformer.experiments.emergence import alphabet as a, capabilities as c
from minitransformer.experiments.emergence.family import n_parameters, of_size
from minitransformer.experiments.emergence.plan import Plan, trained
from minitransformer.experiments.misconceptions.form import Experiment, Panel
from minitransformer.layers.softmax import softmax

SIZES, STEPS = (820, 1_500, 2_500, 6_000, 15_000), 600
WRONG = 5  # the text is wrong about one in WRONG pairs
PAIRS = np.array([(x, y) for x in range(c.MODULUS) for y in range(x + 1)])


def measure(seed: int) -> dict:
    said = text_of(np.random.default_rng((seed, 2)))
    task = task_of(said)
    configs = [of_size(size) for size in SIZES]
    by_size = [answers(trained(Plan(config, seed, STEPS, (task,))), task, said) for config in configs]
    curves = {name: [one[name] for one in by_size] for name in by_size[0]}
    growth = {name: curve[-1] - curve[0] for name, curve in curves.items()}
    return growth | {"curves": curves | {"parameters": [n_parameters(config) for config in configs]}}


def text_of(rng):
    """Draw a table (MODULUS, MODULUS) with the larger number of each pair, of which one in WRONG is wrong."""
    said = np.maximum.outer(np.arange(c.MODULUS), np.arange(c.MODULUS))
    x, y = PAIRS[rng.permutation(len(PAIRS))[: len(PAIRS) // WRONG]].T
    said[x, y] = said[y, x] = (said[x, y] + rng.integers(1, c.MODULUS, len(x))) % c.MODULUS
    return said


def task_of(said) -> c.Capability:
    return c.Capability("larger", "the larger of two numbers", c.number_pairs, partial(rows, said), c.in_order)


def rows(said, questions):
    """Return rows `x y = z`, where z is the larger number according to `said`, and a boolean array that marks z."""
    return c.question_and_answer(a.ADD, a.NUMBERS[questions], a.NUMBERS[said[questions[:, :1], questions[:, 1:]]])


def answers(model, task, said) -> dict:
    """Measure the answers of a model to pairs for which the text is wrong, right or silent."""
    inputs, _ = c.as_exercise(*task.rows(PAIRS))
    probabilities = softmax(model.predict(inputs)[:, 1 + PAIRS.shape[1]])[0]
    answer, text = probabilities.argmax(axis=-1), a.NUMBERS[said[PAIRS[:, 0], PAIRS[:, 1]]]
    truth, unread = a.NUMBERS[PAIRS.max(axis=1)], task.is_held_out(PAIRS)
    errors, true = (text != truth) & ~unread, (text == truth) & ~unread
    found = {
        "repeated": (answer == text)[errors],
        "sure": probabilities[np.arange(len(PAIRS)), text][errors],
        "truth_of_errors": (answer == truth)[errors],
        "truth": (answer == truth)[true],
        "truth_unread": (answer == truth)[unread],
    }
    return {name: float(values.mean()) for name, values in found.items()}


BY_SIZE: dict = {"within": "curves", "xs": "parameters", "ylim": (-0.05, 1.05)}
RIGHT, WRONG_TEXT = ("truth", "truth_unread"), ("repeated", "truth_of_errors")
PANELS = [
    Panel("Right answers, where the text is not wrong", RIGHT, "parameters", "fraction of the pairs", **BY_SIZE),
    Panel("Answers where the text is wrong", WRONG_TEXT, "parameters", **BY_SIZE),
]
EXPERIMENT = Experiment(measure, PANELS, seconds=45)
