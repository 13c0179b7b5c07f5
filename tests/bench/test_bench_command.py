"""`minitransformer bench`: its tables, files and errors.

Most tests let the engines answer in this process, at a size that takes milliseconds; a few start the real processes.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from one_line import assert_one_line

from minitransformer import Config
from minitransformer.bench import comparison, worker
from minitransformer.bench.sizes import SIZES, Size
from minitransformer.bench.worker import OURS, EngineError, EngineProcess, Worker
from minitransformer.cli import main

pytestmark = pytest.mark.slow  # measures

SMALL = Size(Config(11, context=24, d_model=8, n_heads=2, n_layers=2), batch=2, length=5, prompt=12)
BENCH = ["bench", "--sizes", "small", "--seconds", "0.001"]
asked = []  # (engine, question), in order


class Here(Worker):
    """An EngineProcess without a process. Every engine is ours, whatever its name."""

    def __init__(self, engine, threads):
        super().__init__(engine)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def ask(self, question, **arguments):
        asked.append((self.name, question))
        return getattr(self, question)(**arguments)


@pytest.fixture
def here(monkeypatch):
    """Let the engines answer in this process, at the size "small"."""
    asked.clear()
    monkeypatch.setitem(SIZES, "small", SMALL)
    monkeypatch.setattr(comparison, "EngineProcess", Here)
    monkeypatch.setattr("minitransformer.commands.bench.require", lambda package, **options: None)
    monkeypatch.setattr(comparison, "SETTLE", 0)
    monkeypatch.setattr(worker, "build", lambda name, config, seed: worker.NumPyEngine(config, seed))
    monkeypatch.setattr(worker, "machine_limits", lambda engine: {"flops": 1e11, "bandwidth": 1e10})


def test_bench_prints_tables_and_writes_their_numbers(here, capsys, tmp_path):
    assert main([*BENCH, "--rounds", "2", "--json", str(tmp_path / "some.json"), "--threads", "1"]) == 0
    shown = capsys.readouterr().out
    results = json.loads((tmp_path / "some.json").read_text())
    found = results["sizes"]["small"]["engines"][OURS]
    assert "; 1 thread;" in shown and "ratio" not in shown
    assert found["step"]["lower"] <= found["step"]["median"] <= found["step"]["upper"]
    assert [len(turns) for turns in found["turns"]] == [comparison.TURNS] * 2
    assert found["tokens_per_second"] == pytest.approx(10 / found["step"]["median"])
    assert found["prompt"]["count"] == 2 * comparison.TURNS
    assert found["decode"]["count"] >= 2 * comparison.TURNS * (SMALL.decoded - 1)
    assert found["decode"]["count"] % (SMALL.decoded - 1) == 0
    assert re.search(r"^small +minitransformer +\d.* %$", shown, re.MULTILINE)
    assert re.search(r"^small +minitransformer +\d.* 12$", shown, re.MULTILINE)


def test_engines_take_turns_and_have_ratios_with_intervals_and_a_picture(here, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    options = ["--against", "torch", "torch-compile", "--rounds", "2", "--out", str(out)]
    assert main([*BENCH, *options]) == 0
    shown, said = capsys.readouterr()
    assert re.search(r"small: minitransformer \S+ ms a step; engine \S+ ms a step, ratio \S+; torch \S+ ms", said)
    assert sorted(path.name for path in out.iterdir()) == ["bench.json", "bench.md", "ratios.png"]
    ratios = json.loads((out / "bench.json").read_text())["sizes"]["small"]["ratios"]
    assert all(set(ratios[name]) == {"step", "decode", "prompt", "memory"} for name in ("engine", "torch"))
    step = ratios["torch"]["step"]
    assert step["low"] < step["ratio"] < step["high"] and step["rounds"] == 2
    training = shown.partition("Decoding")[0]
    assert re.search(rf" {step['ratio']:.2f} +{step['low']:.2f} – {step['high']:.2f}$", training, re.MULTILINE)
    header, _, row, *others = (out / "bench.md").read_text().splitlines()
    assert header == "| size | cost | minitransformer | engine | torch | torch-compile |"
    assert row.startswith("| `small` | training step | ")
    assert row.split(" | ")[4] == f"{step['ratio']:.2f} ({step['low']:.2f} – {step['high']:.2f})"
    assert len(others) == 3 and "memory" in others[-1]
    memory = "Memory of a step, torch's / minitransformer's: small "
    assert (memory in training) == (ratios["torch"]["memory"] is not None)
    order = [name for name, question in asked if question == "steps"]
    firsts = [order[i] for i in range(0, len(order), 4)]
    assert len(order) == 4 * 2 * comparison.TURNS
    assert firsts == [OURS, "engine", "torch", "engine", "torch", "torch-compile"]


def test_plain_compares_textbook_and_pytorch_with_the_engine(here, capsys, tmp_path):
    assert main([*BENCH, "--plain", "--against", "torch", "--rounds", "1", "--json", str(tmp_path / "some.json")]) == 0
    shown, said = capsys.readouterr()
    assert "small: round 1 of 1: starting engine, textbook, torch\n" in said
    found = json.loads((tmp_path / "some.json").read_text())
    assert found["engines"] == ["engine", "textbook", "torch"] == list(found["sizes"]["small"]["engines"])
    assert set(found["sizes"]["small"]["ratios"]) == {"textbook", "torch"}
    for table in shown.split("Decoding"):
        for row in ("small +engine", " +textbook", " +torch"):
            assert re.search(rf"^{row} +\d", table, re.MULTILINE), row
    assert re.search(r"^ +torch .* \d\.\d\d +–$", shown, re.MULTILINE)  # one round has no interval
    assert "above 1, engine is faster" in shown and "without its engine" in shown and "minitransformer" not in shown


@pytest.mark.parametrize("is_tied", [False, True])
def test_a_token_reads_every_weight_but_one_row_of_a_table_and_half_of_the_decoded_positions(here, is_tied):
    config = Config(11, context=24, d_model=8, n_heads=2, n_kv_heads=1, n_layers=3, bias=False, tie_embeddings=is_tied)
    ours = Worker(OURS)
    ours.prepare(Size(config, batch=2, length=5))
    weights = 3 * (2 * 8 * 8 + 2 * 8 * 4 + 2 * 8 * 32 + 4 * 8) + 2 * 8 + 11 * 8
    cached = 3 * 2 * 4 * (8 + 8)  # after a prompt of 8, 16 tokens are decoded: 8 on average
    facts = ours.facts()
    assert facts["bytes_per_token"] == 4 * (weights + cached)
    assert facts["parameters"] == weights + 24 * 8 + (0 if is_tied else 11 * 8)


# Errors.


@pytest.mark.parametrize(
    "options, status, words",
    [
        (["--against", "textbook"], 2, r"argument --against: invalid choice: 'textbook' \(choose from .*torch-compile"),
        (["--rounds", "0"], 1, "--rounds must be at least 1, not 0"),
        (["--threads", str(10**18)], 1, "--threads must be at most 1,024, not 1000"),
        (["--seconds", "nan"], 1, "--seconds must be positive and finite, not nan"),
        (["--json", "none/some.json"], 1, "none/some.json: its folder does not exist"),
    ],
)
def test_wrong_options_are_reported_in_one_line(monkeypatch, capsys, options, status, words):
    monkeypatch.setattr(comparison, "EngineProcess", pytest.fail)
    assert_one_line(capsys, main(["bench", *options]), status, f"error: .*{words}")


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_without_a_framework_the_error_is_the_command_that_installs_it(monkeypatch, capsys, name):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(comparison, "EngineProcess", pytest.fail)
    words = rf"error: {name} is not installed: install it with .*\[parity\]"
    assert_one_line(capsys, main(["bench", "--sizes", "tiny", "--against", name]), 1, words)


# The real processes.


def test_the_command_loads_no_framework_and_no_matplotlib():
    code = "import sys, minitransformer.commands.bench; print(*{'torch', 'jax', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_engines_in_separate_processes_have_the_same_losses_and_answer(monkeypatch):
    monkeypatch.setenv("MINITRANSFORMER_PLAIN", "1")  # the engine named "engine" ignores it
    losses = {}
    for name, plain in ((OURS, b"1"), ("engine", b"0"), ("textbook", b"1")):
        with EngineProcess(name, threads=2) as engine:
            losses[name] = engine.ask("prepare", size=SIZES["tiny"])["losses"]
            assert len(engine.ask("steps", seconds=0.0)) == worker.FEWEST
            if sys.platform.startswith("linux"):
                assert engine.ask("memory") > 0
                variables = Path(f"/proc/{engine.process.pid}/environ").read_bytes().split(b"\0")
                assert b"MINITRANSFORMER_PLAIN=" + plain in variables
        assert engine.process.exitcode == 0, name  # it was not killed
    comparison.require_equal_losses(losses)
    assert os.environ["MINITRANSFORMER_PLAIN"] == "1"


def test_a_question_that_fails_and_a_process_that_ends_are_errors():
    with EngineProcess(OURS, threads=1) as engine:
        with pytest.raises(EngineError, match=r"minitransformer failed to answer 'steps': TypeError: .*seconds"):
            engine.ask("steps")
        engine.process.kill()
        words = r"was ended by SIGKILL \(perhaps there was not enough memory\) while answering 'steps'"
        with pytest.raises(EngineError, match=words):
            engine.ask("steps", seconds=0.0)
    assert not engine.process.is_alive()


def test_pytorch_answers_in_a_separate_process(torch):
    with EngineProcess(OURS, threads=1) as ours, EngineProcess("torch", threads=1) as theirs:
        losses = [engine.ask("prepare", size=SMALL)["losses"] for engine in (ours, theirs)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        assert len(theirs.ask("decode", seconds=0.0)) == SMALL.decoded - 1
        assert len(theirs.ask("prompt")) == 1
        assert theirs.ask("memory") is None or theirs.ask("memory") >= 0
