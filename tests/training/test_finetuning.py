"""Fine-tuning: trainable parameters, measurements, and the damage by the unbounded objective."""

import inspect
import json
import math

import numpy as np
import pytest
from small_pairs import GENERAL, ROWS, trained_lm
from small_runs import TEXT, assert_same_weights, small_lm, weights, without_seconds

from minitransformer import CharTokenizer, cross_entropy
from minitransformer.text import tokenize_corpus
from minitransformer.training import (
    FineTuningSettings,
    LowRank,
    PreferenceSettings,
    Settings,
    fine_tune,
    fine_tune_for_safety,
    pretrain,
)
from minitransformer.training.finetuning.evaluation import evaluate, log_likelihoods
from minitransformer.training.finetuning.preference_run import DEFAULT_GENERAL_PART
from minitransformer.training.finetuning.preferences import POLITENESS, encode, read_preferences, split_held_out
from minitransformer.training.finetuning.trainable import names_in_last_blocks, training_only

# At these settings the objectives differ in being bounded alone.
SAME = {"trainable": 1, "steps": 150, "lr": 5e-4, "min_lr": 5e-4, "eval_every": 10, "perplexity_limit": 3.0}
QUICK = {"trainable": 1, "steps": 6, "lr": 1e-3, "batch_size": 4, "eval_every": 3, "checkpoint_every": 2}


def tuned(lm=None, rows=ROWS, **options):
    lm = lm if lm is not None else trained_lm()
    return lm, fine_tune_for_safety(lm, rows, **({"general_text": GENERAL} | options))


@pytest.mark.parametrize("objective", ["dpo", pytest.param("unlikelihood", marks=pytest.mark.slow)])
def test_with_a_bounded_objective_the_held_out_margin_rises_and_perplexity_stays_within_the_limit(objective):
    _, report = tuned(objective=objective, **SAME)
    assert not report.diverged and report.steps == 150
    assert report.after.margin > report.before.margin + 10
    assert report.after.preferred == 1 and report.before.preferred < 0.5
    assert report.perplexity_growth < SAME["perplexity_limit"]
    assert "The held-out margin rose" in report.verdict and "within the limit of 3 times" in report.verdict


@pytest.mark.slow
def test_with_the_plain_difference_the_model_is_wrecked_and_the_report_says_so():
    _, report = tuned(objective="difference", **SAME)
    assert report.diverged and report.steps < 150
    assert report.perplexity_growth > SAME["perplexity_limit"]
    assert report.after.margin > report.before.margin + 10  # the objective is reached, at the cost of the model
    assert f"DIVERGED: after step {report.steps} the perplexity on general text is" in str(report)
    assert "exceeds the limit of 3 times" in report.verdict and "the model is no longer usable" in report.verdict


def test_a_loss_that_is_not_finite_is_reported_and_leaves_the_model_as_it_was():
    lm = trained_lm()
    lm.model.blocks[1].feed_forward.down.weight.data[0, 0] = np.nan
    before = weights(lm)
    _, report = tuned(lm, **QUICK)
    assert report.diverged and report.steps == 0
    assert_same_weights(lm, before)
    assert report.to_dict()["after"]["perplexity"] is None


# Trainable parameters.

SPECS = [1, 2, LowRank(2), LowRank(3, 2.0, ("blocks.1.*",))]
# One of a number of blocks and one of adapters; the others are slow.
SPECS_OF_A_PLAIN_RUN = [spec if i % 2 else pytest.param(spec, marks=pytest.mark.slow) for i, spec in enumerate(SPECS)]


def allowed(trainable):
    if isinstance(trainable, LowRank):
        tails = ("w_q.weight", "w_v.weight") if trainable.rank == 2 else ("weight",)
        return lambda name: name.startswith(("blocks.0", "blocks.1")[trainable.rank - 2 :]) and name.endswith(tails)
    return lambda name: name.startswith(("blocks.0.", "blocks.1.")[2 - trainable :])


@pytest.mark.parametrize("trainable", SPECS_OF_A_PLAIN_RUN, ids=str)
@pytest.mark.parametrize("how", ["pairs", "text"])
def test_what_is_not_trained_stays_to_the_bit_and_all_are_frozen_or_not_as_before(trainable, how):
    lm = trained_lm()
    parameters = dict(lm.model.named_parameters())
    for name in ("embedding.weight", "blocks.1.attention.w_q.weight"):
        parameters[name].requires_grad = False
    found = {name: parameter.requires_grad for name, parameter in parameters.items()}
    before = weights(lm)
    if how == "pairs":
        tuned(lm, **(QUICK | {"trainable": trainable}))
    else:
        fine_tune(lm, TEXT, FineTuningSettings(steps=3, batch_size=2, trainable=trainable))
    moved = {name for name, array in weights(lm).items() if array.tobytes() != before[name].tobytes()}
    may_move = {name for name in before if allowed(trainable)(name)}
    assert moved <= may_move
    assert all(name.endswith("w_k.bias") for name in may_move - moved)  # the softmax ignores it
    now = dict(lm.model.named_parameters())
    assert {name: parameter.requires_grad for name, parameter in now.items()} == found
    assert all(now[name] is parameter and parameter.grad is None for name, parameter in parameters.items())


@pytest.mark.parametrize("trainable", [1, 2])
def test_gradients_do_not_depend_on_whether_the_backward_below_is_left_out(rng, trainable):
    lm = small_lm(context=24, d_model=16, n_layers=2, dropout=0.0, dtype="float64")
    ids, targets = rng.integers(0, lm.model.config.vocab_size, (2, 3, 9))
    names = names_in_last_blocks(lm.model, trainable)
    lm.model.loss(ids, targets)[1]()
    expected = {name: parameter.grad for name, parameter in lm.model.named_parameters() if name in names}
    entered = []

    def seen(y, backward):
        def counted(dy):
            entered.append(1)
            return backward(dy)

        return y, counted

    with lm.model.hooked({"blocks.0.attention": seen}), training_only(lm.model, trainable):
        lm.model.loss(ids, targets)[1]()
        grads = {name: parameter.grad for name, parameter in lm.model.named_parameters()}
    assert {name for name, grad in grads.items() if grad is not None} == set(names)
    for name in names:
        np.testing.assert_array_equal(grads[name], expected[name])
    assert bool(entered) == (trainable == 2)


def test_log_likelihoods_are_those_of_each_response_by_itself_whatever_the_batch():
    lm = trained_lm()
    pairs = encode(read_preferences(ROWS[:5]), lm.tokenizer, 24)
    for size in (2, 5):
        safe, unsafe = log_likelihoods(lm.model, pairs, size)
        for pair, s, u in zip(pairs, safe, unsafe, strict=True):
            for response, value in ((pair.safe, s), (pair.unsafe, u)):
                ids = np.concatenate([pair.prompt, response])
                losses, _ = cross_entropy(lm.model.predict(ids[:-1]), ids[1:], reduction="none")
                assert value == pytest.approx(-float(losses[len(pair.prompt) - 1 :].sum()), rel=1e-5)


def test_an_evaluation_is_the_mean_over_responses_and_tokens():
    lm = trained_lm()
    pairs = encode(read_preferences(ROWS), lm.tokenizer, 24)
    general = lm.tokenizer.encode(GENERAL)
    measured = evaluate(lm, pairs, general, 4)
    safe, unsafe = log_likelihoods(lm.model, pairs, 30)
    assert measured.safe == pytest.approx(safe.mean(), rel=1e-6)
    assert measured.unsafe_per_token == pytest.approx(unsafe.sum() / sum(len(p.unsafe) for p in pairs), rel=1e-6)
    assert measured.margin == pytest.approx(measured.safe - measured.unsafe, rel=1e-6)
    assert measured.preferred == np.mean([s > u for s, u in zip(safe, unsafe, strict=True)])
    assert measured.perplexity == pytest.approx(lm.perplexity(GENERAL), rel=1e-6)


def test_the_report_is_of_the_model_before_and_after_on_the_rows_held_out():
    before = trained_lm()
    after, report = tuned(held_out=ROWS[:7], rows=ROWS[7:], prompts=["the cat", "a rat"], **QUICK)
    pairs = encode(read_preferences(ROWS[:7]), before.tokenizer, 24)
    for lm, measured in ((before, report.before), (after, report.after)):
        safe, unsafe = log_likelihoods(lm.model, pairs, 8)
        assert measured.margin == pytest.approx((safe - unsafe).mean(), rel=1e-6)
        assert measured.perplexity == pytest.approx(lm.perplexity(GENERAL), rel=1e-6)
        assert [prompt for prompt, _ in measured.completions] == ["the cat", "a rat"]
        assert all(len(text) == 40 for _, text in measured.completions)
    assert (report.rows, report.held_out_rows, report.steps) == (23, 7, 6)
    assert report.model_numbers == before.model.n_parameters()
    shown = str(report)
    assert f"{report.after.margin:10.3f}" in shown and "'the cat'" in shown and "does not measure" in shown


def test_the_first_loss_is_that_of_the_starting_model_on_the_rows_drawn():
    rows = ROWS[:4]
    lm, start = trained_lm(), trained_lm()
    _, report = tuned(lm, rows, held_out=ROWS[4:], objective="difference", **(QUICK | {"steps": 1, "warmup": 0}))
    safe, unsafe = log_likelihoods(start.model, encode(read_preferences(rows), lm.tokenizer, 24), 4)
    assert report.records[1]["loss"] == pytest.approx((unsafe - safe).mean(), rel=1e-4)
    _, report = tuned(trained_lm(), rows, held_out=ROWS[4:], **(QUICK | {"steps": 1}))
    assert report.records[1]["loss"] == pytest.approx(math.log(2), rel=1e-4)


def test_the_politeness_dataset_fits_the_default_model_and_says_what_is_held_out():
    rows = read_preferences("politeness")
    assert rows == read_preferences(POLITENESS) and len(rows) >= 80
    assert len({row.prompt for row in rows}) == len(rows)
    train, held_out = split_held_out(rows, None, 0)
    assert 15 <= len(held_out) <= len(train) / 2
    assert all(row.safe != row.unsafe and row.safe[0] == row.unsafe[0] == " " for row in rows)
    encode(rows, CharTokenizer("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ,.!?"), context=64)
    lengths = [
        np.mean([len(text) for text in texts]) for texts in zip(*((r.safe, r.unsafe) for r in rows), strict=True)
    ]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.05)  # so that neither is preferred for being short


@pytest.mark.filterwarnings("ignore:the perplexity is measured on")
def test_pairs_of_politeness_that_do_not_fit_the_model_are_left_out_with_a_warning():
    letters = "abcdefghijklmnopqrstuvwxyzACHIMWT .,?"
    lm = small_lm(letters, context=64)
    with pytest.warns(UserWarning, match=r"^\d+ of the \d+ pairs of politeness are left out: they do not fit"):
        _, report = tuned(lm, "politeness", held_out=0.5, **(QUICK | {"steps": 1, "general_text": None}))
    assert report.records[-1]["step"] == 1
    with pytest.raises(
        ValueError, match=r"no pair of politeness fits the model's vocabulary of 14 tokens and its context"
    ):
        tuned(small_lm(), "politeness", **QUICK)


def test_the_default_general_text_is_used_without_characters_that_the_vocabulary_lacks():
    lm = trained_lm()
    words = "the perplexity is measured on the Python .* without characters that the vocabulary lacks: '.*A"
    with pytest.warns(UserWarning, match=words):
        _, report = tuned(lm, ROWS, **(QUICK | {"steps": 1, "general_text": None, "eval_tokens": 50}))
    assert report.records[-1]["step"] == 1


GOOD = '{"prompt": "a cat", "safe": " sat", "unsafe": " ate"}'


@pytest.mark.parametrize(
    "line, error, words",
    [
        ("[" * 100_000, ValueError, "maximum recursion depth exceeded"),
        (f'{{"prompt": {"9" * 5000}}}', ValueError, "Exceeds the limit"),
        ("{'prompt': 3}", ValueError, "expected JSON in UTF-8 (Expecting property name"),
        ('["a cat", "sat", "ate"]', TypeError, 'must be an object with "prompt", "safe" and "unsafe", not ['),
        ("null", TypeError, 'must be an object with "prompt", "safe" and "unsafe", not None'),
        ('{"prompt": "a cat", "safe": " sat"}', ValueError, '"unsafe" is missing'),
        ('{"prompt": "a cat", "safe": 7, "unsafe": " ate"}', TypeError, '"safe" must be a string, not 7'),
        (
            f'{{"prompt": {[0] * 9999}, "safe": "a", "unsafe": "b"}}',
            TypeError,
            '"prompt" must be a string, not [0, 0, ',
        ),
        ('{"prompt": "", "safe": " sat", "unsafe": " ate"}', ValueError, '"prompt" must not be empty'),
        (GOOD[:-1] + ', "held_out": "yes"}', TypeError, "\"held_out\" must be True or False, not 'yes'"),
        ('{"prompt": "a cat", "safe": " Sat", "unsafe": " ate"}', ValueError, "\"safe\": unknown character 'S'"),
        (
            '{"prompt": "a cat sat on the", "safe": " mat and ate", "unsafe": " ate"}',
            ValueError,
            '"prompt" and "safe" have 28 tokens together; at most 25 are allowed with a context of 24',
        ),
        ('{"prompt": "a cat", "safe": " s\xe4t", "unsafe": " ate"}', ValueError, "decode byte 0xe4"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_by_file_and_line(tmp_path, line, error, words):
    path = tmp_path / "rows.jsonl"
    path.write_bytes("\n".join([GOOD, "", line, GOOD]).encode("latin-1"))
    lm = trained_lm()
    before = weights(lm)
    with pytest.raises(error) as caught:
        tuned(lm, path, held_out=ROWS, **QUICK)
    assert str(caught.value).startswith(f"{path}: line 3: ") and words in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 200
    assert_same_weights(lm, before)


def test_held_out_rows_are_those_marked_or_a_fraction_of_the_prompts_or_another_dataset(tmp_path):
    rows = read_preferences(ROWS)
    marked = read_preferences([row | {"held_out": i < 4} for i, row in enumerate(ROWS)])
    assert [row.prompt for row in split_held_out(marked, None, 0)[1]] == [row["prompt"] for row in ROWS[:4]]
    train, held_out = split_held_out(rows, None, 0)
    assert len(held_out) == 6 and len(train) == 24 and not set(train) & set(held_out)
    assert split_held_out(rows, 0.5, 1) == split_held_out(rows, 0.5, 1) != split_held_out(rows, 0.5, 2)
    train, held_out = split_held_out(rows + rows, 0.3, 0)  # two rows of each prompt stay together
    assert len(held_out) == 18 and not {row.prompt for row in train} & {row.prompt for row in held_out}
    (tmp_path / "other.jsonl").write_text(GOOD)
    assert len(split_held_out(rows, tmp_path / "other.jsonl", 0)[1]) == 1
    assert split_held_out(rows, ROWS[:3], 0)[0] == rows


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"objective": "ppo"}, ValueError, "unknown objective 'ppo'; choose from dpo, unlikelihood, difference"),
        ({"beta": 0}, ValueError, "beta must be positive and finite, not 0"),
        ({"perplexity_limit": 1.0}, ValueError, "perplexity_limit must be more than 1, not 1.0"),
        ({"perplexity_limit": "2"}, TypeError, "perplexity_limit must be a number, not '2'"),
        ({"trainable": 0}, ValueError, "trainable .a number of last blocks. must be at least 1, not 0"),
        ({"trainable": 3}, ValueError, "trainable must be at most 2, the number of blocks of the model, not 3"),
        ({"trainable": "ln_final.*"}, TypeError, "trainable must be a number of last blocks or a LowRank, not 'ln_"),
        ({"trainable": LowRank(99)}, ValueError, "LoRA: the rank must be from 1 to 16 for a 16 × 16 layer, not 99"),
        ({"general_text": "Q"}, ValueError, "the general text: unknown character 'Q'"),
        ({"general_text": "a"}, ValueError, "the general text must have at least 2 tokens, not 1"),
        ({"prompts": ["a", ""]}, ValueError, "the text must have at least one token"),
        ({"resume": True}, ValueError, "out must be a folder if resume or plot is True"),
        ({"held_out": 1.5}, ValueError, "held_out must be a fraction between 0 and 1, or a dataset, not 1.5"),
        ({"held_out": 0.0}, ValueError, "held_out must be a fraction between 0 and 1, or a dataset, not 0.0"),
        ({"rows": ROWS[:1] * 2}, ValueError, "held_out must select some of the 1 prompts, not 1"),
        ({"rows": [ROWS[0], {"prompt": "a"}]}, ValueError, 'row 2: "safe" is missing'),
        ({"rows": []}, ValueError, "the dataset: must have at least one row"),
        ({"trainable": {"rank": 0}}, ValueError, "rank must be at least 1, not 0"),
        ({"trainable": {"alpha": 0}}, ValueError, "alpha must be positive, not 0"),
        ({"trainable": {"targets": [3]}}, TypeError, "LowRank: targets must be a list of strings, not "),
    ],
)
def test_what_cannot_be_is_refused_and_the_model_is_left_alone(options, error, words):
    lm = trained_lm()
    before = weights(lm)
    with pytest.raises(error, match=words):
        tuned(lm, **(QUICK | options))
    assert_same_weights(lm, before)
    assert all(parameter.requires_grad for parameter in lm.model.parameters())


@pytest.mark.parametrize("trainable", SPECS, ids=str)
@pytest.mark.parametrize("kind", [FineTuningSettings, PreferenceSettings])
def test_settings_survive_json(kind, trainable):
    settings = kind(trainable=trainable, seed=3)
    assert kind(**json.loads(json.dumps(settings.to_dict()))) == settings


def test_fine_tuning_on_a_text_is_pretraining_of_a_part():
    one, other = trained_lm(), trained_lm()
    settings = FineTuningSettings(steps=5, batch_size=3, trainable=2)
    records = fine_tune(one, TEXT, settings)
    corpus = tokenize_corpus(TEXT, other.tokenizer)
    fields = {name: value for name, value in settings.to_dict().items() if name != "trainable"}
    with training_only(other.model, 2):
        assert without_seconds(pretrain(other, corpus, Settings(**fields))) == without_seconds(records)
    assert_same_weights(one, other)


@pytest.mark.slow
def test_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    tuned(out=tmp_path, plot=True, **QUICK)
    assert (tmp_path / "finetuning.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_general_text_of_the_default_corpus_is_the_part_that_train_does_not_learn():
    assert inspect.signature(tokenize_corpus).parameters["validation"].default == DEFAULT_GENERAL_PART
