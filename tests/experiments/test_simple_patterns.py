"""Training on the simple patterns: the exercises, the measurements, the start and resuming."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from small_runs import assert_same_weights, weights as weights_of
from strategies import configs, rngs

from minitransformer import LanguageModel, TinyTransformer, Transformer, train_on_simple_patterns
from minitransformer.analysis import attention_weights, duplicate_token_score, induction_score, previous_token_score
from minitransformer.cli import main
from minitransformer.experiments.patterns import PatternSettings
from minitransformer.experiments.patterns.starting_attention import OWN_SCORE, START_BIAS, start_attention
from minitransformer.experiments.patterns.training import PatternRun
from minitransformer.text import PATTERNS, PatternTokenizer, accuracy
from minitransformer.training import TrainingDiverged

SMALL = {"d_model": 8, "n_heads": 2, "context": 40}
FEW = {"steps": 6, "batch_size": 1, "longest": 8, "eval_every": 2, "checkpoint_every": 2}


def small_model(seed=0, **fields):
    """Return a tiny TinyTransformer."""
    return TinyTransformer(seed, **(SMALL | fields))


def lm(model):
    """Return the LanguageModel that small_runs compares."""
    return LanguageModel(model, PatternTokenizer())


# The exercises.


@pytest.mark.parametrize("longest", [6, 9, 16])
def test_each_pattern_gets_about_as_many_tokens_in_a_step_whatever_its_length(longest):
    settings = PatternSettings(batch_size=3, longest=longest)
    run = PatternRun(TinyTransformer(d_model=8), settings)
    most = 3 * (2 * longest + 2)
    for name, pattern in PATTERNS.items():
        widths = set()
        for _ in range(200):
            inputs, targets = run.draw_rows(name)
            assert inputs.shape == targets.shape
            widths.add(inputs.shape[1])
            assert most - inputs.shape[1] < inputs.size <= most
        lengths = range(pattern.shortest, min(longest, pattern.longest or longest) + 1)
        assert widths == {pattern.width(length) for length in lengths}


def test_the_rows_to_evaluate_on_are_none_of_those_it_trains_on():
    run = PatternRun(small_model(), PatternSettings(**FEW))
    kept = {tuple(row) for row in run.exercises["induction"][0].tolist()}
    drawn = [run.draw_rows("induction")[0] for _ in range(500)]
    assert len(kept) == 32
    assert not kept & {tuple(row) for batch in drawn for row in batch.tolist()}


# The measurements.


def test_the_records_hold_what_loops_over_rows_and_heads_find():
    model = small_model()
    last = train_on_simple_patterns(model, **FEW)[-1]
    run = PatternRun(small_model(), PatternSettings(**FEW))
    total, count = 0.0, 0
    for name in PATTERNS:
        inputs, targets = run.exercises[name]
        logits = model.predict(inputs).astype(np.float64)
        assert last["accuracy"][name] == accuracy(logits.argmax(axis=-1), targets)
        for row, column in np.argwhere(targets >= 0):
            z = logits[row, column]
            total += np.log(np.exp(z).sum()) - z[targets[row, column]]
            count += 1
    assert np.isclose(last["val_loss"], total / count, rtol=1e-5)
    assert [batch.shape for batch in run.repeated] == [(4, 2 * length) for length in range(4, 9)]
    rows = [row for batch in run.repeated for row in batch]
    each = [attention_weights(model, row) for row in rows]
    expected = {
        "previous_token": np.mean([previous_token_score(w) for w in each], axis=0),
        "duplicate_token": np.mean([duplicate_token_score(w, row) for w, row in zip(each, rows, strict=True)], axis=0),
        "induction": np.mean([induction_score(w, row) for w, row in zip(each, rows, strict=True)], axis=0),
    }
    for name, score in expected.items():
        assert np.allclose(last["heads"][name], score, atol=1e-6)


# Seeds, folders, resuming.


def test_a_run_of_other_patterns_is_refused(tmp_path):
    train_on_simple_patterns(small_model(), out=tmp_path, **FEW)
    with pytest.raises(ValueError, match="cannot resume: longest was 8, and now is 9"):
        train_on_simple_patterns(small_model(), out=tmp_path, resume=True, **FEW | {"longest": 9})


def test_the_folder_holds_a_model_that_writes_what_people_can_read(tmp_path, capsys):
    model = small_model()
    train_on_simple_patterns(model, out=tmp_path, **FEW)
    loaded = LanguageModel.load(tmp_path)
    assert_same_weights(loaded, lm(model))
    assert loaded.generate("COPY ba de =", 3, temperature=0).startswith("COPY ba de =")
    assert main(["info", str(tmp_path)]) == 0
    assert "step 6 of 6" in (shown := capsys.readouterr().out) and "on simple patterns (copy, repeat" in shown


def test_a_run_that_diverges_says_at_which_step():
    with np.errstate(all="ignore"), pytest.raises(TrainingDiverged, match=r"^step \d+: .*; nothing was saved"):
        train_on_simple_patterns(small_model(), **FEW | {"lr": 1e30, "eval_every": 0, "warmup": 0})


# Refusals.


@pytest.mark.parametrize(
    "error, words, settings",
    [
        (TypeError, r"must be a list of names, such as \['copy', 'induction'\], not 'copy'", {"patterns": "copy"}),
        (ValueError, "patterns must contain at least one of copy, repeat", {"patterns": []}),
        (ValueError, "unknown pattern 'sort'; choose from copy, repeat", {"patterns": ["sort"]}),
        (ValueError, "repeat: longest must be at least 6, not 5", {"longest": 5}),
        (ValueError, "copy: longest must be at most 19, not 20", {"longest": 20}),
    ],
)
def test_settings_that_cannot_be_are_named(error, words, settings):
    with pytest.raises(error, match=words):
        train_on_simple_patterns(small_model(), **settings)


# Where attention begins.


@given(configs(positions="learned", d_model=64, n_layers=2, mixers=None), rngs)
def test_with_positions_in_the_stream_keys_begin_as_queries_of_a_certain_size(config, rng):
    config = dataclasses.replace(config, d_head=16, dtype="float32")
    model = Transformer(config, seed=int(rng.integers(100)))
    later = model.blocks[1].attention
    before = later.w_q.weight.data.copy(), later.w_k.weight.data.copy()
    start_attention(model)
    attention = model.blocks[0].attention
    x = rng.normal(size=(4000, 64))
    q = (x @ attention.w_q.weight.data).reshape(4000, config.kv_heads, -1, 16)
    k = (x @ attention.w_k.weight.data).reshape(4000, config.kv_heads, 16)
    assert np.allclose(q[:, :, 0], k)
    assert np.isclose((k * k).sum(axis=-1).mean() / 4, OWN_SCORE, rtol=0.25)
    assert attention.w_q.weight.data.dtype == attention.w_k.weight.data.dtype == np.float32
    assert not np.shares_memory(attention.w_q.weight.data, attention.w_k.weight.data)
    assert np.array_equal(later.w_q.weight.data, before[0]) and np.array_equal(later.w_k.weight.data, before[1])


def test_with_rotary_positions_queries_and_keys_share_a_part_that_favours_what_is_near():
    model = TinyTransformer(positions="rotary")
    start_attention(model)
    attention = model.blocks[0].attention
    assert (attention.w_q.bias.data == START_BIAS).all() and (attention.w_k.bias.data == START_BIAS).all()
    assert (model.blocks[1].attention.w_k.bias.data == 0).all()
    weights = attention_weights(model, np.arange(200, 232))
    assert weights[0, :, -1, -3:].sum(axis=-1).min() > 0.4 > 3 / 32
    plain = TinyTransformer(positions="rotary", bias=False)
    before = weights_of(lm(plain))
    start_attention(plain)
    assert_same_weights(before, weights_of(lm(plain)))


# Words.


@given(rngs)
def test_the_words_of_the_patterns_come_back_as_the_same_ids_wherever_the_text_is_cut(rng):
    tokenizer, ids = PatternTokenizer(), rng.integers(0, 1000, rng.integers(0, 12))
    text = tokenizer.decode(ids)
    assert tokenizer.encode(text).tolist() == ids.tolist()
    assert "".join(tokenizer.decode_stream(ids)) == text
    cuts = np.sort(rng.integers(0, len(text) + 1, 3))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert np.concatenate(list(tokenizer.encode_chunks(pieces))).tolist() == ids.tolist()
    assert len({*tokenizer.words}) == tokenizer.vocab_size == 1000
