"""Importing and calling the package change nothing in the process; tune_process() makes only documented changes."""

import subprocess
import sys

import pytest

from minitransformer.system.cores import available_cores

STATE = """
import os, signal, sys, threading
def state():
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    return dict(os.environ), handlers, threading.enumerate(), list(sys.meta_path), sys.excepthook, sys.gettrace()
forks = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork = lambda **functions: forks.append(functions)
"""
IMPORTED = """
import numpy as np  # whose own changes are not ours
import concurrent.futures.thread, logging, numpy.random, random
forks.clear()
before = state()
import minitransformer
from minitransformer import *
import minitransformer.fast, minitransformer.cli, minitransformer.cases
assert state() == before
model = TinyTransformer(vocab_size=20)
ids = np.arange(8).reshape(2, 4)
model.loss(ids, ids)[1]()
AdamW(model.parameters()).step()
generate(model, ids[0], 3)
after = state()
assert (after[0], after[1]) == (before[0], before[1])
assert forks == []
"""
RESIDENT = """
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
import numpy as np
import minitransformer, minitransformer.fast
{tune}
np.ones(2**23)
before = resident()
arrays = [np.ones(2**23) for _ in range(5)]  # 64 MiB each: more than malloc ever takes from its heap
assert resident() - before > 300 * 2**20
del arrays
print(resident() - before < 50 * 2**20)
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", STATE + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("program", ["-c", "minitransformer"], ids=["script", "named as the program"])
def test_importing_and_training_change_no_variable_handler_thread_or_fork_hook(program):
    run(f"sys.argv[0] = {program!r}" + IMPORTED)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_freed_memory_returns_to_the_system_until_the_process_is_tuned():
    assert run(RESIDENT.format(tune="")) == "True\n"


def test_tune_process_sets_how_long_openblas_waits_unless_it_is_set():
    tuned = "minitransformer.tune_process(); print(os.environ['OPENBLAS_THREAD_TIMEOUT'])"
    assert run("os.environ.pop('OPENBLAS_THREAD_TIMEOUT', None); import minitransformer; " + tuned) == "23\n"
    assert run("os.environ['OPENBLAS_THREAD_TIMEOUT'] = '24'; import minitransformer; " + tuned) == "24\n"


WATCH = """
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            print(os.environ.get("OPENBLAS_THREAD_TIMEOUT"), signal.getsignal(signal.SIGTERM).__name__)
sys.meta_path.insert(0, Watch())
os.environ.pop("OPENBLAS_THREAD_TIMEOUT", None)
sys.argv = ["minitransformer", "--version"]
from minitransformer.__main__ import main
main()
"""


def test_the_program_is_tuned_and_handles_signals_before_numpy_is_imported():
    assert run(WATCH).splitlines()[0] == "23 leave"


THREADS = """
from threadpoolctl import threadpool_info
def threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.pop(name, None)
"""


@pytest.mark.parametrize("first", ["minitransformer", "numpy"])
def test_tune_process_sets_the_number_of_threads_unless_the_environment_does(first):
    pytest.importorskip("threadpoolctl")
    tuned = f"import {first}, minitransformer; minitransformer.tune_process(threads=1); import numpy; print(threads())"
    assert run(THREADS + tuned) == "{1}\n"
    two = "os.environ['OPENBLAS_NUM_THREADS'] = '2'\n"
    assert run(THREADS + two + tuned) == f"{{{min(2, available_cores())}}}\n"  # OpenBLAS starts no more than cores


@pytest.mark.parametrize("width, threads", [(64, 1), pytest.param(768, 2, marks=pytest.mark.slow)])
def test_a_command_uses_one_thread_for_a_small_model_and_all_cores_for_a_large_one(width, threads, tmp_path):
    pytest.importorskip("threadpoolctl")
    options = ["--text", "text", "--out", "run", "--width", str(width), "--layers", "1", "--steps", "1", "--no-plot"]
    options += ["--context", "8", "--batch-size", "1", "--sample-every", "0"]
    code = f"""
os.chdir({str(tmp_path)!r})
open("text", "w").write("a text to learn from. " * 10)
import minitransformer.system.cores
minitransformer.system.cores.available_cores = lambda: 2
from minitransformer.__main__ import main
train = ["train", "--quiet", "--replicas", "1", *{options!r}]
for command in (train, ["generate", "--model", "run", "--max-new-tokens", "1"]):
    sys.argv = ["minitransformer", *command]
    assert main() == 0
    print()
    print("threads", threads())
"""
    assert run(THREADS + code).splitlines()[-1] == f"threads {{{threads}}}"
