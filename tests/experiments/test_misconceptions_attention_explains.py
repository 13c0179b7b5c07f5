"""The experiment on attention as an explanation: its correlations, on a small untrained model."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from minitransformer import ByteTokenizer, Config, LanguageModel, Transformer
from minitransformer.experiments.misconceptions import attention_explains
from minitransformer.experiments.misconceptions.attention_explains import by_attention, compare
from minitransformer.layers.softmax import log_softmax

TOKENS = 14


@pytest.fixture
def lm():
    model = Transformer(Config(256, 16, d_model=16, n_heads=2, n_layers=2, positions="rotary", dtype="float64"), seed=3)
    for parameter in model.parameters():
        parameter.data = parameter.data + np.random.default_rng(4).normal(0, 0.3, parameter.data.shape)
    return LanguageModel(model, ByteTokenizer())


@pytest.fixture
def ids():
    return np.random.default_rng(5).integers(0, 256, TOKENS)


def without(lm, ids, position):
    """Return log p of all tokens after ids when no later position sees one of them, by weights set to zero."""

    def hidden(weights, backward):
        weights = weights.copy()
        weights[..., position + 1 :, position] = 0
        return weights / weights.sum(axis=-1, keepdims=True), backward

    with lm.model.hooked({f"blocks.{block}.attention.weights": hidden for block in range(2)}):
        return log_softmax(lm.model.predict(ids[None])[0, -1])[0]


def test_attention_is_held_against_the_change_of_the_likeliest_answer_of_all_tokens_but_the_first_and_last(lm, ids):
    weights = []
    hooks = {
        f"blocks.{block}.attention.weights": lambda w, backward: (weights.append(w[0]), (w, backward))[1]
        for block in range(2)
    }
    with lm.model.hooked(hooks):
        log_p = log_softmax(lm.model.predict(ids[None])[0, -1])[0]
    answer = log_p.argmax()
    lost = np.array([log_p[answer] - without(lm, ids, position)[answer] for position in range(1, TOKENS - 1)])
    attention = np.mean(weights, axis=(0, 1))[-1, 1:-1]
    found = compare(lm, ids)
    assert found["attention"] == pytest.approx(spearmanr(attention, abs(lost)).statistic)
    assert found["which_way"] == pytest.approx(spearmanr(attention, lost).statistic)
    assert found["last_layer"] == pytest.approx(spearmanr(weights[-1].mean(axis=0)[-1, 1:-1], abs(lost)).statistic)
    assert found["nearness"] == pytest.approx(spearmanr(range(TOKENS - 2), abs(lost)).statistic)
    assert found["most"] == (attention.argmax() == abs(lost).argmax())
    assert np.mean(found["lost_by_attention"]) != pytest.approx(np.mean(found["changed_by_attention"]))


def test_changes_are_grouped_from_the_least_attention_to_the_most(monkeypatch):
    monkeypatch.setattr(attention_explains, "GROUPS", 3)
    assert by_attention(np.array([1.0, 2, 3, 4, 5, 7]), np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.4])) == [2, 6, 3]
