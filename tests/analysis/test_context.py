"""Context influence: attention and ablation, in a terminal, in a file, as a picture and as data."""

import io
import json
import re

import numpy as np
import pytest
from strategies import random_model
from terminals import Terminal

from minitransformer import CharTokenizer, Config, LanguageModel, visualize_context_influence
from minitransformer.analysis import attention_weights, context_influence, position_contributions
from minitransformer.analysis.context import shaded_text
from minitransformer.analysis.shading import painted, terminal_colours

TEXT = "qwertyqwer"
PAINTED = re.compile(r"\x1b\[48;(2;\d+;\d+;\d+|5;\d+);38;(2;\d+;\d+;\d+|5;\d+)m(.*?)\x1b\[0m")


@pytest.fixture(scope="module")
def lm():
    config = Config(vocab_size=27, context=12, d_model=8, n_heads=2, dtype="float64")
    return LanguageModel(random_model(config, np.random.default_rng(5)), CharTokenizer("\nabcdefghijklmnopqrstuvwxyz"))


@pytest.fixture
def colourful(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")


def test_the_data_are_the_mean_attention_of_the_position_and_the_loss_by_ablation(lm):
    found = context_influence(lm, TEXT, 5)
    ids = lm.encode(TEXT)
    assert (found.tokens, found.position, found.target, found.in_text) == (list("qwerty"), 5, "q", True)
    np.testing.assert_allclose(found.attention, attention_weights(lm.model, ids)[:, :, 5, :6].mean(axis=(0, 1)))
    expected = position_contributions(lm.model, ids[:6], ids[6])
    np.testing.assert_array_equal(found.ablation, expected.ablation)
    assert found.probability == pytest.approx(np.exp(expected.log_probability))
    assert (found.pearson, found.spearman) == tuple(expected.correlations["attention"].values())
    blanked = context_influence(lm, TEXT, 5, ablation="blank")
    assert not np.allclose(blanked.ablation, found.ablation) and "mean of all embeddings" in str(blanked)
    alone = json.loads(json.dumps(context_influence(lm, "a", 0).to_dict(), allow_nan=False))
    assert alone["pearson"] is None and alone["attention"] == [1.0]


def test_after_the_last_token_comes_what_the_model_would_say(repeating_model):
    found = context_influence(repeating_model, "qwertyqwe", -1)
    assert (found.position, found.target, found.in_text) == (8, "r", False)
    assert found.probability > 0.9 and "the most likely next token" in str(found)
    assert np.argsort(found.ablation)[-3:].tolist() in ([8, 2, 3], [8, 3, 2])  # e r, and the e at the end


def test_outside_a_terminal_it_is_a_table_with_bars(lm, capsys):
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


@pytest.mark.usefixtures("colourful")
def test_in_a_terminal_each_token_has_a_background_of_its_strength(lm):
    stream = Terminal()
    found = visualize_context_influence(lm, TEXT, 5, stream=stream)
    lines = stream.getvalue().splitlines()
    shades = [PAINTED.findall(line) for line in (lines[2], lines[4])]
    for values, line in zip((found.attention, found.ablation), shades, strict=True):
        assert "".join(text for *_, text in line) == "qwerty"
        strength = [sum(255 - int(c) for c in background.split(";")[1:]) for background, *_ in line]
        for sign in (values >= 0, values < 0):  # one colour each
            order = np.argsort(np.abs(values[sign]), kind="stable")
            assert (np.diff(np.array(strength)[sign][order]) >= 0).all()
        assert strength[np.abs(values).argmax()] == max(strength)
    assert f"at most {np.abs(found.ablation).max():.3f} nats" in lines[3]
    assert "Attention shows the positions that are read" in stream.getvalue()


def test_colours_are_for_terminals_that_have_them_and_people_who_want_them():
    environment = {"TERM": "xterm", "COLORTERM": "truecolor"}
    for more, colours in (
        ({"NO_COLOR": ""}, 2**24),
        ({"COLORTERM": ""}, 256),
        ({"NO_COLOR": "1"}, 0),
        ({"TERM": "dumb"}, 0),
    ):
        assert terminal_colours(Terminal(), environment | more) == colours
    assert terminal_colours(io.StringIO(), environment) == 0


def test_a_terminal_of_256_colours_gets_the_nearest_of_them():
    assert painted("x", (255, 0, 0), 1, 256) == "\x1b[48;5;196;38;5;16mx\x1b[0m"
    assert painted("x", (255, 0, 0), 0, 256) == "\x1b[48;5;231;38;5;16mx\x1b[0m"
    assert painted("x", (33, 102, 172), 1, 256) == "\x1b[48;5;25;38;5;231mx\x1b[0m"


def test_lines_of_the_text_are_lines_in_the_terminal_and_nothing_in_it_reaches_the_terminal_raw(lm):
    text = shaded_text(["a", "\n", "b\x1b[2J", "\n"], np.array([1.0, 0, 0.5, 0]), ("lost", "gained"), 256)
    assert [[cell[2] for cell in PAINTED.findall(line)] for line in text.split("\n")] == [
        ["a", r"\n"],
        [r"b\x1b[2J", r"\n"],
    ]
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
