"""Context influence: attention and ablation, as a table and as data."""

import json
import re

import numpy as np
import pytest
from repeated_letters import LONGEST, repeated_rows, trained_to_repeat
from strategies import random_model

from minitransformer import CharTokenizer, Config, LanguageModel, visualize_context_influence
from minitransformer.analysis import attention_weights, context_influence, position_contributions
from minitransformer.text import IGNORE_INDEX

TEXT = "qwertyqwer"


@pytest.fixture(scope="module")
def lm():
    config = Config(vocab_size=27, context=12, d_model=8, n_heads=2, dtype="float64")
    return LanguageModel(random_model(config, np.random.default_rng(5)), CharTokenizer("\nabcdefghijklmnopqrstuvwxyz"))


def test_the_data_are_the_mean_attention_of_the_position_and_the_loss_by_ablation(lm):
    found = context_influence(lm, TEXT, 5)
    ids = lm.encode(TEXT)
    assert (found.tokens, found.position, found.target, found.in_text) == (list("qwerty"), 5, "q", True)
    np.testing.assert_allclose(found.attention, attention_weights(lm.model, ids)[:, :, 5, :6].mean(axis=(0, 1)))
    expected = position_contributions(lm.model, ids[:6], ids[6])
    np.testing.assert_array_equal(found.ablation, expected.ablation)
    assert found.probability == pytest.approx(np.exp(expected.log_probability))
    assert (found.pearson, found.spearman) == tuple(expected.correlations["attention"].values())
    alone = json.loads(json.dumps(context_influence(lm, "a", 0).to_dict(), allow_nan=False))
    assert alone["pearson"] is None and alone["attention"] == [1.0]


def test_after_the_last_token_comes_what_the_model_would_say(repeating_model):
    found = context_influence(repeating_model, "qwertyqwe", -1)
    assert (found.position, found.target, found.in_text) == (8, "r", False)
    assert found.probability > 0.9 and "the most likely next token" in str(found)
    assert np.argsort(found.ablation)[-3:].tolist() in ([8, 2, 3], [8, 3, 2])  # e r, and the e at the end


def test_it_is_printed_as_a_table_with_bars(lm, capsys):
    found = visualize_context_influence(lm, TEXT, 5)
    printed = capsys.readouterr().out
    assert printed == f"{found}\n" and "\x1b" not in printed
    rows = [line.split() for line in printed.splitlines()[2:8]]
    assert [row[:2] for row in rows] == [[str(t), token] for t, token in enumerate("qwerty")]
    for t, row in enumerate(rows):
        numbers = [float(cell) for cell in row[2:] if "█" not in cell]
        assert numbers == [round(found.attention[t], 3) + 0.0, round(found.ablation[t], 3) + 0.0]
    most = rows[found.attention.argmax()]
    assert most[3] == "█" * 20
    assert "Attention shows the positions that are read" in printed
    assert f"Pearson {found.pearson:.2f}, Spearman {found.spearman:.2f}" in printed


def test_nothing_in_the_text_reaches_the_terminal_raw(lm):
    plain = str(context_influence(lm, "a\nb", -1))
    assert re.search(r"^ +1 +\\n +0\.", plain, re.MULTILINE)


@pytest.mark.parametrize(
    "text, position, words",
    [
        (TEXT, 10, "position must be from -10 to 9 for a text of 10 tokens, not 10"),
        ("a" * 13, -1, "must be at most 12, not 13"),
    ],
)
def test_a_position_without_a_prediction_is_refused(lm, text, position, words):
    with pytest.raises((ValueError, IndexError), match=words):
        visualize_context_influence(lm, text, position)


@pytest.mark.slow
def test_the_stored_model_is_as_good_as_one_that_is_trained_now(repeating_model, rng):
    inputs, targets = repeated_rows(rng, LONGEST)
    asked = targets != IGNORE_INDEX
    models = [lm.model for lm in (repeating_model, trained_to_repeat())]
    right = [(model.predict(inputs).argmax(axis=-1) == targets)[asked].mean() for model in models]
    assert min(right) > 0.99 and abs(right[0] - right[1]) < 0.005
