"""Short measurements of every experiment on misconceptions: all numbers are there, repeatable, and can be drawn."""

import json
import math

import numpy as np
import pytest
from small_pairs import GENERAL, ROWS, trained_lm

from minitransformer.experiments.emergence import prose
from minitransformer.experiments.misconceptions import experiment, models, preferred, understanding
from minitransformer.system.pictures import new_figure
from minitransformer.training.finetuning.preferences import encode, read_preferences


def a_few_words():
    """Return texts of a few words, of which the second contains every exchanged word."""
    words = understanding.vocabulary()
    training = np.random.default_rng(0).integers(0, understanding.WORDS, 400)
    return training, np.append([words[word] for pair in understanding.EXCHANGES for word in pair], training)


def small_preferences(name):
    return read_preferences(ROWS)


def trained_reader(seed):
    return trained_lm()


SHORT = {
    "understanding": {"STEPS": 5, "LOOKS": [1, 2, 3, 4, 5], "ROWS": 2, "parts": a_few_words},
    "bigger": {"SIZES": (320, 820), "STEPS": 8},
    "intentions": {"STEPS": 3, "ROWS": 4, "DIALOGUES": 5},
    "training-determines": {"STEPS": 3, "TEST": 20},
    "memorising": {"PARAMETERS": 900, "STEPS": 8},
    "attention-explains": {"PASSAGES": 2},
    "leaps": {"SIZES": (900, 1_500), "SIZES_ALONE": (320, 900), "STEPS": 8},
    "falling-loss": {"STEPS": 8},
    "passing-tests": {"SAMPLE": 300, "DRAWS": 2},
    "preferred": {
        "PLAIN_STEPS": 6,
        "PREFERENCE_STEPS": 10,
        "EVERY": 1,  # as many evaluations as the picture shows
        "reader": trained_reader,
        "read_preferences": small_preferences,
    },
    "weight-decay": {"PARAMETERS": 900, "STEPS": 4},
    "long-context": {"PASSAGES": 20},
}


@pytest.fixture(params=SHORT)
def short(request, monkeypatch):
    """An experiment with short trainings and few questions."""
    one = experiment(request.param)
    monkeypatch.setattr(models, "STEPS", 2)
    monkeypatch.setattr(prose, "TEST_WINDOWS", 5)
    monkeypatch.setattr("minitransformer.training.finetuning.preference_run.default_corpus", lambda: GENERAL)
    for name, value in SHORT[one.name].items():
        monkeypatch.setattr(f"{one.module}.{name}", value)
    return one


@pytest.mark.one_in(2)
def test_a_measurement_has_all_numbers_and_can_be_drawn(short):
    measured = json.loads(json.dumps(short.measure(7)))
    assert set(short.intervals([measured, measured])) == set(short.numbers)
    assert all(math.isfinite(measured[name]) for name in short.numbers)
    pytest.importorskip("matplotlib")
    figure = new_figure(*short.size)
    short.draw(figure, [measured, measured])
    assert all(axes.has_data() for axes in figure.axes)
    assert RELATIONS.get(short.name, lambda one: True)(measured)


@pytest.mark.slow
def test_a_measurement_depends_on_its_seed_alone(short):
    assert short.measure(7) == short.measure(7) != short.measure(8)


def test_likelihoods_are_means_over_the_tokens_of_the_answers_alone():
    lm = trained_lm()
    pairs = encode(read_preferences(ROWS), lm.tokenizer, lm.model.config.context)[:5]
    for kind, found in zip(("safe", "unsafe"), preferred.per_token(lm.model, pairs), strict=True):
        values = []
        for pair in pairs:
            text = [*pair.prompt, *getattr(pair, kind)]
            for t in range(len(pair.prompt), len(text)):
                logits = lm.model.predict(np.array([text[:t]]))[0, -1].astype(np.float64)
                values.append(logits[text[t]] - np.log(np.exp(logits).sum()))
        assert found == pytest.approx(np.mean(values), rel=1e-5)


def last_changes(one):
    taught, alone = ([curve[-1] for curve in one[f"{name}_curves"].values()] for name in ("taught", "untaught"))
    assert [curve[0] for curve in one["taught_curves"].values()] == [0] * 4 and taught != alone
    numbers = ("preferred", "unpreferred", "held_out", "untaught", "untaught_held_out")
    return [one[name] for name in numbers] == [*taught[:3], *alone[:3:2]]


def largest_minus_smallest(one):
    curves = one["curves"]
    return curves.pop("parameters") == [316, 824] and all(one[name] == y[-1] - y[0] for name, y in curves.items())


RELATIONS = {
    "bigger": largest_minus_smallest,
    "intentions": lambda one: one["difference"] == one["pushed"] - one["chance"],
    "training-determines": lambda one: one["difference"] == one["silent"] - one["answered"] and one["loss_gap"] > 0,
    "memorising": lambda one: [len(one[f"{task}_right"]) for task in ("repeating", "addition")] == [3, 2],
    "leaps": lambda one: (one["both"]["parameters"], one["alone"]["parameters"]) == ([824, 1524], [316, 824]),
    "falling-loss": lambda one: len({curve[-1] for curve in one["curves"].values()}) == 6,
    "preferred": last_changes,
    "passing-tests": lambda one: (
        one["refused"] == 0
        and 250 < one["mistakes"] <= 300
        and one["careful"] < one["all"] < 1
        and one["difference"] == one["all"] - one["careful"]
    ),
    "weight-decay": lambda one: one["difference"] == one["l2"] - one["adamw"],
    "long-context": lambda one: one["lengths"] == [1, 2, 4, 8, 16, 32, 64, 128] and len(one["loss"]) == 8,
}
