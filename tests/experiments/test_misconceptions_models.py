"""The models of the experiments on misconceptions: the training loop, and finished runs with their held-out text."""

import json
import re

import numpy as np
import pytest
from small_runs import TEXT, small_corpus, small_lm

from minitransformer.experiments.misconceptions import attention_explains
from minitransformer.experiments.misconceptions.models import finished_run, runs_by_size
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


# The runs of `scale`.


def kept_run(parameters, seed=0, steps=600, n_layers=2, scores=("copy", "addition")):
    """Return the part of a run's file that is read here."""
    score = {"exact": 0.5, "loglik": -1.0, "seen": 0.6}
    plan = {"steps": steps, "seed": seed, "config": {"n_layers": n_layers}}
    return {"parameters": parameters, "plan": plan, "lengths": [{"scores": dict.fromkeys(scores, score)}]}


def put(folder, *runs):
    (folder / "runs").mkdir(exist_ok=True)
    for i, run in enumerate(runs):
        (folder / "runs" / f"{i}.json").write_text(run if isinstance(run, str) else json.dumps(run))


def test_the_longest_runs_of_the_family_are_read_by_size_and_seed(tmp_path):
    family = [kept_run(size, seed) for size, seed in ((40_000, 0), (900, 7), (40_000, 11), (900, 0))]
    others = kept_run(90_000, n_layers=8), kept_run(900, steps=24), kept_run(900, 3, scores=("reverse",))
    put(tmp_path, *family, *others)
    assert runs_by_size(tmp_path, ("copy",)) == [{7: family[1], 0: family[3]}, {0: family[0], 11: family[2]}]


@pytest.mark.parametrize(
    "run", ["", "[]", 100_000 * "[", kept_run("900"), kept_run(900, []), kept_run(900) | {"lengths": [{"scores": 1}]}]
)
def test_a_file_that_is_not_a_run_is_refused_by_name(tmp_path, run):
    put(tmp_path, run)
    with pytest.raises(ValueError, match=r"0\.json: expected a run of `minitransformer scale`"):
        runs_by_size(tmp_path, ("copy",))


def test_a_folder_without_runs_or_with_one_seed_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no runs of .* copy and reverse"):
        runs_by_size(tmp_path, ("copy", "reverse"))
    put(tmp_path, kept_run(900), kept_run(900))
    with pytest.raises(ValueError, match="seeds of each size must be at least 2, not 1"):
        runs_by_size(tmp_path, ("copy",))
