"""A model's abilities on the simple patterns: compared with loops, interventions, and models that must differ."""

import json

import numpy as np
import pytest
from strategies import random_model

from minitransformer import Config, TinyTransformer, analyze_learned_patterns, train_on_simple_patterns
from minitransformer.analysis import mean_head_outputs, without_heads
from minitransformer.analysis.hooks import record
from minitransformer.experiments.patterns import moment_of_induction
from minitransformer.experiments.patterns.learned import NOTABLE, wilson_interval
from minitransformer.text import IGNORE_INDEX, PATTERNS

slow = pytest.mark.slow  # trains models until they have induction heads

TRAINING = {"steps": 300, "batch_size": 8, "eval_every": 20}


def trained(n_layers):
    """Return (model, records, analysis) of a model that was trained for some seconds on two of the patterns."""
    model = TinyTransformer(n_layers=n_layers, positions="rotary", context=50)
    records = train_on_simple_patterns(model, ["repeat", "induction"], **TRAINING)
    return model, records, analyze_learned_patterns(model, ["induction"])


@pytest.fixture(scope="module")
def two_blocks():
    """A model that can do induction."""
    return trained(2)


@pytest.fixture(scope="module")
def one_block():
    """A model that cannot, trained alike."""
    return trained(1)


@slow
def test_two_blocks_learn_induction_and_the_scores_find_the_heads_that_ablation_confirms(two_blocks):
    _, records, learned = two_blocks
    found, moment = learned.induction, moment_of_induction(records)
    highest = {record["step"]: np.max(record["heads"]["induction"]) for record in records if "heads" in record}
    assert highest[moment] >= NOTABLE and all(score < NOTABLE for step, score in highest.items() if step < moment)
    assert learned.accuracies[0].tokens > 0.8
    assert found.head[0] == 1 and found.score == learned.scores.induction.max() > 0.6
    assert found.whole > 0.8 and found.without_heads < 0.15
    assert found.without_heads < found.without_others - 0.5
    assert found.feeder == (0, int(learned.scores.previous_token[0].argmax()))
    assert found.without_feeder < 0.3 and found.score_without_feeder < found.score - 0.3


@slow
def test_one_block_trained_alike_has_no_induction_head_and_does_not_learn_it(one_block):
    _, records, learned = one_block
    assert learned.induction is None and moment_of_induction(records) is None
    assert learned.scores.induction.max() < 0.25
    assert learned.accuracies[0].answers < 0.05


@slow
def test_the_accuracies_and_what_is_left_without_a_head_equal_loops(two_blocks):
    model, _, _ = two_blocks
    learned = analyze_learned_patterns(model, ["repeat", "add"], rows=20, seed=3)
    drawn = np.random.default_rng([3, *b"analysis"])
    lengths = [("repeat", 16, True), ("repeat", 24, False), ("add", 4, True)]
    assert [(entry.pattern, entry.length, entry.trained) for entry in learned.accuracies] == lengths
    assert learned.accuracies[0].tokens > 0.5 and 0 < learned.accuracies[0].answers < 1
    for entry in learned.accuracies:
        inputs, targets = PATTERNS[entry.pattern].sample(drawn, 20, entry.length)
        right = []
        for row, answers in zip(inputs, targets, strict=True):
            logits = model.predict(row)
            right.append([logits[t].argmax() == y for t, y in enumerate(answers) if y != IGNORE_INDEX])
        assert entry.tokens == np.mean(np.concatenate(right)) and entry.answers == np.mean([all(row) for row in right])
        assert entry.answers_interval == wilson_interval(entry.answers, 20)
    inputs, targets = PATTERNS["repeat"].sample(drawn, 64, 16)
    outputs = mean_head_outputs(model, inputs)
    for head in np.ndindex(2, 4):
        with without_heads(model, [head], outputs):
            predicted = model.predict(inputs).argmax(axis=-1)
        right = np.mean((predicted == targets)[targets != IGNORE_INDEX])
        assert np.isclose(learned.ablations["repeat"][head], right, atol=2e-3)
    assert np.ptp(learned.ablations["repeat"]) > 0.1  # some heads matter more than others


def test_heads_of_several_blocks_are_ablated_together_and_the_others_left_alone(rng):
    model = random_model(Config(vocab_size=9, context=6, d_model=12, n_heads=3, n_layers=2, dtype="float64"), rng)
    ids = rng.integers(0, 9, (4, 6))
    names = ["blocks.0.attention.heads", "blocks.1.attention.heads"]
    outputs, before = mean_head_outputs(model, ids), record(model, ids, names)
    assert outputs.shape == (2, 3, 4)
    with without_heads(model, [(0, 2), (0, 0), (1, 1)], outputs):
        seen = record(model, ids, names)
    for head in (0, 2):
        assert np.allclose(seen[names[0]][:, head], before[names[0]][:, head].mean(axis=(0, 1)))
    assert np.array_equal(seen[names[0]][:, 1], before[names[0]][:, 1])
    assert np.allclose(seen[names[1]][:, 1], before[names[1]][:, 1].mean(axis=(0, 1)))
    assert not any(module.is_hooked for _, module in model.named_modules())


@slow
def test_what_was_found_can_be_printed_and_stored(two_blocks, one_block):
    learned = two_blocks[2]
    text = str(learned)
    assert "induction      16 " in text and "longer than any in training" in text
    assert (
        f"Head 1.{learned.induction.head[1]} performs induction" in text and "OV" in text and "by the previous" in text
    )
    assert "by a pointer" not in text
    assert max(map(len, text.splitlines())) <= 120
    stored = json.loads(json.dumps(learned.to_dict(), allow_nan=False))
    assert stored["induction"]["ov"]["on_diagonal"] == learned.induction.ov.on_diagonal
    assert np.allclose(stored["scores"]["induction"], learned.scores.induction)
    assert "No head performs induction: the highest score is 0." in str(one_block[2])
    assert json.loads(json.dumps(one_block[2].to_dict(), allow_nan=False))["induction"] is None


def test_a_model_with_positions_in_its_stream_is_analysed_by_its_pointer_too(rng, monkeypatch):
    model = random_model(Config(vocab_size=1000, context=30, d_model=8, n_heads=2, dtype="float64"), rng)
    monkeypatch.setattr("minitransformer.experiments.patterns.learned.NOTABLE", 0.0)  # any head counts
    learned = analyze_learned_patterns(model, ["induction"], longest=6)
    if learned.induction.feeder is not None:
        assert learned.induction.pointer.matrix.shape == (6, 6)
    assert "performs induction" in str(learned)


def test_what_cannot_be_analysed_is_refused():
    model = TinyTransformer(d_model=8, context=40)
    for words, options in (("unknown pattern", {"patterns": ["sort"]}), ("at most 19", {"longest": 20})):
        with pytest.raises(ValueError, match=words):
            analyze_learned_patterns(model, **options)


@slow
def test_the_pictures_are_drawn(two_blocks, one_block, tmp_path):
    pytest.importorskip("matplotlib")
    from minitransformer.experiments.patterns.pictures import draw_circuits, draw_heads, draw_moment

    draw_moment({"two": two_blocks[1], "one": one_block[1]}, tmp_path / "moment.png")
    draw_heads(two_blocks[2], tmp_path / "heads.png")
    draw_circuits(two_blocks[2].induction, tmp_path / "circuits.png")
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and path.stat().st_size > 20_000
