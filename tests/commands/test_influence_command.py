"""The command `influence`: the text of the training, found automatically; numbers as JSON; its errors in one line."""

import json
import os
import re

import numpy as np
import pytest
from archives import load_archive
from small_runs import TEXT, small_corpus, small_lm

from minitransformer.cli import FAILURE, main
from minitransformer.experiments.influence import analyze_training_influence
from minitransformer.experiments.influence.passages import cut
from minitransformer.language_model import LanguageModel
from minitransformer.system.archive import save_archive
from minitransformer.training import Settings, pretrain

ASK = ["--prompt", "the cat", "a r", "--answer-tokens", "2", "--quiet"]
WARNING = "passages that are called seen may not have been seen"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("influence")
    text = folder / "text.txt"
    text.write_text(TEXT)
    pretrain(small_lm(), small_corpus(), Settings(steps=5), out=folder / "run", about={"text": [str(text)]})
    return folder / "run"


def test_it_finds_the_text_of_the_training_and_analyses_passages_of_both_parts(run, capsys):
    assert main(["influence", str(run), *ASK, "--json"]) == 0
    printed = capsys.readouterr()
    data, lm, corpus = json.loads(printed.out), LanguageModel.load(run), small_corpus()
    assert WARNING not in printed.err
    seen, held_out = cut(lm, corpus.train_ids), cut(lm, corpus.val_ids)
    assert data["passages"] == [passage.text for passage in seen] and data["held_out"] == len(held_out)
    expected = analyze_training_influence(lm, ["the cat", "a r"], training=seen, held_out=held_out, answer_tokens=2)
    assert data == json.loads(json.dumps(expected.to_dict()))


def test_it_prints_the_report_and_draws_as_many_passages_as_asked_for(run, capsys):
    ask = ["influence", str(run), *ASK, "--passages", "20"]
    assert main(ask) == 0
    printed = capsys.readouterr().out
    assert "the·cat -> " in printed and "against 20 unseen passages" in printed
    assert "Limits: a familiar text need not have been seen" in printed
    assert main([*ask, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["passages"]
    assert main([*ask, "--json", "--seed", "1"]) == 0
    other = json.loads(capsys.readouterr().out)["passages"]
    assert len(first) == len(other) == 20 and first != other
    assert all(re.search(re.escape(text), TEXT) for text in first)
    places = [TEXT.index(text) for text in first if TEXT.count(text) == 1]
    assert len(places) > 5 and (np.diff(places) > 0).all()


def test_another_text_is_warned_of(run, tmp_path, capsys):
    other = tmp_path / "other.txt"
    other.write_text(TEXT[::-1])
    assert main(["influence", str(run), *ASK, "--text", str(other)]) == 0
    assert WARNING in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        (["--passages", "0"], "--passages must be at least 1, not 0"),
        (["--seed", "-1"], "--seed must be at least 0, not -1"),
        (["--passages", "5"], "passages of 7 tokens or more must be at least 19, not 5"),
        (["--prompt", "the cat sat on"], "tokens of prompt 0 must be at most 7, not 14"),
        (["--text", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_a_mistake_is_one_line(run, options, message, capsys):
    assert main(["influence", str(run), *ASK, *options]) == FAILURE
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def remembering(folder, run, **about):
    arrays, description = load_archive(run / "model.npz")
    description["training"]["about"] = about
    save_archive(folder / "model.npz", arrays, description)
    return folder


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_a_device_or_a_pipe_is_not_read_because_a_file_remembers_it(run, tmp_path, kind, capsys):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    path = "/dev/zero" if kind == "device" else str(path)
    folder = remembering(tmp_path, run, text=[path])
    assert main(["influence", str(folder), *ASK]) == FAILURE
    said = f"model.npz: its entry text is {path}, a device or a pipe; to read it, use the option --text\n"
    assert capsys.readouterr().err.endswith(said)
    assert main(["train", "--out", str(folder), "--resume", "--quiet", "--no-plot"]) == FAILURE
    assert capsys.readouterr().err.endswith(said)
