"""Code that is run within limits: it is ended with all that it has started, and cannot answer in the grader's place."""

import importlib.util
import json
import sys
import threading
import time
from pathlib import Path

import pytest

from minitransformer.system import bounded
from minitransformer.system.bounded import TOO_MANY, Bounded, Ended

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what has left its session is found on Linux alone")

MODULE = """

def answers(code):
    names = {}
    exec(code, names)
    yield from names["answers"]()

def prepare():
    pass
"""
ONE = "\ndef answers(): yield 'done'\n"


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("module")
    (folder / "runs_code.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch, Bounded("runs_code", megabytes=200) as process:
        patch.syspath_prepend(folder)
        yield process


@pytest.fixture
def started(tmp_path):
    """A function that returns the processes still running of those noted, and code that notes one and waits for it."""
    file = tmp_path / "started"
    file.touch()

    def running():
        deadline = time.monotonic() + 60
        while True:
            pids = [int(pid) for pid in file.read_text().split()]
            alive = [pid for pid in pids if is_running(pid)]
            if not alive or time.monotonic() > deadline:
                assert pids
                return alive
            time.sleep(0.01)

    running.file = file
    running.note = f"import os, time\nnote = lambda: print(os.getpid(), file=open({str(file)!r}, 'a'))\n"
    running.wait = f"\nwhile not os.path.getsize({str(file)!r}): time.sleep(0.001)"
    return running


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_request_whose_supervisor_another_thread_ends_has_ended(process, started):
    heard = []

    def ask():
        with pytest.raises(Ended) as ended:
            process.ask(started.note + "def answers():\n    note(); time.sleep(1000); yield", 100)
        heard.append(str(ended.value))

    thread = threading.Thread(target=ask)
    thread.start()
    while not started.file.read_text():
        time.sleep(0.01)
    supervisor = process.process
    process.end()
    assert supervisor.exitcode == 0  # it has heard of its end, and was not killed
    thread.join(60)
    assert heard and started() == []


LEFT = {
    "a child": "if os.fork() == 0: note(); time.sleep(1000)",
    "a session": "if os.fork() == 0: os.setsid(); note(); time.sleep(1000)",
    "an orphan": "import ctypes\nif os.fork() == 0:\n    os.setsid()\n    if ctypes.CDLL(None).fork(): os._exit(0)\n"
    "    note(); time.sleep(1000)",
    "a command": "import subprocess\nif os.fork() == 0: os.setsid(); note(); os.execvp('sleep', ['sleep', '1000'])",
}
WAYS = {
    "by a signal without a name": ("os.kill(os.getpid(), 40)", "it ended its process: signal 40"),
    "answered": (ONE, None),
    "failed": ("os._exit(3)", "it ended its process with status 3"),
    "crashed": ("os.kill(os.getpid(), 11)", "it ended its process: SIGSEGV"),
    "not in time": ("def answers():\n    yield 1\n    time.sleep(1000)", "it did not end within 0.01 seconds"),
}


@pytest.mark.parametrize(
    "left, way",
    [(left, way) for left in LEFT for way in WAYS if left == "an orphan" or way in ("answered", "not in time")],
)
def test_a_request_leaves_no_process_behind_however_it_ends(left, way, process, started):
    end, reason = WAYS[way]
    code = f"{started.note}{LEFT[left]}{started.wait}\n{end}"
    if reason is None:
        assert process.ask(code, seconds=60) == "done"
    else:
        with pytest.raises(Ended, match=f"^{reason}$"):
            process.ask(code, seconds=60, more=0.01)
    assert started() == []


def test_an_interrupt_ends_what_was_started(process, started):
    def interrupt(answer):
        raise KeyboardInterrupt

    code = f"{started.note}{LEFT['an orphan']}{started.wait}\ndef answers():\n    yield 1\n    time.sleep(1000)"
    with pytest.raises(KeyboardInterrupt):
        process.ask(code, seconds=60, first=interrupt)
    assert started() == []


@pytest.mark.parametrize(
    "bomb",
    [
        "while may(): os.fork()",
        "while may():\n    if os.fork() == 0: os.setsid()",
        "while may(): os.fork() or os.fork()",
    ],
)
def test_processes_that_multiply_are_ended_while_they_are_few(bomb, process, tmp_path):
    counter = tmp_path / "forks"  # at most 200, so that a failure of this test harms no one
    code = (
        f"import os\nfile = os.open({str(counter)!r}, os.O_RDWR | os.O_CREAT | os.O_APPEND)\n"
        f"def may():\n    os.write(file, b'.')\n    return os.fstat(file).st_size < 200\n{bomb}\n"
        "import time\ntime.sleep(1000)"
    )
    with pytest.raises(Ended, match=f"^{TOO_MANY}$"):
        process.ask(code + ONE, seconds=60)
    assert counter.stat().st_size < 200
    assert process.ask(ONE, seconds=60) == "done"


def test_lines_that_code_writes_to_every_open_file_are_no_answers(process):
    forged = json.dumps(["answer", "forged"])
    code = f"""
import os
for number in range(256):
    for text in ({forged!r}, "0123456789abcdef" * 2 + {forged!r}, "x" * 500_000, "no end of line"):
        try:
            os.write(number, b"\\n" * (text[0] != "n") + text.encode())
        except OSError:
            pass
"""
    assert process.ask(code + ONE, seconds=60) == "done"
    assert process.ask(ONE, seconds=60) == "done"


def test_the_latest_answer_is_kept_when_the_next_takes_too_long(process):
    code = (
        "import time\ndef answers():\n    yield 'verdict'\n    yield 'better'\n    time.sleep(1000)\n    yield 'best'"
    )
    with pytest.raises(Ended, match=r"^it did not end within 0\.01 seconds$") as ended:
        process.ask(code, seconds=60, more=0.01, first=lambda answer: process.pipe.poll(60))
    assert ended.value.answer == "better"
    with pytest.raises(Ended) as ended:
        process.ask("import os\ndef answers():\n    yield 'verdict'\n    os._exit(0)", seconds=60)
    assert (str(ended.value), ended.value.answer) == ("it ended its process with status 0", "verdict")


@pytest.mark.parametrize(
    "signum, more, said", [("SIGKILL", 60, "it ended its process: SIGKILL"), ("SIGSTOP", 0.2, "it did not end")]
)
def test_code_that_ends_or_stops_its_server_is_ended_too_and_the_next_request_has_another(
    signum, more, said, process, started, tmp_path, monkeypatch
):
    monkeypatch.setattr(bounded, "GRACE", 0.01)
    seen = tmp_path / "seen"
    code = f"""{started.note}note()
import signal
def answers():
    yield 1
    while not os.path.exists({str(seen)!r}): time.sleep(0.001)
    os.kill(os.getppid(), signal.{signum})
    time.sleep(1000)"""
    with pytest.raises(Ended, match=f"^{said}"):
        process.ask(code, seconds=60, more=more, first=lambda answer: seen.touch())
    assert started() == []
    assert process.ask(ONE, seconds=60) == "done"


def test_memory_is_limited_besides_what_the_server_has(process):
    with pytest.raises(Ended, match="it ended its process with status 1"):
        process.ask("bytes(10**9)" + ONE, seconds=60)
    assert process.ask("bytes(10**8)" + ONE, seconds=60) == "done"


def test_a_file_that_grows_without_end_is_an_error_before_the_disk_is_full(process, tmp_path):
    file = tmp_path / "log"
    code = f"file = open({str(file)!r}, 'wb', buffering=0)\ntry:\n    for k in range(200): file.write(bytes(2**20))\n"
    code += "    found = 'written'\nexcept OSError as error:\n    found = error.strerror\ndef answers(): yield found"
    assert process.ask(code, seconds=60) == "File too large"
    file.unlink()


def test_without_fork_each_request_has_a_process_of_its_own_and_ends_with_its_last_answer(tmp_path, monkeypatch):
    without = "import os\nfrom minitransformer.system import bounded\nbounded.FORKS = False\ndel os.fork\n"
    (tmp_path / "without_fork.py").write_text(without + MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(bounded, "FORKS", False)
    with Bounded("without_fork", megabytes=200) as process:
        received, kinds = process.received, []
        monkeypatch.setattr(
            process, "received", lambda deadline: [message := received(deadline), kinds.append(message[0])][0]
        )
        pids = [process.ask("import os\ndef answers(): yield os.getpid()", seconds=60) for _ in range(2)]
        assert pids[0] != pids[1]
        assert kinds == ["ready", "answer", "done", "end"] * 2
        with pytest.raises(Ended, match=r"it did not end within 0\.2 seconds"):
            process.ask("def answers():\n    yield 1\n    while True: pass", seconds=60, more=0.2)


@pytest.mark.parametrize("system, forks", [("linux", True), ("darwin", False), ("win32", False)])
def test_only_linux_forks(system, forks, monkeypatch):
    spec = importlib.util.spec_from_file_location("bounded_elsewhere", bounded.__file__)
    elsewhere = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "platform", system)
    spec.loader.exec_module(elsewhere)
    assert elsewhere.FORKS is forks


def test_a_supervisor_that_cannot_start_is_an_error():
    with Bounded("no_such_module", megabytes=200) as process:
        with pytest.raises(Ended, match=r"^it ended its process with status 1$"):
            process.ask(ONE, seconds=60)
        assert process.process is None
