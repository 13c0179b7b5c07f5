"""Information flow: all of it about one token of a text, in words, as JSON and as pictures."""

import json

import numpy as np
import pytest
from strategies import random_model

from minitransformer import CharTokenizer, Config, LanguageModel, trace_information_flow
from minitransformer.analysis import attention_rollout, attention_weights, position_contributions
from minitransformer.layers.softmax import softmax

TEXT = "qwertyqwer"


@pytest.fixture(scope="module")
def flow():
    """Of a model that was not trained: every value matters."""
    return trace_information_flow(untrained(), TEXT, 7)


def untrained(**fields):
    rng = np.random.default_rng(5)
    config = Config(**{"vocab_size": 26, "context": 12, "d_model": 8, "n_heads": 2, "dtype": "float64"} | fields)
    return LanguageModel(random_model(config, rng), CharTokenizer("abcdefghijklmnopqrstuvwxyz"))


def test_the_target_is_a_token_of_the_text_explained_from_those_before_it_alone(flow):
    lm = untrained()
    ids = lm.encode(TEXT)
    assert (flow.tokens, flow.target, flow.target_position, flow.in_text) == (list("qwertyq"), "w", 7, True)
    probabilities = softmax(lm.logits(TEXT)[6])[0]
    assert flow.probability == pytest.approx(probabilities[ids[7]])
    assert flow.rank == 1 + (probabilities > probabilities[ids[7]]).sum()
    changed = trace_information_flow(lm, "qwertyqwzz", 7)
    assert changed.to_dict() | {"text": TEXT} == flow.to_dict()


def test_its_parts_are_those_of_the_functions_that_make_them(flow):
    lm = untrained()
    before = lm.encode(TEXT)[:7]
    weights = attention_weights(lm.model, before)
    np.testing.assert_array_equal(flow.attention, weights)
    np.testing.assert_array_equal(flow.rollout, attention_rollout(weights))
    expected = position_contributions(lm.model, before, flow.target_id)
    assert flow.contributions.to_dict() == expected.to_dict()
    logits = lm.model.predict(before)[-1]
    assert flow.direct.values.sum() == pytest.approx(logits[flow.target_id] - logits.mean(), abs=1e-9)
    assert flow.lens.answers.tolist() == [*before[1:], flow.target_id]
    letters = lm.tokenizer.characters
    assert flow.lens_tokens == [[[letters[i] for i in row] for row in layer] for layer in flow.lens.top_ids]


def test_it_is_told_in_words_with_what_it_does_not_show(flow):
    told = str(flow)
    assert told.startswith("qwertyq -> w\n")
    assert f"token 7 of the text: probability {flow.probability:.1%}, rank {flow.rank}" in told
    rows = [line.split() for line in told.splitlines()]
    row = next(row for row in rows if row[:2] == ["3", "r"])
    assert [float(cell) for cell in row[2:]] == [
        round(float(getattr(flow.contributions, name)[3]), 3) + 0.0
        for name in ("attention", "rollout", "value_weighted", "gradient_times_input", "ablation")
    ]
    listed = [float(line.split()[-1]) for line in told.split("the sum of\n")[1].split("Not shown")[0].splitlines()]
    assert sum(listed) == pytest.approx(flow.direct.total, abs=0.01)
    assert f"{flow.direct.total:+.3f}, the sum of" in told
    assert told.count("Not shown") == 2 and "The others are not interventions" in told
    assert max(map(len, told.splitlines())) <= 120


def test_json_holds_all_of_it(flow):
    stored = json.loads(json.dumps(flow.to_dict(), allow_nan=False))
    assert stored["tokens"] == list("qwertyq") and stored["target"] == "w"
    np.testing.assert_array_equal(stored["attention"], flow.attention)
    assert stored["contributions"]["ablation"] == flow.contributions.ablation.tolist()
    assert stored["lens"]["top_tokens"] == flow.lens_tokens
    assert stored["direct"]["components"][:4] == ["token", "position", "head 0.0", "head 0.1"]
    shortest = trace_information_flow(untrained(), "ab", 1)  # a correlation over one position does not exist
    stored = json.loads(json.dumps(shortest.to_dict(), allow_nan=False))
    assert stored["contributions"]["correlations"]["attention"] == {"pearson": None, "spearman": None}
    assert "nan" in str(shortest)


@pytest.mark.parametrize(
    "text, index, words",
    [
        ("", 1, "the text must have at least one token"),
        (TEXT, 0, "target_token_idx must have a token before it, not be 0, the first"),
        (TEXT, 11, "must be from -10 to 10 for a text of 10 tokens, not 11"),
        (TEXT, True, "target_token_idx must be an integer, not True"),
        ("a" * 14, 13, "must be at most 12, not 13"),
    ],
)
def test_a_target_without_a_prediction_is_refused(text, index, words):
    with pytest.raises((ValueError, IndexError, TypeError), match=words):
        trace_information_flow(untrained(), text, index)
