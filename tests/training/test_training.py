"""Training: the step, the run, its settings, metrics and picture."""

import math
import re
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
from small_runs import SETTINGS, At, assert_same_weights, fail, small_corpus, small_lm, weights, without_seconds
from terminals import Terminal

from minitransformer import AdamW, decay_groups
from minitransformer.text import Corpus, random_batch
from minitransformer.training import (
    Observer,
    ProgressBar,
    Settings,
    TrainingDiverged,
    draw_loss_curve,
    pretrain,
    read_metrics,
    training_step,
)

# The step.


def batch_of(rng, lm, size, ignored=0):
    """Draw (inputs, targets) of the model's vocabulary and context, the first targets of each row ignored."""
    inputs, targets = rng.integers(0, lm.model.config.vocab_size, (2, size, lm.model.config.context))
    targets[:, :ignored] = -100
    return inputs, targets


def moved_by(batches, clip=None, **fields):
    lm = small_lm(dtype="float64", dropout=0.0, **fields)
    optimizer = AdamW(decay_groups(lm.model, 0.1), lr=0.1, eps=1e-3)
    loss, norm = training_step(lm.model, optimizer, batches, clip=clip)
    return weights(lm), loss, norm


@pytest.mark.parametrize("ignored", [(0, 0), (0, 5)], ids=["equal", "unequal"])
def test_two_half_batches_accumulate_to_one(rng, ignored):
    lm = small_lm()
    halves = [batch_of(rng, lm, 3, n) for n in ignored]
    whole = tuple(np.concatenate(parts) for parts in zip(*halves, strict=True))
    one, loss_one, norm_one = moved_by([whole])
    two, loss_two, norm_two = moved_by(halves)
    assert loss_two == pytest.approx(loss_one, rel=1e-13)
    assert norm_two == pytest.approx(norm_one, rel=1e-12)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-12, err_msg=name)


def test_a_step_on_nothing_but_ignored_targets_has_no_loss(rng):
    lm = small_lm()
    _, loss, norm = moved_by([batch_of(rng, lm, 2, ignored=8)])
    assert (loss, norm) == (0.0, 0.0)


@pytest.mark.parametrize("clip", [0, -1.0, math.nan])
def test_a_clip_that_is_not_positive_is_refused_and_nothing_moves(clip):
    lm = small_lm()
    before = {name: array.copy() for name, array in weights(lm).items()}
    batch = random_batch(small_corpus().train_ids, 3, 8, np.random.default_rng(0))
    with pytest.raises(ValueError, match=f"max_norm must be positive, not {clip}"):
        training_step(lm.model, AdamW(lm.model.parameters()), [batch], clip=clip)
    assert_same_weights(lm, before)


def test_pretraining_takes_the_steps_of_a_plain_loop():
    settings = replace(SETTINGS, accumulate=2, clip=0.5, weight_decay=0.3, warmup=3, min_lr=1e-3)
    trained, looped = small_lm(), small_lm()
    corpus = small_corpus()
    records = pretrain(trained, corpus, settings)

    batch_seed, dropout_seed = np.random.SeedSequence(settings.seed).spawn(2)
    batch_rng, dropout_rng = np.random.default_rng(batch_seed), np.random.default_rng(dropout_seed)
    optimizer = AdamW(decay_groups(looped.model, 0.3), betas=settings.betas)
    for step in range(settings.steps):
        lr = 1e-2 * (step + 1) / 4 if step < 3 else 1e-3 + 9e-3 * (1 + math.cos(math.pi * (step - 3) / 9)) / 2
        for group in optimizer.param_groups:
            group["lr"] = lr
        losses = []
        for _ in range(2):
            inputs, targets = random_batch(corpus.train_ids, 3, 8, batch_rng)
            loss, backward = looped.model.loss(inputs, targets, rng=dropout_rng)
            backward(0.5)
            losses.append(float(loss))
        norm = math.sqrt(sum(float(np.vdot(p.grad, p.grad)) for p in looped.model.parameters()))
        for parameter in looped.model.parameters():
            parameter.grad = parameter.grad * min(1.0, 0.5 / norm)
        optimizer.step()
        optimizer.zero_grad()
        record = records[step + 1]
        assert record["step"] == step + 1
        assert record["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
        assert record["lr"] == pytest.approx(lr, rel=1e-12)
        assert record["grad_norm"] == pytest.approx(norm, rel=1e-5)
        assert record["tokens"] == (step + 1) * 2 * 3 * 8
    for name, array in weights(trained).items():
        if not name.endswith("w_k.bias"):  # whose gradient is zero but for rounding, and AdamW heeds no scale
            np.testing.assert_allclose(array, weights(looped)[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_evaluating_sampling_and_saving_do_not_change_the_numbers(tmp_path):
    busy, idle = small_lm(), small_lm()
    often = replace(SETTINGS, eval_every=1, sample_every=1, checkpoint_every=1)
    pretrain(busy, small_corpus(), often, out=tmp_path / "busy")
    pretrain(idle, small_corpus(), replace(SETTINGS, eval_every=0, sample_every=0, checkpoint_every=0))
    assert_same_weights(busy, idle)


def validation_loss(lm, ids):
    total, context = 0.0, lm.model.config.context
    for start in range(0, len(ids) - 1, context):
        block = ids[start : start + context + 1].astype(int)
        logits = lm.model.predict(block[None, :-1])[0].astype(np.float64)
        total += sum(np.log(np.exp(z).sum()) - z[target] for z, target in zip(logits, block[1:], strict=True))
    return total / (len(ids) - 1)


@pytest.mark.parametrize("eval_tokens", [None, 100])
def test_the_validation_loss_is_that_of_the_whole_split_or_its_first_tokens(eval_tokens):
    lm, corpus = small_lm(), small_corpus()
    records = pretrain(lm, corpus, replace(SETTINGS, eval_tokens=eval_tokens))
    ids = corpus.val_ids if eval_tokens is None else corpus.val_ids[: eval_tokens + 1]
    assert records[-1]["val_loss"] == pytest.approx(validation_loss(lm, ids), rel=1e-5)


def test_evaluations_happen_when_they_are_due_and_at_both_ends():
    records = pretrain(small_lm(), small_corpus(), replace(SETTINGS, steps=10, eval_every=4))
    assert [record["step"] for record in records if "val_loss" in record] == [0, 4, 8, 10]
    assert [record["step"] for record in records] == list(range(11))


def test_a_corpus_without_a_validation_split_is_trained_on_all_the_same():
    corpus = small_corpus()
    corpus = Corpus(corpus.train_ids, corpus.val_ids[:0], corpus.name, corpus.characters)
    assert not any("val_loss" in record for record in pretrain(small_lm(), corpus, SETTINGS))


def test_an_observer_is_called_in_order_and_stopped_after_a_failure():
    heard = []

    class Listener(Observer):
        def start(self, step, steps):
            heard.append(("start", step, steps))

        def record(self, record):
            heard.append(("record", record["step"]))
            if record["step"] == 3:
                fail()

        def sample(self, step, text):
            heard.append(("sample", step))
            assert text.startswith("cat ") and len(text) == len("cat ") + 5

        def stop(self):
            heard.append(("stop",))

    settings = replace(SETTINGS, sample_every=2, sample_prompt="cat ")
    with pytest.raises(ZeroDivisionError):
        pretrain(small_lm(), small_corpus(), settings, observer=Listener())
    records = [("record", step) for step in range(4)]
    expected = [("start", 0, 12), records[0], ("sample", 0), *records[1:3], ("sample", 2), records[3], ("stop",)]
    assert heard == expected


def break_weight(lm, name, value):
    def act():
        dict(lm.model.named_parameters())[name].data.flat[0] = value

    return act


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_batch_and_gradient(tmp_path):
    lm, corpus = small_lm(), small_corpus()
    observer = At(7, break_weight(lm, "ln_final.gamma", math.nan))
    with pytest.raises(TrainingDiverged) as raised:
        pretrain(lm, corpus, SETTINGS, out=tmp_path, observer=observer)
    message = str(raised.value)
    assert re.match(
        r"step 8: the loss is nan and the largest gradient nan, in [\w.]+; the windows of this batch", message
    )
    assert f"the last good checkpoint, of step 5, is {tmp_path / 'model.npz'}" in message
    assert isinstance(raised.value, ArithmeticError)

    batch_rng = np.random.default_rng(np.random.SeedSequence(SETTINGS.seed).spawn(2)[0])
    for _ in range(8):
        starts = batch_rng.integers(0, len(corpus.train_ids) - 8, size=(3, 1))
    assert f"start at the tokens {starts.ravel().tolist()};" in message

    resumed, whole = small_lm(), small_lm()
    pretrain(resumed, corpus, SETTINGS, out=tmp_path, resume=True)
    pretrain(whole, corpus, SETTINGS)
    assert_same_weights(resumed, whole)


def spike(parameter):
    def hook(y, backward):
        def spiked(dy):
            gradient = np.ones_like(parameter.data)
            gradient[2, 3] = -1e30
            parameter.accumulate(gradient)
            return backward(dy)

        return y, spiked

    return hook


def test_a_gradient_whose_square_overflows_diverges_unless_it_is_clipped(rng):
    lm = small_lm()
    before = weights(lm)
    optimizer, batches = AdamW(lm.model.parameters()), [batch_of(rng, lm, 2)]
    with lm.model.hooked({"lm_head": spike(lm.model.blocks[0].feed_forward.down.weight)}):
        with pytest.raises(
            TrainingDiverged, match=r"largest gradient -1e\+30, in blocks\.0\.feed_forward\.down\.weight"
        ):
            training_step(lm.model, optimizer, batches)
        assert_same_weights(lm, before)
        optimizer.zero_grad()
        _, norm = training_step(lm.model, optimizer, batches, clip=1.0)
    assert norm == pytest.approx(1e30)
    assert all(np.isfinite(array).all() for array in weights(lm).values())


@pytest.mark.filterwarnings("error")
def test_a_validation_loss_that_is_not_finite_is_divergence_and_is_not_saved(tmp_path):
    settings = replace(SETTINGS, eval_every=1, checkpoint_every=1, sample_every=1, lr=1e30, warmup=0, clip=None)
    with pytest.raises(TrainingDiverged, match=r"after step 1 the validation loss is (nan|inf); .*, of step 0, is"):
        pretrain(small_lm(), small_corpus(), settings, out=tmp_path)


@pytest.mark.parametrize(
    "fields, error, words",
    [
        ({"steps": 0}, ValueError, "steps must be at least 1, not 0"),
        ({"decay_embeddings": 1}, TypeError, "decay_embeddings must be True or False, not 1"),
        ({"batch_size": 3, "replicas": 4}, ValueError, r"replicas must be at most batch_size, 3, not 4"),
        ({"lr": math.nan}, ValueError, "lr must be positive and finite, not nan"),
        ({"min_lr": 1.0}, ValueError, "min_lr must be from 0 to lr, 0.001, not 1.0"),
        ({"steps": 50, "warmup": 50}, ValueError, "warmup must be less than steps, 50, not 50"),
        ({"betas": (0.9, 1.0)}, ValueError, "betas must be at least 0 and less than 1, not 1.0"),
        ({"betas": 0.9}, TypeError, "betas must be two numbers"),
        ({"clip": 0.0}, ValueError, "clip must be positive, or None for no limit, not 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(fields, error, words):
    with pytest.raises(error, match=words):
        Settings(**fields)


def test_defaults_follow_from_steps_and_lr():
    settings = Settings(steps=2000, lr=1e-3)
    assert (settings.warmup_steps, settings.final_lr) == (100, 1e-4)
    assert Settings(**settings.to_dict()) == settings


@pytest.mark.parametrize(
    "fields, options, words",
    [
        ({"context": 500}, {}, "small text: the validation split must have at least 501 tokens for a context of 500"),
        ({}, {"settings": replace(SETTINGS, sample_prompt="Q")}, "the sample prompt: unknown character 'Q'"),
        ({}, {"resume": True}, "out must be a folder if resume or plot is True"),
    ],
)
def test_a_run_that_cannot_begin_is_refused_before_training(fields, options, words):
    options = {"settings": SETTINGS, "observer": At(0, pytest.fail)} | options
    with pytest.raises(ValueError, match=words):
        pretrain(small_lm(**fields), small_corpus(), **options)


def test_the_metrics_file_holds_what_pretrain_returns(tmp_path):
    records = pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path)
    assert read_metrics(tmp_path / "metrics.jsonl") == records
    assert list(records[4]) == ["step", "loss", "lr", "grad_norm", "val_loss", "tokens", "seconds"]
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds)
    assert without_seconds(records) == without_seconds(tmp_path / "metrics.jsonl")


def test_a_last_line_without_an_end_is_no_record(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"step": 2')
    assert read_metrics(path) == [{"step": 0}, {"step": 1}]


@pytest.mark.parametrize(
    "line, words",
    [
        ("what is this", "Expecting value: line 1 column 1"),
        ("{}", "record: step must be an integer, not None"),
        ('{"step": -1}', "record: step must be at least 0, not -1"),
        ('{"step": 1, "loss": "low"}', "record: loss must be a number, not 'low'"),
        ('{"step": 1, "val_loss": -1e400}', "record: val_loss must be a number and finite, not -inf"),
        (f'{{"step": 1, "margin": 1{"0" * 400}}}', "record: margin must be at most 1.8e"),
        (f'{{"step": "{"A" * 9999}"}}', r"record: step must be an integer, not 'A{90,99}\.\.\.A{90,99}'"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
        (f'{{"step": {"9" * 5000}}}', "Exceeds the limit"),
    ],
)
def test_a_line_that_is_no_record_is_named(line, words, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 0, "margin": null}}\n{line}\n{{"step": 2}}\n')
    with pytest.raises(
        ValueError, match=rf"metrics.jsonl: line 2 must be a record of training metrics \({words}"
    ) as error:
        read_metrics(path)
    assert "\n" not in str(error.value)


def test_the_loss_curve_is_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    records = pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path, plot=True)
    drawn = (tmp_path / "loss.png").read_bytes()
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", drawn[16:24]) == (960, 540)
    records[6]["val_loss"] = records[8]["val_loss"] / 2
    draw_loss_curve(records, tmp_path / "other.png", "training on small text")
    assert (tmp_path / "other.png").read_bytes() != drawn


def test_the_bar_shows_rate_loss_and_time_left_and_keeps_what_was_said(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    pretrain(small_lm(), small_corpus(), replace(SETTINGS, steps=60), observer=ProgressBar())
    shown = sys.stderr.getvalue()
    assert re.search(r"loss 2\.\d{3}", shown)
    assert re.search(r"\d+/60 \[\d+:\d+, .* left, .*steps/s\]", shown)
    assert "step    60: training loss" in shown and "step     6, a sample:" in shown
