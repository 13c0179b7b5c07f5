"""The command `patterns`: its files, that it resumes an interrupted run, and its errors in one line."""

import json
import re

import pytest
from small_runs import assert_same_weights, without_seconds

from gradcheck.front.exits import INTERRUPTED
from minitransformer import LanguageModel
from minitransformer.cli import FAILURE, main
from minitransformer.commands import patterns
from minitransformer.training import TrainingInterrupted

pytestmark = pytest.mark.slow  # trains models again and again

pytest.importorskip("matplotlib")

SHORT = ["patterns", "--steps", "6"]
PICTURES = ["attention.png", "heads.png", "moment.png"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patterns") / "out"
    assert main([*SHORT, "--out", str(folder)]) == 0
    return folder


def test_it_leaves_models_pictures_and_numbers(whole):
    assert sorted(path.name for path in whole.iterdir()) == sorted([*PICTURES, *patterns.BLOCKS, "patterns.json"])
    for name in PICTURES:
        assert (whole / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    data = json.loads((whole / "patterns.json").read_text())
    assert data["settings"]["steps"] == 6 and data["positions"] == "rotary"
    for name, blocks in patterns.BLOCKS.items():
        assert LanguageModel.load(whole / name).model.config.n_layers == blocks
        assert len(data["models"][name]["scores"]["induction"]) == blocks
        assert len(without_seconds(whole / name / "metrics.jsonl")) == 7
        assert data["models"][name]["moment_of_induction"] is None


def test_a_run_that_was_stopped_goes_on_and_ends_alike(whole, tmp_path, monkeypatch, capsys):
    begun, train = [], patterns.train_on_simple_patterns

    def stop_in_the_second_model(model, *, resume, **options):
        begun.append(resume)
        if len(begun) == 2:
            raise TrainingInterrupted(3, 6, options["out"])
        return train(model, resume=resume, **options)

    monkeypatch.setattr(patterns, "train_on_simple_patterns", stop_in_the_second_model)
    monkeypatch.setattr(patterns, "draw_pictures", lambda *_: [])
    assert main([*SHORT, "--out", str(tmp_path)]) == INTERRUPTED
    said = capsys.readouterr().err
    assert re.search(
        r"^minitransformer: interrupted after step 3 of 6, saved in .*; the same command resumes$", said, re.M
    )
    assert not (tmp_path / "patterns.json").exists()
    assert main([*SHORT, "--out", str(tmp_path)]) == 0
    assert begun == [False, False, True, False]  # the first model is trained already, the second never was saved
    for name in patterns.BLOCKS:
        assert_same_weights(LanguageModel.load(tmp_path / name), LanguageModel.load(whole / name))
    assert (tmp_path / "patterns.json").read_bytes() == (whole / "patterns.json").read_bytes()


def test_another_seed_gives_other_numbers_and_other_settings_are_not_resumed(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(patterns, "draw_pictures", lambda *_: [])
    assert main(["patterns", "--steps", "1", "--seed", "1", "--positions", "learned", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "two-blocks: no head learned induction" in shown and "one-block: 114,112 parameters" not in shown
    assert json.loads((tmp_path / "patterns.json").read_text())["positions"] == "learned"
    assert main([*SHORT, "--seed", "1", "--out", str(tmp_path)]) == FAILURE
    said = capsys.readouterr().err
    assert re.fullmatch(r"minitransformer: error: .*model.npz: cannot resume: positions was learned, .*\n", said)
    assert main([*SHORT, "--steps", "5", "--out", str(whole)]) == FAILURE
    assert "cannot resume: steps was 6, and now is 5" in capsys.readouterr().err
