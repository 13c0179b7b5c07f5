"""A run that was interrupted at any moment and resumed ends as one that was not, in every bit."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
import small_runs
from archives import load_archive
from small_pairs import GENERAL, ROWS, trained_lm
from small_runs import SETTINGS, TEXT, At, assert_same_weights, fail, small_corpus, small_lm, without_seconds

from minitransformer import LanguageModel, TinyTransformer, cosine_schedule, train_on_simple_patterns
from minitransformer.system.archive import save_archive
from minitransformer.text import PatternTokenizer
from minitransformer.training import (
    FineTuningSettings,
    LowRank,
    TrainingInterrupted,
    fine_tune,
    fine_tune_for_reward,
    fine_tune_for_safety,
    pretrain,
)
from minitransformer.training.checkpoints import Checkpoint
from minitransformer.training.finetuning import Reward

# One row for each kind of run.


class Kind(NamedTuple):
    """A kind of run: a function that makes a model of a seed, one that trains it, and the steps at which it fails."""

    model: Callable
    train: Callable
    steps: Sequence[int]
    every: int = SETTINGS.checkpoint_every


def pretraining(steps, frozen=None, settings=SETTINGS, **fields):
    def model(seed=0):
        lm = small_lm(seed=seed, **fields)
        if frozen is not None:
            dict(lm.model.named_parameters())[frozen].requires_grad = False
        return lm

    return Kind(model, lambda lm, **how: pretrain(lm, small_corpus(), settings, **how), steps)


def model_for_fine_tuning(seed=None):
    if seed is None:
        return trained_lm(dropout=0.1)
    return small_lm(context=24, d_model=16, n_layers=2, dropout=0.1, seed=seed)


TUNING = {"steps": 7, "batch_size": 4, "lr": 1e-3, "eval_every": 3, "checkpoint_every": 2}


def on_pairs(trainable):
    options = TUNING | {"trainable": trainable, "general_text": GENERAL}
    train = lambda lm, **how: fine_tune_for_safety(lm, ROWS, **options, **how).records  # noqa: E731
    return Kind(model_for_fine_tuning, train, range(1, 8), every=2)


def on_text(trainable):
    settings = FineTuningSettings(**TUNING, trainable=trainable)
    return Kind(model_for_fine_tuning, lambda lm, **how: fine_tune(lm, TEXT, settings, **how), range(1, 8), every=2)


LETTER = Reward("a", ("the cat", "a rat", "oat"), lambda prompt, text: text.count("a") / 6, tokens=6)


def on_reward(trainable):
    options = TUNING | {"trainable": trainable, "batch_size": 2, "responses": 3, "updates": 3}
    train = lambda lm, **how: fine_tune_for_reward(lm, LETTER, **options, **how).records  # noqa: E731
    return Kind(lambda seed=0: model_for_fine_tuning(seed), train, range(1, 8), every=2)


PATTERNS = {"steps": 6, "batch_size": 1, "longest": 8, "eval_every": 2, "checkpoint_every": 2}


def of_patterns(seed=0):
    model = TinyTransformer(seed, d_model=8, n_heads=2, context=40, dropout=0.1)
    return LanguageModel(model, PatternTokenizer())


LLAMA = {"norm": "rms_norm", "positions": "rotary", "feed_forward": "swiglu", "tie_embeddings": False, "n_kv_heads": 1}
EXPERTS = LLAMA | {"n_experts": 4}
KINDS = {
    "pretraining": pretraining(range(1, SETTINGS.steps + 1)),
    "a Llama, accumulating": pretraining([8], settings=replace(SETTINGS, accumulate=3), dtype="float64", **LLAMA),
    "a frozen matrix": pretraining([7], frozen="blocks.0.attention.w_q.weight"),
    "Muon": pretraining([3, 5, 6, 11], settings=replace(SETTINGS, optimizer="muon", muon_lr=0.05)),
    "experts": pretraining([3, 8], settings=replace(SETTINGS, balance_rate=0.01, balance_weight=0.1), **EXPERTS),
    "patterns": Kind(of_patterns, lambda lm, **how: train_on_simple_patterns(lm.model, **PATTERNS, **how), [1, 5], 2),
    "replicas": pretraining([3, 8], settings=replace(SETTINGS, replicas=2, accumulate=2), dropout=0.2),
    "pairs, last block": on_pairs(1),
    "pairs, adapters": on_pairs(LowRank(2)),
    "text, last block": on_text(1),
    "text, adapters": on_text(LowRank(2)),
    "reward, last block": on_reward(1),
    "reward, adapters": on_reward(LowRank(2)),
}
SLOW = ("replicas", "pairs, last block", "pairs, adapters", "text, last block", "text, adapters", "reward, last block")


@functools.cache
def whole_run(name):
    """Return the model and the records of a run that was not interrupted."""
    kind = KINDS[name]
    lm = kind.model()
    return lm, without_seconds(kind.train(lm))


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "name, step",
    [
        pytest.param(name, step, marks=pytest.mark.slow if name in SLOW else ())
        for name, kind in KINDS.items()
        for step in kind.steps
    ],
)
def test_a_run_that_failed_at_any_step_resumes_to_the_same_end(tmp_path, name, step):
    if name == "replicas":
        pytest.importorskip("threadpoolctl")
    kind = KINDS[name]
    lm, records = whole_run(name)
    with pytest.raises(ZeroDivisionError):
        kind.train(kind.model(), out=tmp_path, observer=At(step, fail))
    assert Checkpoint.read(tmp_path / "model.npz").training["step"] == (step - 1) // kind.every * kind.every
    other = kind.model(seed=1)
    assert without_seconds(kind.train(other, out=tmp_path, resume=True)) == records
    assert without_seconds(tmp_path / "metrics.jsonl") == records
    for resumed in (other, LanguageModel.load(tmp_path)):
        assert_same_weights(resumed, lm)


@pytest.fixture(scope="module")
def whole():
    return whole_run("pretraining")


def assert_ends_alike(folder, whole):
    """Resume the run in `folder` with a model of other initial weights, and compare its end with the whole run's."""
    lm = small_lm(seed=1)
    pretrain(lm, small_corpus(), SETTINGS, out=folder, resume=True)
    assert_same_weights(lm, whole[0])
    assert_same_weights(LanguageModel.load(folder / "model.npz"), whole[0])
    assert without_seconds(folder / "metrics.jsonl") == whole[1]


def test_a_run_that_failed_before_its_first_checkpoint_leaves_no_model(tmp_path):
    with pytest.raises(ZeroDivisionError):
        pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path, observer=At(0, fail))
    assert not (tmp_path / "model.npz").exists()


def test_a_run_may_be_resumed_many_times(tmp_path, whole):
    for attempt, step in enumerate((3, 6, 7, 11, 12)):
        with pytest.raises(ZeroDivisionError):
            observer = At(step, fail)
            pretrain(
                small_lm(seed=attempt), small_corpus(), SETTINGS, out=tmp_path, resume=attempt > 0, observer=observer
            )
    assert_ends_alike(tmp_path, whole)


def test_metrics_past_the_checkpoint_and_a_torn_line_are_dropped(tmp_path, whole):
    with pytest.raises(ZeroDivisionError):
        pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path, observer=At(9, fail))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 10, "loss": 2.')
    assert_ends_alike(tmp_path, whole)


def test_the_seconds_before_an_interruption_count(tmp_path):
    with pytest.raises(ZeroDivisionError):
        pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path, observer=At(8, fail))
    arrays, description = load_archive(tmp_path / "model.npz")
    description["training"]["seconds"] = 1000.0
    save_archive(tmp_path / "model.npz", arrays, description)
    records = pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path, resume=True)
    assert [record["seconds"] > 1000 for record in records] == [False] * 6 + [True] * 7


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_finishes_the_step_and_saves(tmp_path, whole):
    with pytest.raises(TrainingInterrupted) as raised:
        pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path, observer=At(7, press_ctrl_c))
    assert str(raised.value) == f"interrupted after step 7 of 12, saved in {tmp_path}"
    assert isinstance(raised.value, KeyboardInterrupt)
    assert Checkpoint.read(tmp_path / "model.npz").training["step"] == 7
    assert len(without_seconds(tmp_path / "metrics.jsonl")) == 8
    assert_ends_alike(tmp_path, whole)


def test_ctrl_c_in_the_last_step_is_not_forgotten(tmp_path, whole):
    with pytest.raises(TrainingInterrupted, match="after step 12 of 12, saved in"):
        pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path, observer=At(12, press_ctrl_c))
    assert_ends_alike(tmp_path, whole)


def test_ctrl_c_without_a_folder_leaves_the_model_as_the_step_left_it():
    stopped, shorter = small_lm(), small_lm()
    with pytest.raises(TrainingInterrupted, match="after step 7 of 12, nothing was saved"):
        pretrain(stopped, small_corpus(), SETTINGS, observer=At(7, press_ctrl_c))
    with pytest.raises(ZeroDivisionError):
        pretrain(shorter, small_corpus(), SETTINGS, observer=At(7, fail))
    assert_same_weights(stopped, shorter)


def test_a_second_ctrl_c_stops_at_once(tmp_path, whole):
    def press_twice():
        press_ctrl_c()
        press_ctrl_c()
        pytest.fail("the second one must not come back")

    with pytest.raises(KeyboardInterrupt) as raised:
        pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path, observer=At(7, press_twice))
    assert not isinstance(raised.value, TrainingInterrupted)
    assert Checkpoint.read(tmp_path / "model.npz").training["step"] == 5
    assert_ends_alike(tmp_path, whole)


def test_a_run_in_another_thread_leaves_signals_alone(whole):
    lm = small_lm()
    thread = threading.Thread(target=pretrain, args=(lm, small_corpus(), SETTINGS))
    thread.start()
    thread.join()
    assert_same_weights(lm, whole[0])


# Real processes and real signals. tests/campaigns/ kill runs at any call, many times.

PROGRAM = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
from small_runs import SETTINGS, small_corpus, small_lm
from minitransformer.training import Observer, pretrain

class Slow(Observer):
    def record(self, record):
        time.sleep(0.05)

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, whoever started the tests
pretrain(small_lm(), small_corpus(), SETTINGS, out=sys.argv[2], observer=Slow())
"""


@pytest.mark.one_in(2)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL], ids=lambda signum: signum.name)
def test_a_process_that_gets_a_signal_resumes_to_the_same_end(tmp_path, whole, signum):
    command = [sys.executable, "-c", PROGRAM, os.path.dirname(small_runs.__file__), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(6000):
        if (tmp_path / "model.npz").exists():
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=60)
    if signum == signal.SIGINT:
        assert "TrainingInterrupted: interrupted after step" in stderr
        step = Checkpoint.read(tmp_path / "model.npz").training["step"]
        assert len(without_seconds(tmp_path / "metrics.jsonl")) == step + 1
    assert_ends_alike(tmp_path, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "model.npz"]


class Extended(At):
    """Calls act() at a step, and keeps the numbers of steps before and after an extension."""

    said = None

    def extended(self, before, steps):
        self.said = before, steps


def test_a_finished_run_continues_with_more_steps_and_their_schedule(tmp_path, whole):
    pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path)
    longer, observer = replace(SETTINGS, steps=20), Extended(16, fail)
    with pytest.raises(ZeroDivisionError):
        pretrain(small_lm(seed=1), small_corpus(), longer, out=tmp_path, resume=True, observer=observer)
    assert observer.said == (12, 20)
    again = Extended(None, fail)
    records = pretrain(small_lm(seed=2), small_corpus(), longer, out=tmp_path, resume=True, observer=again)
    assert again.said is None
    assert without_seconds(records[:13]) == whole[1]
    rates = [cosine_schedule(step, lr=1e-2, min_lr=1e-3, warmup=1, steps=20) for step in range(12, 20)]
    assert [record["lr"] for record in records[13:]] == rates
    assert [record["step"] for record in records] == list(range(21))
    uninterrupted = small_lm(seed=3)
    pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path / "other")
    pretrain(uninterrupted, small_corpus(), longer, out=tmp_path / "other", resume=True)
    assert_same_weights(LanguageModel.load(tmp_path / "model.npz"), uninterrupted)
