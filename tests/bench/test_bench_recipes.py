"""`bench --to-loss` and `bench --recipes`: lengths, times and tables, with a clock and losses that are known."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, strategies as st
from one_line import assert_one_line

from minitransformer.bench import recipes
from minitransformer.bench.course import course, pace_of
from minitransformer.bench.recipes import Entrant, Race
from minitransformer.cli import main
from minitransformer.training.recipes import RECIPES, Recipe

TEXT = "the cat sat on the mat and the dog sat on the log. " * 30
SMALL = {"context": 8, "d_model": 16, "n_heads": 2, "n_layers": 2}
PACE = {"nanogpt": 0.020, "fast": 0.040}  # seconds of a step
SCALE = {"nanogpt": 20.0, "fast": 5.0}  # the loss after n steps is 1 + SCALE / √n
asked = []


class Known:
    """An EngineProcess without a process, whose losses and times are known."""

    def __init__(self, engine, threads):
        self.engine = engine

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def ask(self, question, *, recipe, text, steps, seed):
        name = next(name for name, other in RECIPES.items() if other == recipe)
        asked.append((name, self.engine, steps, seed))
        return {"loss": 1 + SCALE[name] / steps**0.5, "pace": PACE[name] * (1 + (self.engine == "torch"))}


@pytest.fixture
def known(monkeypatch):
    asked.clear()
    monkeypatch.setattr(recipes, "EngineProcess", Known)


def race(folder=None):
    return Race(None, threads=1, folder=folder, say=lambda words: None)


def test_the_least_length_that_reaches_the_loss_is_found(known):
    found = race().to_loss([Entrant("nanogpt"), Entrant("fast")], 1.5, 2000, seeds=2)
    # 1 + 20 / √n ≤ 1.5 from n = 1,600 on; 1 + 5 / √n from n = 100 on
    assert [[run["steps"] for run in runs] for runs in found.values()] == [[1600, 1600], [100, 100]]
    assert {("nanogpt", "minitransformer", 1600, 1), ("fast", "minitransformer", 100, 1)} <= {*asked}
    assert len(asked) == len(set(asked))


@given(least=st.integers(1, 9000), most=st.integers(1, 9000))
def test_few_runs_find_the_least_length_at_which_the_mean_reaches_the_loss(least, most):
    lengths = [*(length for length in recipes.LENGTHS if length < most), most]
    tried = []

    def run(entrant, steps, seed):  # the second seed needs twice the steps, and the mean is between
        tried.append((steps, seed))
        return {"loss": 1.5 * least * (1 + seed) / steps}

    to_find = race()
    to_find.run = run
    for seeds in (1, 2):
        tried.clear()
        expected = next((length for length in lengths if length >= least * (1 + seeds) / 2), most)
        assert lengths[to_find.least(Entrant("fast"), lengths, 1.5, seeds)] == expected
        assert (
            len(set(tried)) <= 2 * len(lengths)
            and sum(steps for steps, seed in set(tried) if seed == 0) <= 9 * expected
        )


def test_a_recipe_that_never_reaches_the_loss_has_the_most_steps(known):
    found = race().to_loss([Entrant("nanogpt")], 0.9, 700, seeds=1)
    assert [run["steps"] for runs in found.values() for run in runs] == [700]


def test_equal_time_gives_the_slower_recipe_fewer_steps(known):
    entrants = [Entrant("nanogpt"), Entrant("fast")]
    of_a_race = race()
    found = of_a_race.equal_time(entrants, 500, seeds=3)
    assert {str(entrant): runs[0]["steps"] for entrant, runs in found.items()} == {"nanogpt": 500, "fast": 250}
    rows = recipes.rows_of(found, of_a_race.paces(entrants))
    assert [row[3] for row in rows] == ["10.0", "10.0"]
    turns = [(name, steps, seed) for name, _, steps, seed in asked if steps == recipes.TURN]
    assert turns == [(name, recipes.TURN, number) for number in range(recipes.ROUNDS) for name in ("nanogpt", "fast")]


def test_the_pace_is_that_of_most_steps():
    marks = [0.0, 9.0, 12.0, 13.0, 13.5, 14.0, 14.5, 90.0]
    assert pace_of(marks) == 0.5
    assert pace_of([0.0, 2.0]) == 2.0 and pace_of([0.0, 2.0, 5.0]) == 3.0


def test_a_race_resumes_from_its_folder_and_refuses_that_of_another_text(known, tmp_path):
    race(tmp_path).equal_steps([Entrant("nanogpt")], 100, seeds=2)
    before = list(asked)
    assert len(race(tmp_path).equal_steps([Entrant("nanogpt")], 100, seeds=3)[Entrant("nanogpt")]) == 3
    assert asked == [*before, ("nanogpt", "minitransformer", 100, 2)]
    with pytest.raises(ValueError, match=r"recipes.json: text was .* use another --out"):
        Race(["other.txt"], threads=1, folder=tmp_path, say=print)


def test_the_command_compares_with_pytorch_what_pytorch_has(known, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("minitransformer.commands.bench.require", lambda package, **options: None)
    options = ["--recipes", "nanogpt", "fast", "--steps", "400", "--seeds", "2", "--against", "torch"]
    assert main(["bench", *options, "--out", str(tmp_path)]) == 0
    shown, said = capsys.readouterr()
    assert "fast runs without PyTorch: TorchTransformer: " in said
    assert re.search(r"^ *nanogpt, torch +400 +40\.0 +16\.0 +2\.000 ± 0\.000 +1\.00", shown, re.MULTILINE)
    assert re.search(r"^ *nanogpt +400 +20\.0 +8\.0 +2\.000 ± 0\.000 +0\.50", shown, re.MULTILINE)
    assert "| fast | 400 | 40.0 | 16.0 | 1.250 ± 0.000 | 1.00" in (tmp_path / "recipes.md").read_text("utf-8")
    assert len(json.loads((tmp_path / "recipes.json").read_bytes())["runs"]) == 6


@pytest.mark.parametrize(
    "options, words",
    [
        (["--to-loss", "0"], "--to-loss"),
        (["--to-loss", "2", "--equal-time"], "--equal-time can only be used together with --recipes alone"),
        (["--steps", "20"], "--steps can only be used together with --to-loss or --recipes"),
        (["--recipes", "fast", "--plain"], "--plain can only be used together with training steps"),
        (["--recipes", "fast", "--against", "jax"], "--against must be torch for recipes, not jax"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(known, capsys, options, words):
    assert_one_line(capsys, main(["bench", *options]), 1, words)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_and_has_a_pace(name, tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, "utf-8")
    monkeypatch.setattr("minitransformer.bench.course.MODEL", SMALL)
    recipe = RECIPES[name]
    widths = {"d_ff": 8} if "d_ff" in recipe.model else {}
    recipe = Recipe(recipe.about, recipe.model | widths, recipe.settings | {"batch_size": 4})
    found = course(recipe, [str(path)], 30, 0, replicas=lambda batch_size: 1)
    assert found["pace"] > 0 and 0 < found["loss"] < np.log(len(set(TEXT)))


@pytest.mark.parity
@pytest.mark.parametrize("name", ["nanogpt", "adamw", "muon"])
def test_a_recipe_in_pytorch_has_our_loss(name, tmp_path, monkeypatch, torch):
    from minitransformer.bench import torch_course

    text = [str(tmp_path / "text.txt")]
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    monkeypatch.setattr("minitransformer.bench.course.MODEL", SMALL)
    recipe = Recipe("small", RECIPES[name].model, RECIPES[name].settings | {"batch_size": 4})
    ours = course(recipe, text, 12, 1, replicas=lambda batch_size: 1)["loss"]
    theirs = torch_course.course(recipe, text, 12, 1)["loss"]
    # Muon of PyTorch makes q, k and v orthogonal as one matrix, so the runs differ, but not by much.
    assert theirs == pytest.approx(ours, rel=5e-2 if name == "muon" else 1e-5)
