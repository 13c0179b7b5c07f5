"""An object in a process: what it answers, how it ends, and that it does not outlive the program."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from minitransformer.system.processes import Lost, Process, ending


class Counter:
    """An object in a process."""

    def __init__(self, start):
        self.n = start

    def add(self, n, *, times=1):
        self.n += n * times
        return self.n

    def environment(self, name):
        return os.environ.get(name)

    def fail(self, message):
        raise KeyError(message)

    def fail_strangely(self):
        raise StrangeError(lambda: None)

    def end(self, signum):
        os.kill(os.getpid(), signum) if signum else os._exit(3)


class StrangeError(Exception):
    """An exception that cannot be pickled."""


def test_an_object_in_a_process_answers_calls_and_raises_its_exceptions_here():
    with Process(Counter, 5, variables={"COUNTER": "yes"}) as counter:
        assert [counter.ask("add", 2), counter.ask("add", 1, times=3)] == [7, 10]
        assert counter.ask("environment", "COUNTER") == "yes" and "COUNTER" not in os.environ
        with pytest.raises(KeyError, match="nothing"):
            counter.ask("fail", "nothing")
        with pytest.raises(RuntimeError, match="StrangeError"):
            counter.ask("fail_strangely")
        assert counter.ask("add", 0) == 10
    assert not counter.process.is_alive()


def test_threads_start_processes_at_once_and_the_environment_is_as_before():
    before = dict(os.environ)

    def start_and_ask(number):
        with Process(Counter, number, variables={"COUNTER": str(number)}) as counter:
            return counter.ask("environment", "COUNTER")

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(start_and_ask, range(5))) == list("01234")
    assert dict(os.environ) == before


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
@pytest.mark.parametrize(
    "signum, words", [(0, "ended with status 3"), (9, "was ended by SIGKILL"), (11, "was ended by SIGSEGV")]
)
def test_a_process_that_ends_before_it_answers_is_lost_and_says_how(signum, words):
    with Process(Counter, 0) as counter, pytest.raises(Lost, match=f"^{words}$"):
        counter.ask("end", signum)


ABANDONED = """
import os, sys
from minitransformer.system.processes import Process

class Sleeper:
    def pid(self):
        return os.getpid()

if __name__ == "__main__":
    sleeper = Process(Sleeper, needs_program=True)
    print(sleeper.ask("pid"), flush=True)
    if sys.argv[1:]:
        os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(os.name != "posix", reason="asks for processes by a signal")
@pytest.mark.parametrize("killed", [[], ["killed"]], ids=["by itself", "by SIGKILL"])
def test_no_process_outlives_the_program(killed, tmp_path):
    (tmp_path / "abandoned.py").write_text(ABANDONED)
    done = subprocess.run([sys.executable, tmp_path / "abandoned.py", *killed], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-9 if killed else 0, "")
    with pytest.raises(ProcessLookupError):
        for _ in range(3000):
            os.kill(int(done.stdout), 0)
            time.sleep(0.01)


def test_an_exit_status_in_words():
    assert [ending(2), ending(-15), ending(-40)] == [
        "ended with status 2",
        "was ended by SIGTERM",
        "was ended by signal 40",
    ]
