"""The demonstration: its short form does everything that the long one does, on less."""

import html
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_runs import At, assert_same_weights, small_corpus, small_lm

from gradcheck.front.exits import INTERRUPTED
from minitransformer import cli
from minitransformer.cli import main
from minitransformer.commands import demo
from minitransformer.commands.resuming import refuse_to_overwrite
from minitransformer.experiments.demonstration import repeating, writing
from minitransformer.experiments.demonstration.narration import printable
from minitransformer.experiments.demonstration.page import write_page
from minitransformer.text import IGNORE_INDEX
from minitransformer.text.patterns import INDUCTION, SYMBOLS
from minitransformer.training import MODEL_FILE, Settings, pretrain, read_metrics

slow = pytest.mark.slow  # shows the demonstration again and again

pytest.importorskip("matplotlib")

LESSON = writing.Lesson(characters=2000, vocab_size=260, steps=4, reports=2)
PICTURES = ["attention.png", "induction-loss.png", "induction.png", "loss.png"]
OTHERS = ["analysis.html", "index.html", "induction.npz", "metrics.jsonl", "model.npz"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Run the short form once. Return (the folder, its standard output)."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    command = [sys.executable, "-m", "minitransformer", "demo", "--quick", "--out", str(folder)]
    return folder, subprocess.run(command, check=True, capture_output=True, text=True).stdout


@slow
def test_it_leaves_the_models_the_metrics_the_pages_and_the_pictures(shown):
    folder, text = shown
    assert sorted(path.name for path in folder.iterdir()) == sorted([*PICTURES, *OTHERS])
    for picture in PICTURES:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
        assert f"Look at {folder / picture}: " in text


@slow
def test_it_shows_samples_of_the_same_prompt_and_the_loss_falling(shown):
    text = shown[1]
    samples = re.findall(r"It writes, after (\d+) steps?:\n    │ (.*)", text)
    assert [int(step) for step, _ in samples] == [0, 10, 20]
    assert all(sample.startswith(writing.PROMPT) for _, sample in samples) and len(set(samples)) == 3
    losses = [float(loss) for loss in re.findall(r"step +\d+   loss (\d+\.\d+)  █", text)]
    assert len(losses) == 3 and losses[0] > losses[-1]
    assert abs(losses[0] - np.log(writing.QUICK.vocab_size)) < 0.1  # as the text says of guessing


@slow
def test_the_files_that_it_says_to_read_are_there(shown):
    files = re.findall(r"^    minitransformer/(\S+\.py) ", shown[1], re.MULTILINE)
    assert len(files) >= 8
    package = Path(demo.__file__).parent.parent
    assert all((package / file).is_file() for file in files)


@slow
def test_ctrl_c_is_one_line_and_what_was_written_stays(tmp_path):
    command = [sys.executable, "-m", "minitransformer", "demo", "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "after 0 steps" in line:
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED
    heard = "finishing the step, then saving; press Ctrl-C again to stop immediately\n"
    assert re.fullmatch(rf"{heard}minitransformer: interrupted after step \d+ of \d+, saved in \S+\n", err)
    assert (tmp_path / "out" / MODEL_FILE).exists()


@slow
def test_the_same_command_again_leaves_a_finished_model_as_it_is(shown, monkeypatch, capsys):
    folder, _ = shown
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".png"}
    monkeypatch.setattr(repeating, "fit", lambda *arguments, **options: pytest.fail("it is trained again"))
    assert main(["demo", "--quick", "--out", str(folder)]) == 0
    assert {name: (folder / name).read_bytes() for name in before} == before
    said = capsys.readouterr().out
    assert "has already taken all 20 steps" in said and "induction.npz has already learned this" in said


@slow
def test_the_page_shows_the_samples_and_refers_to_files_that_are_there(shown):
    folder, text = shown
    assert f"Open {folder / 'index.html'} in a browser" in text
    page = (folder / "index.html").read_text("utf-8")
    samples = [record["sample"] for record in read_metrics(folder / "metrics.jsonl") if "sample" in record]
    assert len(samples) == 3 and all(html.escape(printable(sample)) in page for sample in samples)
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sorted(files) == sorted([*PICTURES, "analysis.html"]) and all((folder / file).is_file() for file in files)
    assert "http" not in page


def test_the_page_without_pictures_still_says_why_validation_is_higher(tmp_path):
    lm = small_lm(text=writing.SENTENCE, context=128)
    records = [{"step": 0, "sample": "<b> & c"}, {"step": 1, "loss": 1.0}, {"step": 2, "sample": "ab"}]
    path = write_page(tmp_path, lm, records, "It was read often.", "a b c", drawn=False)
    page = path.read_text("utf-8")
    assert "&lt;b&gt; &amp; c" in page and "After step 2" in page and "<p>It was read often.</p>" in page
    assert "<img" not in page and "<figure" not in page and 'href="analysis.html"' in page
    assert sorted(file.name for file in tmp_path.iterdir()) == ["analysis.html", "index.html"]


def test_another_seed_is_not_answered_with_the_tiny_model_of_the_first(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(repeating, "train_to_repeat", lambda model, steps, seed: trained.append(seed))
    for seed in (0, 0, 1):
        repeating.learn_to_repeat(tmp_path, seed, 2, drawn=False)
    assert trained == [0, 1]


@pytest.mark.slow
def test_an_interrupted_demo_resumes_to_the_model_of_a_whole_one(tmp_path, monkeypatch):
    weights = []
    for stop in (False, True):
        if stop:
            monkeypatch.setattr(writing, "watcher", lambda **_: At(2, lambda: signal.raise_signal(signal.SIGINT)))
            with pytest.raises(KeyboardInterrupt):
                writing.learn_to_write(tmp_path / "b", 0, LESSON, drawn=False)
            monkeypatch.undo()
        weights.append(writing.learn_to_write(tmp_path / "ab"[stop], 0, LESSON, drawn=False)[0])
    assert_same_weights(*weights)


def test_it_overwrites_nobody_elses_model(tmp_path, capsys):
    pretrain(small_lm(), small_corpus(), Settings(steps=2), out=tmp_path)
    before = (tmp_path / MODEL_FILE).read_bytes()
    assert main(["demo", "--quick", "--out", str(tmp_path)]) == cli.FAILURE
    words = "contains a model that the demo did not train; choose another --out"
    assert capsys.readouterr().err == f"minitransformer: error: {tmp_path / MODEL_FILE}: {words}\n"
    assert (tmp_path / MODEL_FILE).read_bytes() == before
    pretrain(small_lm(), small_corpus(), Settings(steps=2), out=tmp_path, about=writing.ABOUT)
    refuse_to_overwrite(tmp_path / MODEL_FILE, writing.ABOUT, "the demo")


@pytest.mark.parametrize("progress", [0.0, 0.25, 0.5, 0.99])
def test_the_tiny_model_is_asked_for_what_repeats_and_for_nothing_else(progress, rng):
    inputs, targets = repeating.repeated_sequences(rng, progress)
    longest = min(16, int(8 + 16 * progress))
    assert inputs.shape == targets.shape == (1024 // (2 * longest), 2 * longest)
    lengths = set()
    for row, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        assert row[0] == INDUCTION and set(row[1:]) <= set(SYMBOLS.tolist())
        known = [i for i, token in enumerate(row[1:], start=1) if token in row[1:i]]  # symbols that came before
        first = known[0] if known else len(row)
        length = first - 1
        lengths.add(length)
        assert len(set(row[1:first])) == length
        for t, answer in enumerate(answers):
            expected = row[t - length + 1] if t >= first else IGNORE_INDEX
            assert answer == expected
    assert min(lengths) >= 3 and max(lengths) <= longest and len(lengths) > 3
