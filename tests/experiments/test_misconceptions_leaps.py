"""The experiment on leaps: the difference of the smooth and the strict score, and the results of a finished family."""

import json

import numpy as np
import pytest

from minitransformer.experiments.misconceptions import leaps
from minitransformer.system.pictures import new_figure


@pytest.mark.parametrize(
    "strict, smooth, gap",
    [
        ([0.0, 0.0, 0.1, 1.0], [0.1, 0.3, 0.7, 1.1], 0.5),
        ([0.0, 0.2, 0.5, 0.4], [0.3, 0.5, 0.8, 0.7], 0.0),
        ([0.2, 0.6, 1.0], [0.1, 0.3, 0.9], 0.0),
        ([0.0, 0.0], [0.4, 0.4], 0.0),
    ],
)
def test_the_gap_is_taken_where_the_smooth_score_is_farthest_ahead_on_its_way(strict, smooth, gap):
    assert leaps.largest_gap({"strict": strict, "smooth": smooth}) == pytest.approx(gap)


def test_independent_letters_make_a_gap_of_at_most_58_hundredths():
    p = np.linspace(0, 1, 1001)
    gap = leaps.largest_gap(leaps.curves_of(list(p), scores_of(np.maximum(p, 1e-9))))
    assert gap == pytest.approx(6 ** (-1 / 5) - 6 ** (-6 / 5), abs=1e-5)
    assert round(gap, 2) == 0.58


def scores_of(probabilities, letters=6):
    """The scores of models that say each letter with these probabilities, independently of the others."""
    return [{"exact": p**letters, "loglik": float(np.log(p)), "seen": 1.0} for p in probabilities]


def test_letters_that_come_evenly_make_answers_that_leap():
    found = leaps.compared(leaps.curves_of([1, 2, 3, 4, 5], scores_of([0.2, 0.4, 0.6, 0.8, 1.0])))
    assert found["smooth"] == pytest.approx(0.25)
    assert found["strict"] == pytest.approx((1 - 0.8**6) / (1 - 0.2**6))
    assert found["gap"] == pytest.approx(0.75 - (0.8**6 - 0.2**6) / (1 - 0.2**6))
    assert found["both"]["smooth"] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def put_runs(folder, scores):
    """Write the files of a sweep's runs, by (parameters, seed)."""
    (folder / "runs").mkdir()
    for (parameters, seed), last in scores.items():
        plan = {"steps": 600, "seed": seed, "config": {"n_layers": 2}}
        run = {"parameters": parameters, "plan": plan, "lengths": [{"scores": {"copy": last}}]}
        (folder / "runs" / f"{parameters}-seed{seed}.json").write_text(json.dumps(run))


def family(probabilities, seeds):
    """The scores of a family, by (parameters, seed)."""
    sizes = [10 ** (3 + i) for i in range(len(probabilities))]
    scored = zip(sizes, scores_of(probabilities), strict=True)
    return {(size, seed): scores for size, scores in scored for seed in seeds}


def test_of_a_finished_family_the_seeds_of_every_size_are_taken(tmp_path):
    runs = family([0.2, 0.4, 0.6, 0.8, 1.0], (3, 4, 11))
    del runs[1000, 4]
    put_runs(tmp_path, runs)
    measured = leaps.read(tmp_path)
    assert [one["smooth"] for one in measured] == pytest.approx([0.25, 0.25])
    assert measured[0]["both"]["parameters"] == [10**3, 10**4, 10**5, 10**6, 10**7]
    assert list(leaps.EXPERIMENT.intervals(measured)) == ["gap", "strict", "smooth"]
    draw(measured)


def test_a_family_that_cannot_answer_is_refused(tmp_path):
    put_runs(tmp_path, family([0.2, 0.85], (0, 1)))
    with pytest.raises(ValueError, match="whole answers rise by 38% with size, and below 50% there is no leap"):
        leaps.read(tmp_path)


def test_a_family_with_less_than_two_whole_seeds_is_refused(tmp_path):
    runs = family([0.2, 1.0], (0, 1, 2))
    del runs[1000, 0], runs[10_000, 1]
    put_runs(tmp_path, runs)
    with pytest.raises(ValueError, match="fewer than two seeds have a run of every size"):
        leaps.read(tmp_path)


def draw(measured):
    """Draw, if there is something to draw with."""
    pytest.importorskip("matplotlib")
    leaps.draw(new_figure(8, 3.2), measured)
