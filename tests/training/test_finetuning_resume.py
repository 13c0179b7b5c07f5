"""Fine-tuning that was interrupted at any moment and resumed ends as if it had not been, in every bit."""

import signal
from dataclasses import replace

import numpy as np
import pytest
from archives import load_archive
from small_pairs import GENERAL, ROWS, trained_lm
from small_runs import TEXT, At, assert_same_weights, small_lm, without_seconds

from minitransformer.system.archive import ArchiveError, save_archive
from minitransformer.text import tokenize_corpus
from minitransformer.training import FineTuningSettings, LowRank, fine_tune, fine_tune_for_safety, pretrain
from minitransformer.training.run import TrainingInterrupted

pytestmark = pytest.mark.slow  # trains, is interrupted at every step, and trains again

STEPS = 7
OPTIONS = {"steps": STEPS, "batch_size": 4, "lr": 1e-3, "eval_every": 3, "checkpoint_every": 2}


def start_lm():
    return trained_lm(dropout=0.1)


def blank_lm():
    return small_lm(context=24, d_model=16, n_layers=2, dropout=0.1, seed=5)


def on_pairs(lm, trainable, **options):
    fields = OPTIONS | {"trainable": trainable} | options
    report = fine_tune_for_safety(lm, ROWS, general_text=GENERAL, **fields)
    return report.records, report


def on_text(lm, trainable, **options):
    settings = FineTuningSettings(**OPTIONS, trainable=trainable)
    return fine_tune(lm, TEXT, settings, **options), None


def test_ctrl_c_saves_adapters_and_writes_no_report(tmp_path):
    whole = start_lm()
    report = on_pairs(whole, LowRank(2))[1]
    with pytest.raises(TrainingInterrupted) as raised:
        on_pairs(start_lm(), LowRank(2), out=tmp_path, observer=At(5, lambda: signal.raise_signal(signal.SIGINT)))
    assert str(raised.value) == f"interrupted after step 5 of 7, saved in {tmp_path}"
    assert not (tmp_path / "report.json").exists()
    resumed = blank_lm()
    again = on_pairs(resumed, LowRank(2), out=tmp_path, resume=True)[1]
    assert_same_weights(resumed, whole)
    assert replace(again, records=[]) == replace(report, records=[])


def test_a_run_that_diverged_is_over_and_stays_so(tmp_path):
    options = {"objective": "difference", "lr": 1e-2, "min_lr": 1e-2, "eval_every": 1, "perplexity_limit": 1.05}
    report = on_pairs(start_lm(), 1, out=tmp_path, **options)[1]
    assert report.diverged and 0 < report.steps < STEPS
    again = on_pairs(blank_lm(), 1, out=tmp_path, resume=True, **options)[1]
    assert replace(again, records=[]) == replace(report, records=[])
    assert without_seconds(again.records) == without_seconds(report.records)


@pytest.fixture
def finished(tmp_path):
    on_pairs(start_lm(), 1, out=tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "options, words",
    [
        ({"beta": 0.2}, "beta was 0.1, and now is 0.2"),
        ({"objective": "difference"}, "objective was dpo, and now is difference"),
        ({"trainable": 2}, "trainable was 1, and now is 2"),
        ({"trainable": LowRank(2)}, "trainable was 1, and now is {'rank': 2"),
        ({"general_text": GENERAL[:-1]}, r"the text was the given rows \(24 rows, 6 held out\), and now is another"),
        ({"rows": ROWS[:-1]}, r"now is another, the given rows \(23 rows, 6 held out\)"),
        ({"rows": [*ROWS[:-1], ROWS[-1] | {"safe": " and mat"}]}, "now is another, the given rows"),
    ],
)
def test_another_run_is_refused(finished, options, words):
    fields = OPTIONS | {"trainable": 1, "general_text": GENERAL, "rows": ROWS} | options
    rows = fields.pop("rows")
    lm = start_lm()
    with pytest.raises(ValueError, match=f"model.npz: cannot resume: .*{words}"):
        fine_tune_for_safety(lm, rows, out=finished, resume=True, **fields)
    assert_same_weights(lm, start_lm())


def test_a_run_of_another_kind_is_refused(finished):
    kinds = "fine-tuning on pairs of responses, and now is fine-tuning on a text"
    with pytest.raises(ValueError, match=f"model.npz: cannot resume: the run was {kinds}"):
        on_text(start_lm(), 1, out=finished, resume=True)


def test_pretraining_does_not_go_on_where_parameters_were_frozen(tmp_path):
    on_text(start_lm(), 1, out=tmp_path)
    lm, settings = start_lm(), FineTuningSettings(**OPTIONS, trainable=1)
    corpus = tokenize_corpus(TEXT, lm.tokenizer)
    with pytest.raises(ValueError, match=r"parameter blocks\.0\.\S+ was frozen, and now is trained"):
        pretrain(lm, corpus, settings, out=tmp_path, resume=True)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda arrays, d: d["training"]["own"].pop("before"), "its training state is damaged .*before"),
        (lambda arrays, d: d["training"]["own"]["before"].update(margin="wide"), "margin must be a number, not 'wide'"),
        (lambda arrays, d: d["training"]["own"]["before"].update(completions=[["a"]]), "completions must be a list of"),
        (lambda arrays, d: d["training"]["own"].update(diverged=True), "diverged must be a string, not True"),
        (lambda arrays, d: arrays.update({"own.reference_unsafe": np.zeros(3)}), "reference must have dtype float64"),
        (lambda arrays, d: arrays.pop("own.reference_safe"), "its training state is damaged .*reference_safe"),
        (lambda arrays, d: d["training"].update(kind="cooking"), "its training state is damaged .*cooking"),
    ],
)
def test_a_damaged_checkpoint_is_refused(finished, change, words):
    arrays, description = load_archive(finished / "model.npz")
    change(arrays, description)
    save_archive(finished / "model.npz", arrays, description)
    with pytest.raises(ArchiveError, match=f"model.npz: .*{words}"):
        on_pairs(start_lm(), 1, out=finished, resume=True)
