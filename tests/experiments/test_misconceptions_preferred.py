"""The experiment on preference training: the counted tokens, the start of the change, and the answers."""

import copy
import json

import numpy as np
import pytest
from small_pairs import GENERAL, ROWS, trained_lm

from minitransformer.experiments.misconceptions import preferred
from minitransformer.experiments.misconceptions.preferred import EXPERIMENT, changes, per_token
from minitransformer.system.pictures import new_figure
from minitransformer.training.finetuning.preferences import encode, read_preferences, split_held_out

SETTINGS = {"PLAIN_STEPS": 6, "PREFERENCE_STEPS": 10, "EVERY": 1}  # as many looks as the picture shows


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, value in SETTINGS.items():
        monkeypatch.setattr(preferred, name, value)
    monkeypatch.setattr("minitransformer.training.finetuning.preference_run.default_corpus", lambda: GENERAL)


def pairs_of(lm):
    return encode(read_preferences(ROWS), lm.tokenizer, lm.model.config.context)


def likelihood(lm, pairs, kind):
    """Return the mean log-likelihood of a token of the answers of a kind, token by token."""
    values = []
    for pair in pairs:
        text = [*pair.prompt, *getattr(pair, kind)]
        for t in range(len(pair.prompt), len(text)):
            logits = lm.model.predict(np.array([text[:t]]))[0, -1].astype(np.float64)
            values.append(logits[text[t]] - np.log(np.exp(logits).sum()))
    return np.mean(values)


def test_likelihoods_are_means_over_the_tokens_of_the_answers_alone():
    lm = trained_lm()
    pairs = pairs_of(lm)[:5]
    expected = [likelihood(lm, pairs, "safe"), likelihood(lm, pairs, "unsafe")]
    assert per_token(lm.model, pairs) == pytest.approx(expected, rel=1e-5)


def test_a_measurement_holds_what_decides_and_what_is_drawn(monkeypatch):
    lm = trained_lm()
    monkeypatch.setattr(preferred, "reader", lambda seed: copy.deepcopy(lm))
    monkeypatch.setattr(preferred, "read_preferences", lambda name: read_preferences(ROWS))
    measured = [json.loads(json.dumps(EXPERIMENT.measure(seed))) for seed in range(2)]
    assert all(isinstance(one[name], float) for one in measured for name in EXPERIMENT.numbers)
    assert measured[0] != measured[1]
    one = measured[0]
    taught, alone = (np.transpose(list(one[f"{name}_curves"].values())).tolist() for name in ("taught", "untaught"))
    assert [one["preferred"], one["unpreferred"], one["held_out"]] == taught[-1][:3]
    assert [one["untaught"], one["untaught_held_out"]] == alone[-1][::2]
    rows = split_held_out(read_preferences(ROWS), None, 0)
    untaught = changes(copy.deepcopy(lm), rows[0], [encode(part, lm.tokenizer, 24) for part in rows], seed=0)
    assert alone == untaught
    pytest.importorskip("matplotlib")
    figure = new_figure(*EXPERIMENT.size)
    EXPERIMENT.draw(figure, measured)
    assert [len(axes.lines) for axes in figure.axes] == [5, 5]
