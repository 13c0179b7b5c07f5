"""`minitransformer bench`: its tables, files and errors.

Most tests let the engines answer in this process, at a size that takes milliseconds and on a quiet machine; a few start
the real processes.
"""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest
from one_line import assert_one_line

from minitransformer import Config
from minitransformer.bench import comparison, load, measurements, process, worker
from minitransformer.bench.process import EngineError, EngineProcess
from minitransformer.bench.scaling import SERIES, Series, doubling
from minitransformer.bench.sizes import SIZES, Size
from minitransformer.bench.worker import OURS, Worker
from minitransformer.cli import main
from minitransformer.commands import bench

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
        return json.loads(json.dumps(getattr(self, question)(**arguments)))


@pytest.fixture
def here(monkeypatch):
    """Let the engines answer in this process, at the size "small", on a machine that is quiet."""
    asked.clear()
    monkeypatch.setitem(SIZES, "small", SMALL)
    for user in (comparison, measurements):
        monkeypatch.setattr(user, "EngineProcess", Here)
    monkeypatch.setattr(bench, "require_engines", lambda engines: None)
    monkeypatch.setattr(comparison, "SETTLE", 0)
    monkeypatch.setattr(load, "busy_time", lambda: 0.0)
    monkeypatch.setattr(worker, "build", lambda name, config, seed: worker.NumPyEngine(config, seed))
    monkeypatch.setattr(worker, "machine_limits", lambda engine: {"flops": 1e11, "bandwidth": 1e10})


# The measurements.


def test_bench_prints_tables_and_writes_their_numbers(here, capsys, tmp_path):
    assert main([*BENCH, "--rounds", "2", "--json", str(tmp_path / "some.json"), "--threads", "1"]) == 0
    shown = capsys.readouterr().out
    results = json.loads((tmp_path / "some.json").read_text())
    found = results["sizes"]["small"]["engines"][OURS]
    assert "; 1 thread;" in shown and "The machine was quiet" in shown and "ratio" not in shown
    assert set(results) == {
        *("engines", "sizes", "threads", "rounds", "seconds", "quick", "text", "processor", "system", "python"),
        *("versions", "limits", "load"),
    }
    assert set(found) == {
        *("step", "turns", "tokens_per_second", "memory", "cores", "of_peak"),
        *("decode", "prompt"),
    }
    assert found["step"]["lower"] <= found["step"]["median"] <= found["step"]["upper"]
    assert [len(turns) for turns in found["turns"]] == [comparison.TURNS] * 2
    assert found["tokens_per_second"] == pytest.approx(10 / found["step"]["median"])
    assert found["prompt"]["count"] == 2 * comparison.TURNS
    assert found["decode"]["count"] >= 2 * comparison.TURNS * (SMALL.decoded - 1)
    assert found["decode"]["count"] % (SMALL.decoded - 1) == 0
    assert re.search(r"^small +minitransformer +\d.* %$", shown, re.MULTILINE)
    assert re.search(r"^small +minitransformer +12 +\d", shown, re.MULTILINE)


def test_against_an_engine_there_is_a_ratio_with_an_interval_and_a_picture(here, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    options = ["--against", "torch", "torch-compile", "--rounds", "2", "--out", str(out)]
    assert main([*BENCH, *options]) == 0
    shown, said = capsys.readouterr()
    assert re.search(r"small: minitransformer \S+ ms a step; engine \S+ ms a step, ratio \S+; torch \S+ ms", said)
    assert sorted(path.name for path in out.iterdir()) == ["bench.json", "ratios.png"]
    assert (out / "ratios.png").read_bytes().startswith(b"\x89PNG")
    ratios = json.loads((out / "bench.json").read_text())["sizes"]["small"]["ratios"]
    assert set(ratios["torch"]) == {"step", "decode", "prompt", "memory"}
    assert set(ratios["torch-compile"]) == set(ratios["engine"]) == {"step", "memory"}
    step = ratios["torch"]["step"]
    assert step["low"] < step["ratio"] < step["high"] and step["rounds"] == 2
    training, decoding = shown.split("Decoding")
    assert re.search(rf" {step['ratio']:.2f} +{step['low']:.2f} – {step['high']:.2f}$", training, re.MULTILINE)
    assert "torch-compile" not in decoding and "engine" not in decoding
    memory = "Memory of a step, torch's / minitransformer's: small "
    assert (memory in training) == (ratios["torch"]["memory"] is not None)


def test_engines_take_turns_and_each_is_first_equally_often(here):
    assert main([*BENCH, "--against", "torch", "--rounds", "3"]) == 0
    order = [name for name, question in asked if question == "steps"]
    names = [OURS, "engine", "torch"]
    turns = [order[i : i + 3] for i in range(0, len(order), 3)]
    assert len(turns) == 3 * comparison.TURNS and all(sorted(turn) == sorted(names) for turn in turns)
    assert [sum(turn[0] == name for turn in turns) for name in names] == [3, 3, 3]


def test_plain_compares_textbook_and_pytorch_with_the_engine(here, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    assert main([*BENCH, "--plain", "--against", "torch", "--rounds", "1", "--out", str(tmp_path)]) == 0
    shown, said = capsys.readouterr()
    assert "small: round 1 of 1: starting engine, textbook, torch\n" in said
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["engines"] == ["engine", "textbook", "torch"] == list(found["sizes"]["small"]["engines"])
    assert set(found["sizes"]["small"]["ratios"]) == {"textbook", "torch"}
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")
    for table in shown.split("Decoding"):
        for row in ("small +engine", " +textbook", " +torch"):
            assert re.search(rf"^{row} +\d", table, re.MULTILINE), row
    assert re.search(r"^ +torch .* \d\.\d\d +–$", shown, re.MULTILINE)  # one round has no interval
    assert "above 1, engine is faster" in shown and "without its engine" in shown and "minitransformer" not in shown


def test_a_machine_that_is_not_quiet_is_reported(here, capsys, monkeypatch):
    seconds = iter(range(10**6))
    monkeypatch.setattr(load, "busy_time", lambda: float(next(seconds)))
    assert main([*BENCH, "--rounds", "1"]) == 0
    assert "THE MACHINE WAS NOT QUIET: other processes used" in capsys.readouterr().out


def test_a_profile_shows_every_file_of_the_step(here, capsys, tmp_path):
    assert main([*BENCH, "--profile", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for row in ("linear +in feed_forward", "linear +in multi_head_attention", "attention +in multi", "optim +in step"):
        assert re.search(rf"^{row}", shown, re.MULTILINE), row
    assert re.search(r"^all .* 100 %$", shown, re.MULTILINE)
    found = json.loads((tmp_path / "profile.json").read_text())["profiles"]["small"]
    assert set(found) == {"rows", "with_profiler", "without", "load"}


def test_scaling_prints_each_exponent_with_the_expected_one_and_draws_them(here, capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    sizes = doubling(1, 32), doubling(1, 8)
    series = {
        "square": Series("a square", "n", 1, 2, lambda n: 1e-3 * n**2, *sizes),
        "cube": Series("a cube", "n", 1, 2, lambda n: 2**20 * n**3, *sizes, unit="bytes"),
        "text": Series("a text", "bytes", 1, 1, lambda text: len(text) * 1e-6, doubling(8, 64), (), reads_text=True),
    }
    for name in list(SERIES):
        monkeypatch.delitem(SERIES, name)
    for name, one in series.items():
        monkeypatch.setitem(SERIES, name, one)
    (tmp_path / "text.txt").write_text("letters " * 5)
    options = ["--scaling", "--out", str(tmp_path / "out"), "--text", str(tmp_path / "text.txt")]
    assert_one_line(capsys, main(["bench", *options]), 1, r"error: .*text.txt: has 40 bytes, .* at least 64")
    (tmp_path / "text.txt").write_text("letters " * 8)
    assert main(["bench", *options]) == 0
    shown = capsys.readouterr().out
    for row in (
        r"a square +n +1 – 32 +1,024 ms +1 to 2 +2\.00 ± 0\.00 +as it should",
        r"a cube +n +1 – 32 +32,768 MiB +1 to 2 +3\.00 ± 0\.00 +faster than it should",
        r"a text +bytes +8 – 64 +0\.064 ms +1 +1\.00 ± 0\.00 +as it should",
    ):
        assert re.search(f"^{row}$", shown, re.MULTILINE), row
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scaling.json", "scaling.png"]
    found = json.loads((tmp_path / "out" / "scaling.json").read_text())["series"]["square"]
    assert found["points"][1] == [2, 0.004] and found["expected"] == [1, 2]
    assert set(found["fit"]) == {"exponent", "margin", "constant", "points"}


@pytest.mark.parametrize("name", SERIES)
def test_every_series_measures_something_at_its_smallest_size(monkeypatch, name):
    monkeypatch.setattr("minitransformer.bench.scaling.ENOUGH", 0.0)
    series = SERIES[name]
    smallest = "word " * 200 if series.reads_text else series.quick[0]
    if series.unit == "bytes" and not sys.platform.startswith("linux"):
        with pytest.raises(OSError, match="only be measured on Linux"):
            series.measure(smallest)
    else:
        assert series.measure(smallest) > 0


@pytest.mark.parametrize("is_tied", [False, True])
def test_a_token_reads_every_weight_but_one_row_of_a_table_and_half_of_the_decoded_positions(here, is_tied):
    config = Config(11, context=24, d_model=8, n_heads=2, n_kv_heads=1, n_layers=3, bias=False, tie_embeddings=is_tied)
    ours = Worker(OURS)
    ours.prepare(asdict(Size(config, batch=2, length=5)))
    weights = 3 * (2 * 8 * 8 + 2 * 8 * 4 + 2 * 8 * 32 + 4 * 8) + 2 * 8 + 11 * 8
    cached = 3 * 2 * 4 * (8 + 8)  # after a prompt of 8, 16 tokens are decoded: 8 on average
    facts = ours.facts()
    assert facts["bytes_per_token"] == 4 * (weights + cached)
    assert facts["parameters"] == weights + 24 * 8 + (0 if is_tied else 11 * 8)


def test_the_command_loads_neither_pytorch_nor_matplotlib():
    code = "import sys, minitransformer.commands.bench; print(*{'torch', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


# Errors.


@pytest.fixture
def no_measurement(monkeypatch):
    """Fail the test if an engine starts."""
    for user in (comparison, measurements):
        monkeypatch.setattr(user, "EngineProcess", pytest.fail)


@pytest.mark.parametrize(
    "options, status, words",
    [
        (["--sizes", "huge"], 2, r"argument --sizes: invalid choice: 'huge' \(choose from .*gpt2"),
        (["--against", "jax"], 2, r"argument --against: invalid choice: 'jax' \(choose from .*torch-compile"),
        (["--against", "textbook"], 2, r"argument --against: invalid choice: 'textbook'"),
        (["--against", "torch", "--profile"], 2, "not allowed with argument"),
        (["--plain", "--profile"], 1, "--plain cannot be used together with --profile or --scaling"),
        (["--plain", "--scaling"], 1, "--plain cannot be used together with --profile or --scaling"),
        (["--rounds", "0"], 1, "--rounds must be at least 1, not 0"),
        (["--threads", "-2"], 1, "--threads must be at least 1, not -2"),
        (["--seconds", "0"], 1, "--seconds must be positive and finite, not 0"),
        (["--seconds", "nan"], 1, "--seconds must be positive and finite, not nan"),
        (["--seconds", "inf"], 1, "--seconds must be positive and finite, not inf"),
        (["--rounds", "99999"], 1, "--rounds must be at most 10,000, not 99999"),
        (["--threads", str(10**18)], 1, "--threads must be at most 1,024, not 1000"),
        (["--seconds", "1e308"], 1, "--seconds must be at most 86400, not 1e.308"),
        (["--json", "none/some.json"], 1, "none/some.json: its folder does not exist"),
        (["--json", "."], 1, ".: is a folder, not a file to write"),
        (["--scaling", "--text", "."], 1, ".: is a folder, not a file"),
        (["--scaling", "--sizes", "tiny"], 1, "--sizes cannot be used together with --scaling"),
        (["--text", "some.txt"], 1, "only be used together with --scaling"),
        (["--scaling", "--text", "none.txt"], 1, "none.txt: there is no such file"),
    ],
)
def test_wrong_options_are_reported_in_one_line(no_measurement, capsys, options, status, words):
    assert_one_line(capsys, main(["bench", *options]), status, f"error: .*{words}")


def test_a_text_that_is_not_utf8_is_reported_before_any_measurement(no_measurement, capsys, tmp_path):
    text = tmp_path / "text.txt"
    text.write_bytes(b"a" * 200_000 + b"\xff")
    words = "not UTF-8 text: byte 0xff at position 200000"
    assert_one_line(capsys, main(["bench", "--scaling", "--text", str(text)]), 1, f"error: .*{words}")


def test_without_pytorch_the_error_is_the_command_that_installs_it(no_measurement, monkeypatch, capsys):
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    words = r'torch is not installed: install it with pip install "minitransformer\[parity\]"'
    assert_one_line(capsys, main(["bench", "--against", "torch"]), 1, f"error: {words}")


# The real processes.


def test_a_process_ends_although_it_has_not_read_a_question():
    with EngineProcess(OURS, threads=1) as engine:
        engine.process.stdin.write("a question that waits in the buffer")
    assert engine.process.stdin.closed and engine.process.stdout.closed


def test_an_engine_in_a_separate_process_has_its_threads_and_answers():
    with EngineProcess(OURS, threads=1) as engine:
        answer = engine.ask("prepare", size=asdict(SMALL))
        assert answer["losses"] == pytest.approx(Worker(OURS).prepare(asdict(SMALL))["losses"], rel=1e-5)
        turn = engine.ask("steps", seconds=0.0)
        assert len(turn["times"]) == worker.FEWEST and turn["load"]["seconds"] >= sum(turn["times"])
        assert engine.ask("facts")["parameters"] > 0
        with pytest.raises(
            EngineError, match=r"the engine minitransformer failed to answer 'steps': TypeError: .*seconds"
        ):
            engine.ask("steps")
        engine.process.kill()
        with pytest.raises(
            EngineError, match=r"was ended by SIGKILL \(perhaps there was not enough memory\) while answering 'steps'"
        ):
            engine.ask("steps", seconds=0.0)
    assert engine.process.poll() is not None


def test_the_error_of_a_process_that_cannot_start_has_its_last_words(monkeypatch):
    monkeypatch.setattr(process, "OWN", "raise SystemExit('no such thing: {engine}')")
    words = "ended with status 1 .*: no such thing: minitransformer"
    with EngineProcess(OURS, threads=1) as engine, pytest.raises(EngineError, match=words):
        engine.ask("facts")


def test_ctrl_c_ends_the_measurement_with_one_line():
    command = [sys.executable, "-m", "minitransformer", "bench", "--sizes", "tiny", "--seconds", "600"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        try:
            assert running.stderr.readline().startswith("tiny: round 1")
            assert running.stderr.readline() == "tiny:   training steps\n"
            os.killpg(running.pid, signal.SIGINT)  # a terminal also signals the whole group
            assert running.stderr.read() == "minitransformer: interrupted\n"
            assert running.wait(timeout=60) == 130
        finally:
            running.kill()


def test_only_our_process_is_tuned(torch, monkeypatch):
    tuned = "import json, os; print(json.dumps({{'answer': 'OPENBLAS_THREAD_TIMEOUT' in os.environ}}))"
    for name in ("OWN", "RIVAL"):
        monkeypatch.setattr(process, name, getattr(process, name).replace("main({engine!r})", tuned))
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)
    for name, is_tuned in [(OURS, True), ("torch", False)]:
        with EngineProcess(name, threads=1) as engine:
            assert json.loads(engine.process.stdout.readline())["answer"] is is_tuned


# A process whose facts are True if a step has called the engine, and the number of replicas.
PLANTED = """
import multiprocessing
from minitransformer.bench import worker
from minitransformer.layers.linear import linear
from minitransformer.module import TWINS, load_engine

load_engine()
twin, called = TWINS[linear], []
TWINS[linear] = lambda *inputs: called.append(1) or twin(*inputs)
worker.Worker.facts = lambda self: (len(called) > 0, len(multiprocessing.active_children()))
worker.main({engine!r})
"""


def test_engine_and_textbook_have_the_same_losses_each_in_one_process(monkeypatch):
    pytest.importorskip("threadpoolctl")
    monkeypatch.setattr(process, "OWN", PLANTED)
    monkeypatch.setenv("MINITRANSFORMER_PLAIN", "1")  # the engine named "engine" ignores it
    losses = {}
    for name, uses_engine, replicas in [("engine", True, 0), ("textbook", False, 0), (OURS, False, 1)]:
        with EngineProcess(name, threads=2) as engine:
            losses[name] = engine.ask("prepare", size=asdict(SMALL))["losses"]
            assert engine.ask("facts") == [uses_engine, replicas], name
    comparison.require_equal_losses(losses)


def test_pytorch_answers_in_a_separate_process(torch):
    with EngineProcess(OURS, threads=1) as ours, EngineProcess("torch", threads=1) as theirs:
        losses = [engine.ask("prepare", size=asdict(SMALL))["losses"] for engine in (ours, theirs)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        assert len(theirs.ask("decode", seconds=0.0)["times"]) == SMALL.decoded - 1
        assert len(theirs.ask("prompt")["times"]) == 1
        assert theirs.ask("memory") is None or theirs.ask("memory") >= 0
