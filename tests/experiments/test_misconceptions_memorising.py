"""The experiment on memorising: the new letters, the shares, and the runs of a finished family."""

import json

import numpy as np
import pytest

from minitransformer.experiments.emergence import alphabet as a
from minitransformer.experiments.misconceptions import memorising
from minitransformer.system.pictures import new_figure


def letters_in(task):
    """The letters that stand in a task's exercises, of the training and of the test."""
    batches = *task.training_batch(np.random.default_rng(5), 500), *task.test()
    return set(np.concatenate(batches).ravel()) & set(a.LETTERS)


def test_new_letters_stand_in_no_sequence_of_the_training():
    assert letters_in(memorising.REPEATING) == set(a.LETTERS[:18])
    assert letters_in(memorising.NEW_LETTERS) == set(a.LETTERS[18:])


def test_what_is_right_of_unseen_questions_is_set_against_that_of_seen_ones():
    found = memorising.compared({"exact": 0.3, "seen": 0.4}, {"exact": 0.0, "seen": 0.0})
    assert found["repeating"] == pytest.approx(0.75)
    assert found["addition"] == 0.0
    assert (found["repeating_right"], found["addition_right"]) == ([0.4, 0.3], [0.0, 0.0])


def put_runs(folder, scores):
    """Write the files of a sweep, by (parameters, seed): exact and seen of induction, then of addition."""
    (folder / "runs").mkdir()
    for (parameters, seed), (*induction, exact, seen) in scores.items():
        tests = {"induction": induction, "addition": (exact, seen)}
        last = {name: {"exact": exact, "seen": seen, "loglik": -1.0} for name, (exact, seen) in tests.items()}
        plan = {"steps": 600, "seed": seed, "config": {"n_layers": 2}}
        run = {"parameters": parameters, "plan": plan, "lengths": [{"scores": last}]}
        (folder / "runs" / f"{parameters}-seed{seed}.json").write_text(json.dumps(run))


def test_of_a_finished_family_the_largest_models_are_taken(tmp_path):
    put_runs(
        tmp_path, {(900, 0): 4 * [0], (900, 1): 4 * [0], (50_000, 0): [0.6, 0.8, 0, 1], (50_000, 1): [1, 1, 0.5, 1]}
    )
    measured = memorising.read(tmp_path)
    assert [one["repeating"] for one in measured] == pytest.approx([0.75, 1])
    assert [one["addition"] for one in measured] == [0, 0.5]
    assert list(memorising.EXPERIMENT.intervals(measured)) == ["repeating", "addition"]
    draw(measured)


def test_a_family_that_has_not_learned_its_training_is_refused(tmp_path):
    put_runs(tmp_path, {(900, 0): [0.1, 0.5, 0, 1], (900, 1): [0.1, 0.3, 0, 1]})
    with pytest.raises(ValueError, match="its largest models continue 40% of the sequences that they were trained on"):
        memorising.read(tmp_path)


def draw(measured):
    """Draw, if there is something to draw with."""
    pytest.importorskip("matplotlib")
    memorising.draw(new_figure(8, 3.2), measured)
