"""Work that is spread over threads is done once, in order, as the caller would have done it."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from minitransformer.system import cores
from minitransformer.system.cores import decoding, side_by_side, threads


@pytest.fixture
def three_threads(monkeypatch):
    pytest.importorskip("threadpoolctl")
    monkeypatch.setattr(cores, "threads", lambda: 3)
    cores.pool_of.cache_clear()
    monkeypatch.setattr(cores, "available_cores", lambda: 3)
    yield
    cores.pool_of(os.getpid()).shutdown()
    cores.pool_of.cache_clear()


def test_jobs_run_at_the_same_time_each_once_and_in_order(three_threads):
    together = threading.Barrier(3, timeout=60)  # whoever waits here alone waits in vain
    assert sorted(side_by_side(lambda job: together.wait(), range(3))) == [0, 1, 2]
    done = []
    assert side_by_side(lambda job: done.append(job) or -job, iter(range(50))) == [-job for job in range(50)]
    assert sorted(done) == list(range(50))


def test_an_exception_waits_until_all_threads_have_stopped(three_threads):
    begun, done = [], []

    def work(job):
        if job == failing:
            raise KeyError(f"number {failing}")
        begun.append(job)
        time.sleep(0.02)
        done.append(job)

    for failing in range(4):
        with pytest.raises(KeyError, match=f"number {failing}"):
            side_by_side(work, range(300))
        assert sorted(begun) == sorted(done)
    assert len(done) < 300  # the others begin no more


def test_the_error_state_is_the_callers(three_threads):
    def overflow(job):
        return np.exp(np.float32(1000 + job))

    with np.errstate(over="ignore"):
        assert side_by_side(overflow, range(6)) == [np.inf] * 6
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        side_by_side(overflow, range(6))


def test_there_are_as_many_threads_as_the_matrix_library_may_have_and_one_within(monkeypatch):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(1):
        assert threads() == 1
        assert side_by_side(lambda job: threading.current_thread(), [1, 2]) == [threading.current_thread()] * 2
    if threads() > 1:
        before = threads()
        assert side_by_side(lambda job: threads(), [1, 2]) == [1, 1]
        assert threads() == before


def test_while_a_text_is_generated_the_library_has_one_thread_and_as_many_as_before_run_side_by_side(monkeypatch):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    monkeypatch.setattr(cores, "available_cores", lambda: 2)
    with threadpoolctl.threadpool_limits(2):
        for _ in decoding(range(3)):
            libraries = {library.num_threads for library in cores.matrix_library().lib_controllers}
            assert (libraries, threads()) == ({1}, 2)
            assert side_by_side(lambda job: threads(), [1, 2]) == [1, 1]
        assert threads() == 2 and cores.matrix_library().lib_controllers[0].num_threads == 2
        for _ in zip(decoding(range(3)), range(1), strict=False):
            pass
        assert threads() == 2  # after a text that was stopped, too


FORK = """
import os, signal, threading, time, warnings
from minitransformer.system import cores
warnings.simplefilter("ignore")  # Python's, of a fork beside threads
cores.threads = lambda: 2
cores.available_cores = lambda: 2
double = lambda job: 2 * job
together = threading.Barrier(2)
cores.side_by_side(lambda job: together.wait(), [1, 2])  # in two threads
time.sleep(0.3)  # now the threads wait for work
if not os.fork():
    signal.alarm(20)  # for waiting in vain
    os._exit(cores.side_by_side(double, [1, 2, 3]) != [2, 4, 6])
raise SystemExit(os.wait()[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_has_threads_of_its_own():
    pytest.importorskip("threadpoolctl")
    assert subprocess.run([sys.executable, "-c", FORK], timeout=60).returncode == 0


def test_without_threadpoolctl_there_is_one(monkeypatch):
    cores.matrix_library.cache_clear()
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert threads() == 1
    monkeypatch.undo()
    cores.matrix_library.cache_clear()


@pytest.mark.parametrize(
    "limit, cores_of_it", [("200000 100000\n", 2), ("50000 100000", 1), ("250000 100000", 3), ("max 100000", 8)]
)
def test_a_limit_of_processor_time_counts_as_cores(limit, cores_of_it, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(8), raising=False)
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(cores, "LIMIT_OF_CONTAINER", tmp_path / "cpu.max")
    assert cores.available_cores() == cores_of_it
    monkeypatch.setattr(cores, "LIMIT_OF_CONTAINER", tmp_path / "missing")
    assert cores.available_cores() == 8


ELSEWHERE = """
import ctypes, os, signal, sys, threading  # what macOS and Windows do not have is taken away
for module, name in [
    *((os, name) for name in ("sched_getaffinity", "register_at_fork", "fork")),
    *((signal, name) for name in ("pthread_sigmask", "SIGKILL")),
]:
    if hasattr(module, name):
        delattr(module, name)
class NoMallopt:
    def __init__(self, name):
        raise AttributeError("mallopt")
ctypes.CDLL = NoMallopt
import numpy as np
from gradcheck.front import processes
from gradcheck.front.signals import SIGNALS
from minitransformer import AdamW, TinyTransformer, tune_process
from minitransformer.system import cores
from minitransformer.system.processes import ending
from minitransformer.training import training_step
model = TinyTransformer(vocab_size=20)
ids = np.arange(8).reshape(2, 4)
loss, _ = training_step(model, AdamW(model.parameters()), [(ids, ids)])
cores.LIMIT_OF_CONTAINER = "missing"
with processes.signals_blocked(*SIGNALS):
    assert cores.available_cores() == os.cpu_count()
tune_process()
assert ending(3) == "ended with status 3" and ending(-15) == "was ended by SIGTERM"
print(f"{loss:.2f}")
"""


def test_what_other_systems_do_not_have_is_not_needed():
    run = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert 2 < float(run.stdout) < 3  # a guess among 20 is 3.0, and tied embeddings like to repeat
