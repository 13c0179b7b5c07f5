"""Processes: how they end, and that none is left."""

import os
import subprocess
import sys
import time
import warnings

import pytest

from gradcheck.front import processes
from gradcheck.front.processes import Command, Workers


def nothing():
    pass


def test_tasks_run_in_other_processes_with_one_thread_and_without_a_fork_beside_threads():
    with warnings.catch_warnings(), Workers(2, nothing, needs_program=False) as workers:
        warnings.simplefilter("error")  # as Python and JAX warn of a fork in a program with threads
        assert workers.submit(os.getpid).result() != os.getpid()
        assert workers.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
    assert not any(process.is_alive() for process in workers.processes)


def test_workers_that_do_not_stop_by_themselves_are_ended():
    with Workers(1, nothing, needs_program=False) as workers:
        task = workers.submit(time.sleep, 1000)
        while not task.running():
            time.sleep(0.01)
    assert not any(process.is_alive() for process in workers.processes)


def test_windows_waits_for_61_processes_and_no_more(monkeypatch):
    for system, most in (("win32", 61), ("linux", 200)):
        monkeypatch.setattr(processes.sys, "platform", system)
        with Workers(200, nothing) as workers:
            assert workers._max_workers == most


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_a_command_ends_with_its_status_and_output_or_in_time_with_all_it_has_started():
    assert Command(["sh", "-c", "echo out; echo err >&2; exit 7"]).result(60) == (7, "out\nerr\n")
    command = Command([sys.executable, "-c", "import os, time; os.fork(); time.sleep(1000)"])
    assert command.result(0.5) == (None, "")
    with pytest.raises(ProcessLookupError):
        for _ in range(3000):
            os.killpg(command.process.pid, 0)
            time.sleep(0.01)
    with pytest.raises(FileNotFoundError):
        Command(["no-such-program"])


WITHOUT = """
import os, signal
for module, name in [(os, "register_at_fork"), (os, "fork"), (os, "killpg"), (signal, "pthread_sigmask")]:
    delattr(module, name)  # Windows has none of these
from gradcheck.front.processes import Command, signals_blocked
from gradcheck.front.signals import SIGNALS
with signals_blocked(*SIGNALS):
    command = Command(["sleep", "1000"])
assert command.result(0.1) == (None, "")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="takes away what other systems lack")
def test_what_other_systems_lack_is_not_needed():
    subprocess.run([sys.executable, "-c", WITHOUT], check=True)
