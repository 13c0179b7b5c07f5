"""Checkpoints: their contents, invalid ones, and crashes."""

import copy
import errno
import json
import math
import os
import warnings
from dataclasses import replace

import numpy as np
import pytest
from archives import load_archive
from small_runs import SETTINGS, TEXT, At, assert_same_weights, small_corpus, small_lm, weights, without_seconds

from minitransformer import CharTokenizer, LanguageModel
from minitransformer.module import is_plain, plain
from minitransformer.system.archive import ArchiveError, save_archive
from minitransformer.text import Corpus
from minitransformer.training import pretrain
from minitransformer.training.checkpoints import SECTIONS, Checkpoint, check_state

FINISHED = replace(SETTINGS, steps=5)


@pytest.fixture
def finished(tmp_path):
    """A folder with a finished run of FINISHED."""
    pretrain(small_lm(), small_corpus(), FINISHED, out=tmp_path)
    return tmp_path


def resume(folder, lm=None, corpus=None, settings=FINISHED):
    """Resume the run in `folder`, with another model, text or settings."""
    return pretrain(lm or small_lm(), corpus or small_corpus(), settings, out=folder, resume=True)


# Contents of a checkpoint.


def test_a_frozen_parameter_has_no_averages_and_stays_frozen_in_time(tmp_path):
    lms = [small_lm(), small_lm(), small_lm(seed=1)]
    for lm in lms:
        lm.model.blocks[0].attention.w_q.weight.requires_grad = False
    before = weights(lms[0])["blocks.0.attention.w_q.weight"]
    pretrain(lms[0], small_corpus(), SETTINGS)
    with pytest.raises(ZeroDivisionError):
        pretrain(lms[1], small_corpus(), SETTINGS, out=tmp_path, observer=At(7, lambda: 1 / 0))
    pretrain(lms[2], small_corpus(), SETTINGS, out=tmp_path, resume=True)
    assert_same_weights(lms[0], lms[2])
    assert np.array_equal(weights(lms[2])["blocks.0.attention.w_q.weight"], before)


def test_a_finished_run_has_nothing_left_to_resume(finished):
    before = (finished / "model.npz").read_bytes()
    lm = small_lm(seed=1)
    records = resume(finished, lm)
    assert_same_weights(lm, LanguageModel.load(finished / "model.npz"))
    assert [record["step"] for record in records] == list(range(6))
    assert (finished / "model.npz").read_bytes() == before


# Invalid checkpoints.


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"d_model": 16}, "d_model was 8, and now is 16"),
        ({"n_heads": 4}, "n_heads was 2, and now is 4"),
        ({"dropout": 0.2}, "dropout was 0.1, and now is 0.2"),
        ({"dtype": "float64"}, "dtype was float32, and now is float64"),
    ],
)
def test_another_configuration_is_refused(finished, fields, words):
    with pytest.raises(ValueError, match=f"model.npz: cannot resume: {words}"):
        resume(finished, small_lm(**fields))


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"lr": 0.02}, "lr was 0.01, and now is 0.02"),
        ({"steps": 6}, "steps was 5, and now is 6"),
        ({"seed": 1}, "seed was 0, and now is 1"),
        ({"betas": (0.9, 0.999)}, r"betas was \(0.9, 0.99\), and now is \(0.9, 0.999\)"),
        ({"clip": None}, "clip was 1.0, and now is None"),
    ],
)
def test_other_settings_are_refused(finished, fields, words):
    with pytest.raises(ValueError, match=f"model.npz: cannot resume: {words}"):
        resume(finished, settings=replace(FINISHED, **fields))


@pytest.mark.parametrize("place, cut", [(700, 0), (-1, 0), (None, 9)], ids=["a letter", "the last letter", "the cut"])
def test_another_text_is_refused_though_only_one_letter_or_the_split_differs(finished, place, cut):
    corpus = small_corpus()
    ids, end = np.concatenate([corpus.train_ids, corpus.val_ids]), len(corpus.train_ids) - cut
    if place is not None:
        ids[place] = (ids[place] + 1) % 5
    other = Corpus(ids[:end], ids[end:], "other text", len(TEXT))
    with pytest.raises(ValueError, match=r"cannot resume: the text was small text .* and now is another, other text"):
        resume(finished, corpus=other)


def test_another_tokenizer_is_refused(finished):
    lm = small_lm()
    lm.tokenizer = CharTokenizer("".join(sorted(set(TEXT)))[:-1] + "Z")
    with pytest.raises(
        ValueError, match=r"the tokenizer was char \(14 tokens\), and now is another char \(14 tokens\)"
    ):
        resume(finished, lm)


def test_a_model_without_training_state_cannot_be_resumed(tmp_path):
    small_lm().save(tmp_path / "model.npz")
    with pytest.raises(ArchiveError, match=r"contains no training run to resume"):
        resume(tmp_path)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.npz"):
        resume(tmp_path)


def rewrite(path, change):
    """Save the archive at `path` again after change(arrays, description)."""
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


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda arrays, d: d.update(training=3), "its training state is damaged"),
        (lambda arrays, d: d["training"].pop("random"), "its training state is damaged .*random"),
        (lambda arrays, d: d["training"].pop("settings"), "its training state is damaged .*settings"),
        (lambda arrays, d: d["training"]["settings"].update(steps=-1), "its training state is damaged .*steps must be"),
        (lambda arrays, d: d["training"]["random"]["batches"].update(bit_generator="MT19937"), "not a valid state"),
        (lambda arrays, d: d["training"]["random"]["dropout"].pop("state"), "not a valid state"),
        (lambda arrays, d: d["training"].update(own=[]), "own must be a dictionary"),
        (lambda arrays, d: d["training"]["corpus"].pop("sha256"), "corpus: sha256 must be a text"),
        (without("optimizer.m.ln_final.beta"), "its training state is damaged .*ln_final.beta"),
        (with_array("optimizer.v.ln_final.beta", 3, np.float32), "the optimiser's averages of ln_final.beta differ"),
        (with_array("optimizer.m.ln_final.beta", 8), "the optimiser's averages of ln_final.beta differ"),
        (with_array("parameters.ln_final.gamma", 9, np.float32), "parameter ln_final.gamma is"),
        (without("parameters.ln_final.beta"), "lacks parameter ln_final.beta"),
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


ODD = [None, True, -1, 0.5, math.nan, math.inf, 10**400, "", [], {}, [[]], {"a": 1}]
# Valid values of the parts.
HARMLESS = {
    "seconds": [0.5, 10**300],
    "last": [{}],
    "best": [{}],
    "trained": [[]],
    "optimizer_steps": [{}, {"a": 1}],
    "own": [{}, {"a": 1}],
    "environment": [{}, {"a": 1}],
}


@pytest.fixture(scope="module")
def saved_training(tmp_path_factory):
    """The state in a checkpoint of a run of 5 steps."""
    folder = tmp_path_factory.mktemp("saved")
    pretrain(small_lm(), small_corpus(), FINISHED, out=folder)
    return Checkpoint.read(folder / "model.npz").training


@pytest.mark.parametrize("part", SECTIONS)
def test_a_part_of_a_training_state_that_cannot_be_is_named(saved_training, part):
    check_state(saved_training, "model.npz", 5)
    without = {name: value for name, value in saved_training.items() if name != part}
    for training in (without, *(without | {part: value} for value in ODD if value not in HARMLESS.get(part, []))):
        with pytest.raises(ArchiveError, match=rf"^model\.npz: its training state is damaged \({part}[: ]") as caught:
            check_state(training, "model.npz", 5)
        assert "\n" not in str(caught.value)
    for value in HARMLESS.get(part, []):
        check_state(saved_training | {part: value}, "model.npz", 5)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"step": 6}, "step must be at most 5, not 6"),
        ({"step": 4.5}, "step must be an integer, not 4.5"),
        ({"step": 4}, r"optimizer_steps: \S+ must be at most 4, not 5"),
        ({"last": {"step": "5"}}, "last: step must be an integer, not '5'"),
        ({"best": {"step": 5, "val_loss": "low"}}, "best: val_loss must be a number, not 'low'"),
        ({"best": {"step": 5, "val_loss": 10**400}}, "best: val_loss must be at most 1.8e"),
        ({"corpus": {"name": 3, "sha256": ""}}, "corpus: name must be a text, not 3"),
        ({"trained": ["a", 3]}, "trained must be a list of texts"),
        ({"optimizer_steps": {"a": 0}}, "optimizer_steps: a must be at least 1, not 0"),
    ],
)
def test_a_training_state_is_checked_to_its_leaves(saved_training, fields, words):
    with pytest.raises(ArchiveError, match=rf"model\.npz: its training state is damaged \({words}"):
        check_state(saved_training | fields, "model.npz", 5)


NO_STATES = [None, 0.5, -1, 2**128, 10**400, "1", []]


@pytest.mark.parametrize("field, value", [*(("state", value) for value in NO_STATES), *(("inc", 0), ("inc", 0.5))])
def test_a_random_state_that_no_generator_of_ours_can_have_is_refused(saved_training, field, value):
    """Of an even inc the numbers can be all the same, and drawing until one fits never ends."""
    states = copy.deepcopy(saved_training["random"])
    states["dropout"]["state"][field] = value
    with pytest.raises(ArchiveError, match=r"\(random: dropout: not a valid state of a PCG64 generator\)"):
        check_state(saved_training | {"random": states}, "model.npz", 5)


def test_another_environment_is_warned_of_in_one_line(finished):
    def change(arrays, description):
        description["training"]["environment"].update(NumPy="1.0", threads="64 cores")

    rewrite(finished / "model.npz", change)
    with pytest.warns(UserWarning, match=r"last bits .* may differ .*NumPy was 1\.0, and now is .*; threads was 64 c"):
        resume(finished)


def test_going_on_without_the_engine_is_warned_of(finished):
    here, other = ("off", "on") if is_plain() else ("on", "off")
    with plain(not is_plain()), pytest.warns(UserWarning, match=f"engine was {here}, and now is {other}"):
        resume(finished)


def without_a_word_of_the_engine(arrays, description):
    del description["training"]["environment"]["engine"]  # as before it could be off


@pytest.mark.parametrize("change", [None, without_a_word_of_the_engine], ids=["written now", "written before"])
def test_the_same_environment_is_not_warned_of(finished, change):
    if change is not None:
        rewrite(finished / "model.npz", change)
    with warnings.catch_warnings(), plain(is_plain() and change is None):
        warnings.simplefilter("error")
        resume(finished)


# Failures.


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


def test_the_description_is_json_with_the_settings_and_the_fingerprint(finished):
    training = load_archive(finished / "model.npz")[1]["training"]
    assert training["settings"] == json.loads(json.dumps(FINISHED.to_dict()))
    assert training["corpus"]["training_tokens"] == len(small_corpus().train_ids)
    assert training["last"]["step"] == 5 and training["best"]["val_loss"] <= training["last"]["val_loss"]
