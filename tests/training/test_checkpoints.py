"""Checkpoints: their contents, invalid ones, and crashes."""

import errno
import os
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from archives import load_archive
from small_runs import SETTINGS, TEXT, At, assert_same_weights, small_corpus, small_lm, weights, without_seconds

from minitransformer import LanguageModel
from minitransformer.module import is_plain, plain
from minitransformer.system.archive import ArchiveError, save_archive
from minitransformer.text import Corpus
from minitransformer.training import pretrain
from minitransformer.training.checkpoints import Checkpoint, check_state

FINISHED = replace(SETTINGS, steps=5)


@pytest.fixture
def finished(tmp_path):
    pretrain(small_lm(), small_corpus(), FINISHED, out=tmp_path)
    return tmp_path


def resume(folder, lm=None, corpus=None, settings=FINISHED):
    return pretrain(lm or small_lm(), corpus or small_corpus(), settings, out=folder, resume=True)


def test_a_finished_run_has_nothing_left_to_resume(finished):
    before = (finished / "model.npz").read_bytes()
    lm = small_lm(seed=1)
    records = resume(finished, lm)
    assert_same_weights(lm, LanguageModel.load(finished / "model.npz"))
    assert [record["step"] for record in records] == list(range(6))
    assert (finished / "model.npz").read_bytes() == before


@pytest.mark.parametrize(
    "fields, settings, words",
    [
        ({"d_model": 16}, {}, "d_model was 8, and now is 16"),
        ({"dtype": "float64"}, {}, "dtype was float32, and now is float64"),
        ({"text": TEXT.replace("k", "Z")}, {}, r"the tokenizer was char \(14 tokens\), and now is another char \(14"),
        ({}, {"steps": 4}, "steps was 5, and now is 4"),
        ({}, {"betas": (0.9, 0.999)}, r"betas was \(0.9, 0.99\), and now is \(0.9, 0.999\)"),
        ({}, {"clip": None}, "clip was 1.0, and now is None"),
    ],
)
def test_another_model_and_other_settings_are_refused(finished, fields, settings, words):
    with pytest.raises(ValueError, match=f"model.npz: cannot resume: {words}"):
        resume(finished, small_lm(**fields), settings=replace(FINISHED, **settings))


@pytest.mark.parametrize("place, cut", [(700, 0), (-1, 0), (None, 9)], ids=["a letter", "the last letter", "the cut"])
def test_another_text_is_refused_though_only_one_letter_or_the_split_differs(finished, place, cut):
    corpus = small_corpus()
    ids, end = np.concatenate([corpus.train_ids, corpus.val_ids]), len(corpus.train_ids) - cut
    if place is not None:
        ids[place] = (ids[place] + 1) % 5
    other = Corpus(ids[:end], ids[end:], "other text", len(TEXT))
    with pytest.raises(ValueError, match=r"cannot resume: the text was small text .* and now is another, other text"):
        resume(finished, corpus=other)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.npz"):
        resume(tmp_path)
    small_lm().save(tmp_path / "model.npz")
    with pytest.raises(ArchiveError, match=r"contains no training run that can be resumed"):
        resume(tmp_path)


def rewrite(path, change):
    arrays, description = load_archive(path)
    change(arrays, description)
    save_archive(path, arrays, description)


def exchange_bytes(path):
    """Change the contents of an array, but not its checksum."""
    moment = load_archive(path)[0]["optimizer.v.ln_final.beta"].tobytes()
    path.write_bytes(path.read_bytes().replace(moment, moment[::-1]))


def without(name):
    return lambda arrays, d: arrays.pop(name)


def with_array(name, *what):
    return lambda arrays, d: arrays.update({name: np.zeros(*what)})


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "change, words",
    [
        (lambda arrays, d: d.update(training=3), "its training state is damaged"),
        (lambda arrays, d: d["training"].pop("random"), "its training state is damaged .*random"),
        (lambda arrays, d: d["training"].pop("settings"), "its training state is damaged .*settings"),
        (lambda arrays, d: d["training"]["settings"].update(steps=-1), "its training state is damaged .*steps must be"),
        (lambda arrays, d: d["training"].update(own=[]), "own must be a dictionary"),
        (lambda arrays, d: d["training"]["corpus"].pop("sha256"), "corpus: sha256 must be a string"),
        (without("optimizer.m.ln_final.beta"), "its training state is damaged .*ln_final.beta"),
        (with_array("optimizer.v.ln_final.beta", 3, np.float32), r"optimizer.v.ln_final.beta differs from parameters"),
        (with_array("optimizer.m.ln_final.beta", 8), r"optimizer.m.ln_final.beta differs from parameters"),
        (with_array("parameters.ln_final.gamma", 9, np.float32), "parameter ln_final.gamma is"),
        (without("parameters.ln_final.beta"), "the parameter ln_final.beta is missing"),
        (None, r"damaged.*optimizer\.v\.ln_final\.beta.*CRC"),
    ],
)
def test_a_checkpoint_whose_parts_do_not_fit_is_refused_and_changes_nothing(finished, change, words):
    if change is None:
        exchange_bytes(finished / "model.npz")
    else:
        rewrite(finished / "model.npz", change)
    lm = small_lm(seed=1)
    before = weights(lm)
    with pytest.raises(ArchiveError, match=f"model.npz: .*({words})") as caught:
        resume(finished, lm)
    assert "\n" not in str(caught.value)
    assert_same_weights(lm, before)


# Valid values of the parts.
@pytest.fixture(scope="module")
def saved_training(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    pretrain(small_lm(), small_corpus(), FINISHED, out=folder)
    return Checkpoint.read(folder / "model.npz").training


GENERATOR = {"bit_generator": "PCG64", "state": {"state": 1, "inc": 1}, "has_uint32": 0, "uinteger": 0}


def generators(**fields):
    """Return random states of which the second differs in `fields`."""
    return {"random": {"batches": GENERATOR, "dropout": GENERATOR | {"state": {"state": 1, "inc": 1} | fields}}}


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"step": 6}, "step must be at most 5, not 6"),
        ({"step": -1}, "step must be at least 0, not -1"),
        ({"step": 4}, r"optimizer_steps: \S+ must be at most 4, not 5"),
        ({"seconds": -0.5}, "seconds must be at least 0 and finite, not -0.5"),
        ({"seconds": 10**400}, "seconds must be at most 1.8e"),
        ({"last": None}, "last must be a dictionary, not None"),
        ({"last": {"step": "5"}}, "last: step must be an integer, not '5'"),
        ({"best": {"step": 5, "val_loss": "low"}}, "best: val_loss must be a number, not 'low'"),
        ({"corpus": {"name": 3, "sha256": ""}}, "corpus: name must be a string, not 3"),
        ({"trained": ["a", 3]}, "trained must be a list of strings"),
        ({"optimizer_steps": {"a": 0}}, "optimizer_steps: a must be at least 1, not 0"),
        ({"environment": []}, "environment must be a dictionary, not "),
        ({"random": {}}, "random: batches must be a valid state of a PCG64 generator"),
        *((generators(state=value), "random: dropout must be a valid") for value in (None, 0.5, -1, 2**128, "1")),
        (generators(inc=2), "random: dropout must be a valid"),  # drawing until one fits may never end
    ],
)
def test_a_training_state_is_checked_to_its_leaves(saved_training, fields, words):
    check_state(saved_training | {"last": {}, "best": {}, **generators()}, "model.npz", 5)
    with pytest.raises(ArchiveError, match=rf"^model\.npz: its training state is damaged \({words}"):
        check_state(saved_training | fields, "model.npz", 5)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"NumPy": "1.0", "threads": "64 cores"}, r"NumPy was 1\.0, and now is .*; threads was 64 cores, and now"),
        ({"engine": "of steam"}, "engine was of steam, and now is o"),
        ({}, None),
        (None, None),  # written before the engine could be turned off
    ],
)
def test_another_environment_is_warned_of_in_one_line(finished, change, words):
    def edit(arrays, description):
        environment = description["training"]["environment"]
        environment.pop("engine") if change is None else environment.update(change)

    rewrite(finished / "model.npz", edit)
    with warnings.catch_warnings(record=True) as caught, plain(is_plain() and change is not None):
        warnings.simplefilter("always")
        resume(finished)
    assert len(caught) == (words is not None)
    for warning in caught:
        assert re.search(f"last bits .* may differ .*{words}", str(warning.message))


def test_a_new_run_never_leaves_the_old_model_beside_its_own_metrics(finished):
    (finished / "loss.png").write_text("the old picture")
    with pytest.raises(ZeroDivisionError):
        pretrain(small_lm(), small_corpus(), SETTINGS, out=finished, observer=At(0, lambda: 1 / 0))
    assert [path.name for path in finished.iterdir()] == ["metrics.jsonl"]


def fail_at_step(monkeypatch, function, step):
    """Return an observer from whose `step` on os.`function` fails as on a full disk."""

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return At(step, lambda: monkeypatch.setattr(os, function, full))


@pytest.mark.parametrize("function, file", [("fsync", "metrics.jsonl"), ("replace", "model.npz")])
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch, function, file):
    with pytest.raises(OSError, match=f"cannot write: No space left on device.*{file}"):
        observer = fail_at_step(monkeypatch, function, 8)
        pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path, observer=observer)
    monkeypatch.undo()
    assert Checkpoint.read(tmp_path / "model.npz").training["step"] == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "model.npz"]
    resumed, whole = small_lm(), small_lm()
    records = pretrain(resumed, small_corpus(), SETTINGS, out=tmp_path, resume=True)
    assert without_seconds(records) == without_seconds(pretrain(whole, small_corpus(), SETTINGS))
    assert_same_weights(resumed, whole)
