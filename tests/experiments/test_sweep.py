"""Sweeps: killed and resumed, with workers lost and models that fail, the numbers are the same."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradcheck.front.processes import THREAD_VARIABLES
from minitransformer import analyze_emergent_capabilities
from minitransformer.experiments.emergence import CAPABILITIES, Capability, capabilities, family
from minitransformer.experiments.emergence.plan import Plan
from minitransformer.experiments.sweep import sweep

pytestmark = pytest.mark.slow  # many processes, and models that they train

COPY = CAPABILITIES["copy"]
FLAG = "MINITRANSFORMER_TEST_FLAG"
SIZES = [900, 1_500]
ONE_THREAD = os.environ | dict.fromkeys(THREAD_VARIABLES, "1")

# One model after another in one process: the reference for all others.
SERIAL = """
import json, sys
from minitransformer.experiments.emergence import CAPABILITIES
from minitransformer.experiments.emergence.family import of_size
from minitransformer.experiments.emergence.plan import Plan
tests = CAPABILITIES["copy"], CAPABILITIES["brackets"]
json.dump([Plan(of_size(size), seed, 8, tests).run() for size in (900, 1_500) for seed in (0, 1)], sys.stdout)
"""


def numbers(runs):
    """Return, by key, the part of the runs that must not depend on the machine."""
    return {run["key"]: {k: v for k, v in run.items() if k not in ("seconds", "environment")} for run in runs}


def plan(seed=0, capability=COPY, size=900, steps=8):
    """Return the plan of a small run."""
    return Plan(family.of_size(size), seed, steps, (capability,))


def small_sweep(sizes=SIZES, **how):
    """Return the runs of the sweep that SERIAL makes."""
    return numbers(analyze_emergent_capabilities(sizes, ["copy", "brackets"], seeds=[0, 1], steps=8, **how).runs)


@pytest.fixture(scope="module")
def serial():
    """The numbers of a sweep in one worker process, one model after another."""
    run = subprocess.run([sys.executable, "-c", SERIAL], capture_output=True, text=True, check=True, env=ONE_THREAD)
    return numbers(json.loads(run.stdout))


# The same numbers everywhere.


def test_processes_give_the_numbers_of_one_process_and_so_does_what_is_on_disk(serial, tmp_path):
    outcomes = []
    first = small_sweep(workers=2, out=tmp_path, progress=lambda plan, outcome: outcomes.append(outcome))
    assert first == serial and outcomes == ["trained"] * 4
    files = sorted((tmp_path / "runs").iterdir())
    assert len(files) == 4 and files[0].name.startswith("2x4-seed0-")
    files[1].unlink()  # as if the sweep had been killed before this one was finished
    before = {file: file.stat().st_mtime_ns for file in files if file.exists()}
    outcomes.clear()
    assert small_sweep(workers=1, out=tmp_path, progress=lambda plan, outcome: outcomes.append(outcome)) == serial
    assert sorted(outcomes) == ["found"] * 3 + ["trained"]
    assert {file: file.stat().st_mtime_ns for file in before} == before


# Killed.


def wait_until(condition, seconds=120):
    """Return once condition() is true; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def workers_of(pid):
    """Return the process ids of the children of a process."""
    return [child for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def is_alive(pid):
    """Return True if a process runs and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


KILLED_SWEEP = """
import sys
from minitransformer import analyze_emergent_capabilities
analyze_emergent_capabilities([20_000, 900, 1_500], ["copy", "brackets"], seeds=[0, 1], steps=8, workers=2,
                              out=sys.argv[1])
"""
COMMAND = """
import sys
from minitransformer.cli import main
sys.exit(main(sys.argv[1:]))
"""
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")


def began(program, *arguments):
    """Return a running program."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", program, *arguments], **pipes)


@needs_proc
def test_a_sweep_that_is_killed_leaves_no_process_and_goes_on_to_the_same_numbers(serial, tmp_path):
    with began(KILLED_SWEEP, str(tmp_path)) as process:
        wait_until(lambda: len(list(tmp_path.glob("runs/*.json"))) >= 1)
        workers = workers_of(process.pid)
        process.kill()
    assert len(workers) >= 2
    wait_until(lambda: not any(is_alive(pid) for pid in workers))
    left = len(list(tmp_path.glob("runs/*.json")))
    outcomes = []
    runs = small_sweep([20_000, *SIZES], out=tmp_path, progress=lambda plan, outcome: outcomes.append(outcome))
    assert outcomes == ["found"] * left + ["trained"] * (6 - left)
    assert len(runs) == 6 and {key: runs[key] for key in serial} == serial


@needs_proc
def test_ctrl_c_ends_all_processes_and_says_in_one_line_how_to_go_on(tmp_path):
    pytest.importorskip("matplotlib")
    options = ["--sizes", "900,1500", "--seeds", "1", "--steps", "100000", "--workers", "2", "--out", str(tmp_path)]
    with began(COMMAND, "scale", *options) as process:
        wait_until(lambda: len(workers_of(process.pid)) >= 3)  # one more manages their shared resources
        workers = workers_of(process.pid)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    kept = f"0 of 2 runs are in {tmp_path}; the same command resumes from there"
    assert said == f"minitransformer: interrupted: {kept}\n"
    wait_until(lambda: not any(is_alive(pid) for pid in workers))


# Workers that are lost, models that fail.


def dying_once(rng, n):
    """Draw as copy does; the first time on a worker, while there is a flag, die."""
    flag = os.environ.get(FLAG)
    if multiprocessing.parent_process() and flag and os.path.exists(flag):
        os.unlink(flag)
        os.kill(os.getpid(), signal.SIGKILL)
    return capabilities.letters(rng, n)


def dying(rng, n):
    """Draw as copy does; on a worker, die."""
    if multiprocessing.parent_process():
        time.sleep(0.3)  # so that others have begun
        os.kill(os.getpid(), signal.SIGKILL)
    return capabilities.letters(rng, n)


def failing(rng, n):
    """Draw as copy does; on a worker, fail."""
    if multiprocessing.parent_process():
        raise ArithmeticError("out of\nnumbers")
    return capabilities.letters(rng, n)


KILLED_ONCE = Capability("killed once", "its worker dies", dying_once, capabilities.copy_rows)
KILLED = Capability("killed", "its worker dies every time", dying, capabilities.copy_rows)
FAILING = Capability("failing", "it raises", failing, capabilities.copy_rows)


def test_a_lost_workers_model_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv(FLAG, str(tmp_path / "flag"))
    (tmp_path / "flag").touch()
    outcomes = []
    runs, failures = sweep([plan(0, KILLED_ONCE)], workers=1, progress=lambda plan, outcome: outcomes.append(outcome))
    assert len(runs) == 1 and failures == {}
    assert outcomes == ["retried", "trained"]


def test_a_model_that_kills_every_worker_is_given_up_and_no_other_is_blamed():
    outcomes = []
    plans = [plan(0, KILLED, size=3_000), plan(0, FAILING), *(plan(seed, steps=200) for seed in (1, 2))]
    runs, failures = sweep(plans, workers=2, progress=lambda *told: outcomes.append(told))
    assert set(runs) == {plans[2].key(), plans[3].key()}
    assert set(failures) == {plans[0].key(), plans[1].key()}
    assert failures[plans[0].key()] == "its worker was lost"
    assert failures[plans[1].key()] == "ArithmeticError: out of numbers"
    assert outcomes.count((plans[0], "retried")) == outcomes.count((plans[0], "failed")) == 1
    assert {(plans[2], "trained"), (plans[3], "trained")} < set(outcomes)


def test_the_largest_models_begin_first():
    begun = []
    plans = [plan(size=size) for size in (900, 20_000, 3_000)]
    sweep(plans, workers=1, progress=lambda plan, outcome: begun.append(plan.config.d_model))
    assert begun == sorted(begun, reverse=True) and len(set(begun)) == 3
