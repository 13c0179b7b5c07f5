"""Finished runs of the experiments on misconceptions, with their held-out text."""

import json
import re

import numpy as np
import pytest
from small_runs import TEXT, small_corpus, small_lm

from minitransformer.experiments.misconceptions import attention_explains
from minitransformer.experiments.misconceptions.models import finished_run
from minitransformer.training import Settings, pretrain


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a run of a few steps on a file, which its model remembers."""
    folder = tmp_path_factory.mktemp("misconceptions")
    (folder / "text.txt").write_text(TEXT)
    pretrain(small_lm(), small_corpus(), Settings(steps=2), out=folder, about={"text": [str(folder / "text.txt")]})
    return folder


def test_a_finished_run_gives_its_model_and_the_text_it_held_out_in_parts(run):
    lm, parts = finished_run(run, 2)
    assert np.array_equal(np.concatenate(parts), small_corpus().val_ids)
    assert len(parts) == 5
    assert lm.model.n_parameters() == small_lm().model.n_parameters()


def test_a_run_whose_text_has_changed_holds_nothing_out(run):
    path = run / "text.txt"
    path.write_text(TEXT[::-1])
    try:
        with pytest.raises(ValueError, match=f"{re.escape(str(run))}: .*text.txt must be unchanged since the training"):
            finished_run(run, 2)
    finally:
        path.write_text(TEXT)


def test_a_model_that_does_not_know_its_text_is_refused(tmp_path):
    small_lm().save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="must record its training text"):
        finished_run(tmp_path, 2)


def test_attention_of_a_finished_run_is_measured_on_each_part(run, monkeypatch):
    with pytest.raises(ValueError, match="context must be at least 32"):
        attention_explains.read(run)
    monkeypatch.setattr(attention_explains, "TOKENS", 8)
    monkeypatch.setattr(attention_explains, "GROUPS", 3)
    monkeypatch.setattr(attention_explains, "PASSAGES", 2)
    measured = attention_explains.read(run)
    assert len(measured) == 5
    assert len({json.dumps(one) for one in measured}) > 1
    assert set(attention_explains.EXPERIMENT.numbers) <= set(measured[0])
