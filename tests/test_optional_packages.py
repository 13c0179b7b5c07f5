"""Every command goes to its end without the optional packages: a note instead of a picture."""

import re
import sys
import warnings

import pytest
from small_runs import TEXT, small_corpus, small_lm

from minitransformer import cli
from minitransformer.experiments.misconceptions.measuring import Measurement
from minitransformer.experiments.sweep import keep
from minitransformer.system import cores, extras
from minitransformer.system.extras import install_command
from minitransformer.training import Settings, pretrain

OPTIONAL = ("matplotlib", "threadpoolctl", "mpi4py")
SMALL = "--layers 1 --heads 2 --width 8 --context 8 --steps 2 --batch-size 3 --sample-every 0"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a text, the run of a small model, and the measurements of an experiment."""
    (tmp_path / "text.txt").write_text(TEXT)
    pretrain(small_lm(), small_corpus(), Settings(steps=5), out=tmp_path / "run")
    for seed in range(2):
        parts = {name: [float(seed)] * 10 for name in ("adamw_tenths", "l2_tenths")}
        task, folder = Measurement("weight-decay", seed), tmp_path / "beliefs" / "measured"
        folder.mkdir(parents=True, exist_ok=True)
        keep(folder, task, task.key(), parts | {"difference": -1 - 0.1 * seed, "l2": 0.0, "adamw": 1.0})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bare(monkeypatch):
    """Hide the optional packages, and show warnings as a command does."""
    for name in OPTIONAL:
        monkeypatch.setitem(sys.modules, name, None)
    cores.matrix_library.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield
    cores.matrix_library.cache_clear()


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


DRAWING = [
    (f"train --text text.txt --out trained {SMALL}", ["trained/model.npz"]),
    ("finetune run --text text.txt --out tuned --steps 2 --last-blocks 1 --batch-size 2", ["tuned/model.npz"]),
    ("misconceptions weight-decay --seeds 2 --out beliefs", ["beliefs/index.html", "beliefs/outcomes.json"]),
    slow("bench --sizes tiny --plain --seconds 0.001 --rounds 1 --out bench", ["bench/bench.json"]),
    slow("patterns --steps 2 --out patterns", ["patterns/patterns.json", "patterns/two-blocks/model.npz"]),
    slow("scale --sizes 900 --seeds 1 --steps 8 --workers 1 --out scaled", ["scaled"]),
    slow("demo --quick --out demo", ["demo/model.npz", "demo/metrics.jsonl"]),
]


@pytest.mark.parametrize("command, written", DRAWING)
def test_a_command_that_draws_goes_to_its_end_with_one_note(command, written, folder, bare, capsys):
    assert cli.main(command.split()) == 0
    out, err = capsys.readouterr()
    note = f"no picture is drawn: matplotlib is not installed: install it with {install_command('app')}\n"
    assert err.count("warning") == 1 and f"minitransformer: warning: {note}" in err
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", err)  # standard error is a file, as it were
    assert [path for path in written if not (folder / path).exists()] == []
    assert list(folder.rglob("*.png")) == [] and ".png" not in out


SILENT = [
    f"train --text text.txt --out trained --no-plot {SMALL}",
    "finetune run --text text.txt --out tuned --no-plot --steps 2 --last-blocks 1 --batch-size 2",
    "generate --model run --prompt cat --max-new-tokens 3",
    "analyze run --text cat",
]


@pytest.mark.parametrize("command", SILENT)
def test_a_command_that_draws_nothing_says_nothing_of_pictures(command, folder, bare, capsys):
    assert cli.main(command.split()) == 0
    err = capsys.readouterr().err
    assert "matplotlib" not in err and not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", err)


def test_a_page_does_not_show_the_picture_of_a_run_before(folder, bare):
    picture = folder / "beliefs" / "weight-decay.png"
    picture.write_bytes(b"old")
    assert cli.main(["misconceptions", "weight-decay", "--seeds", "2", "--quiet", "--out", "beliefs"]) == 0
    assert not picture.exists() and "<img" not in (folder / "beliefs" / "index.html").read_text("utf-8")


@pytest.mark.parametrize("folder", [".", "elsewhere"])
def test_the_command_that_installs_an_extra_is_one_for_the_clone(folder, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "setup.cfg").touch()
    monkeypatch.chdir(tmp_path / folder)
    monkeypatch.setattr(extras, "CLONE", tmp_path.resolve())
    place = "." if folder == "." else tmp_path.resolve()
    assert install_command("app").endswith(f"pip install -e '{place}[app]'")


def test_outside_of_a_clone_the_packages_of_an_extra_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "CLONE", tmp_path)
    requires = ["numpy>=2.0", 'matplotlib>=3.7; extra == "app"', "gguf>=1; extra == 'interop'", 'dask; extra == "mpi"']
    monkeypatch.setattr(extras.importlib.metadata, "requires", lambda name: requires)
    assert install_command("app").endswith("pip install 'matplotlib>=3.7'")
    assert install_command("interop").endswith("pip install 'gguf>=1'")
