"""Signals: at any moment a program ends with one line and the signal's status, after saving its results."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_chats import chat_lm
from small_runs import TEXT, At, small_lm
from terminals import Terminal

import gradcheck.__main__
import gradcheck.commands
from gradcheck.front import processes, signals
from gradcheck.front.program import started_as
from minitransformer import cli
from minitransformer.commands import info, resuming
from minitransformer.learn.exercises import named_exercise
from minitransformer.learn.workspace import start
from minitransformer.training import METRICS_FILE, MODEL_FILE, ProgressBar, read_metrics
from minitransformer.training.checkpoints import Checkpoint

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends the signals of other systems than Windows")

ENDS = [
    (signal.SIGINT, 130, "interrupted"),
    (signal.SIGTERM, 143, "terminated"),
    (signal.SIGHUP, 129, "the terminal was closed"),
]
OF_ALL = pytest.mark.parametrize("signum, status, words", ENDS, ids=[end[0].name for end in ENDS])
RUN = (
    "--layers 1 --heads 2 --width 8 --context 8 --batch-size 4 --replicas 1 --sample-every 0 --eval-every 0 --no-plot "
    "--steps"
)


@pytest.fixture(autouse=True)
def default_handlers():
    """Give the signals the handlers that they have in a program started by a shell."""
    before = {signum: signal.getsignal(signum) for signum in signals.SIGNALS}
    for signum in before:
        signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def handlers():
    return [signal.getsignal(signum) for signum in signals.SIGNALS]


@OF_ALL
@pytest.mark.parametrize("program", ["minitransformer", "gradcheck"])
def test_a_command_ends_with_one_line_and_the_signals_status(program, signum, status, words, monkeypatch, capsys):
    before, ended = handlers(), []

    def work(*arguments):
        try:
            signal.raise_signal(signum)
        finally:
            ended.append("what was begun")

    monkeypatch.setattr(info, "run", work)
    monkeypatch.setattr(gradcheck.commands, "check", work)
    main, arguments = (cli.main, ["info", "run"]) if program == "minitransformer" else (gradcheck.__main__.main, [])
    assert main(arguments) == status
    assert capsys.readouterr() == ("", f"{program}: {words}\n")
    assert ended == ["what was begun"] and handlers() == before


# Programs at work: what is typed, the stream and the words by which it has begun, and all that it says of Ctrl-C.
PROGRESS = r"(step .*\n)*(finishing the step, .*\n)?"
SAVED = PROGRESS + r"minitransformer: interrupted after step \d+ of 100000, saved in run; .* --resume\n"
INTERRUPTED = r"minitransformer: interrupted\n"
AT_WORK = {
    "train": (f"minitransformer train --text text.txt --out run {RUN} 100000", "stderr", "step     0", SAVED),
    "generate": ("minitransformer generate --model small.npz --max-new-tokens 1000000000", "stdout", "", INTERRUPTED),
    "bench": ("minitransformer bench --sizes tiny --seconds 600", "stderr", "training steps", INTERRUPTED),
    "learn": ("minitransformer learn watch", "stderr", "checking all exercises", INTERRUPTED),
    "gradcheck": ("gradcheck mine.py", "stdout", "quick", "gradcheck: interrupted\n"),
}
SLOW = ("bench", "learn")
MINE = """
import time
from gradcheck import Call, Case
CASES = [
    Case("quick", lambda rng: Call(lambda x: (2 * x, lambda dy: 2 * dy), rng.normal(size=3))),
    Case("endless", lambda rng: time.sleep(20)),
]
"""


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in AT_WORK])
def test_ctrl_c_ends_a_program_at_work_with_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    Path("mine.py").write_text(MINE)
    small_lm(text=TEXT + "\n").save("small.npz")
    start(tmp_path / "learn", [named_exercise("relu")], 0)
    line, stream, begun, words = AT_WORK[name]
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    environment.pop("PYTHONUNBUFFERED", None)
    command = [sys.executable, "-m", *line.split()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, env=environment, text=True, start_new_session=True) as process:
        try:
            while begun not in (said := getattr(process, stream).readline()):
                assert said, process.communicate()
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130 and re.fullmatch(words, err), err
    assert out.endswith("\n") or name != "generate"  # whose line is ended


@OF_ALL
def test_a_signal_that_is_ignored_stays_ignored(signum, status, words, monkeypatch):
    monkeypatch.setattr(info, "run", lambda arguments: signal.raise_signal(signum) or 7)
    signal.signal(signum, signal.SIG_IGN)
    assert cli.main(["info", "run"]) == 7
    assert signal.getsignal(signum) is signal.SIG_IGN


def test_sigterm_is_heard_where_ctrl_c_is_ignored_as_in_the_background_of_a_script(monkeypatch):
    monkeypatch.setattr(info, "run", lambda arguments: signal.raise_signal(signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert cli.main(["info", "run"]) == 143


def test_sigterm_ends_a_conversation_where_ctrl_c_only_stops_the_answer(tmp_path, monkeypatch, capsys):
    pytest.importorskip("jinja2")
    chat_lm().save(tmp_path / MODEL_FILE)
    turns = iter([signal.SIGINT, signal.SIGTERM])
    said = []

    def answer(conversation, line, most):
        signal.raise_signal(next(turns))

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda prompt: said.append(prompt) or "what is it")
    monkeypatch.setattr("minitransformer.commands.chat.write", answer)
    assert cli.main(["chat", "--model", str(tmp_path)]) == 143
    assert len(said) == 2 and capsys.readouterr().err == "minitransformer: terminated\n"


def test_ctrl_c_is_heard_when_it_comes_during_a_finalizer_whose_exceptions_python_drops():
    class Finalized:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), signals.signals_raise([]):
        Finalized()
        for _ in range(500):
            time.sleep(0.01)


@pytest.mark.parametrize("unheard", [(), tuple(signals.SIGNALS)], ids=["heard", "unheard"])
def test_what_comes_while_a_process_is_born_is_heard_when_it_is(unheard):
    before, born = handlers(), []
    with pytest.raises(KeyboardInterrupt), processes.signals_blocked(*unheard):
        signal.raise_signal(signal.SIGINT)
        born.append("a process")
    assert born == ["a process"] and handlers() == before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.fixture
def begin(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return ["train", "--text", str(tmp_path / "text.txt"), "--out", str(tmp_path / "run"), *shlex.split(f"{RUN} 12")]


@OF_ALL
def test_a_run_is_saved_and_says_how_to_go_on(signum, status, words, begin, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(resuming, "Observer", lambda: At(7, lambda: signal.raise_signal(signum)))
    out = tmp_path / "run"
    assert cli.main([*begin, "--quiet"]) == status
    assert capsys.readouterr().err == (
        f"minitransformer: interrupted after step 7 of 12, saved in {out}; "
        f"to resume: {started_as('minitransformer')} train --out {out} --resume\n"
    )
    assert Checkpoint.read(out / MODEL_FILE).training["step"] == 7


def test_what_came_is_said_at_once_and_a_second_time_stops_at_once(begin, tmp_path, monkeypatch, capsys):
    said = []

    class Twice(ProgressBar):
        def record(self, record):
            if record["step"] == 7:
                signal.raise_signal(signal.SIGINT)
                said.append(capsys.readouterr().err)
                signal.raise_signal(signal.SIGTERM)
                pytest.fail("the second one must not come back")

    monkeypatch.setattr(resuming, "ProgressBar", Twice)
    assert cli.main(begin) == 143
    assert said[0].endswith("\nfinishing the step, then saving; press Ctrl-C again to stop immediately\n")
    out = tmp_path / "run"
    assert capsys.readouterr().err == (
        f"minitransformer: terminated; to resume: {started_as('minitransformer')} train --out {out} --resume\n"
    )
    assert Checkpoint.read(out / MODEL_FILE).training["step"] == 0


# In a separate process.

BEGUN = ["-m", "script"]


def program(name, begun, folder):
    """Return the command that begins a program, as `python -m` or as the script that an installation makes."""
    if begun == "-m":
        return [sys.executable, "-m", name]
    module = f"{name}.__main__"
    (folder / name).write_text(
        f"import sys\nfrom {module} import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    )
    return [sys.executable, str(folder / name)]


@pytest.mark.slow
@OF_ALL
@pytest.mark.parametrize("begun", BEGUN)
@pytest.mark.parametrize("name", ["minitransformer", "gradcheck"])
def test_while_a_program_is_imported_it_leaves_with_one_line(name, begun, signum, status, words, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "numpy.py").write_text(f"import signal\nsignal.raise_signal({int(signum)})\n")
    path = os.pathsep.join([str(elsewhere), str(Path(cli.__file__).parents[1])])
    done = subprocess.run(
        program(name, begun, tmp_path), env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"{name}: {words}\n")


@pytest.mark.parametrize("name", ["minitransformer.cli", "minitransformer.__main__", "gradcheck.__main__"])
def test_an_import_handles_no_signal(name):
    signals = "[signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]"
    code = f"import signal; before = {signals}; import {name}; assert {signals} == before"
    subprocess.run([sys.executable, "-c", code], cwd=Path(cli.__file__).parents[1], check=True)


@contextmanager
def endless(tmp_path, *more, **options):
    """Run an endless `train` in a new session until its folder holds some steps, and yield the process."""
    (tmp_path / "text.txt").write_text(TEXT)
    command = [sys.executable, "-m", "minitransformer", "train", *shlex.split(f"{RUN} 1000000"), *more]
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    process = subprocess.Popen(
        [*command, "--text", "text.txt", "--out", "run"],
        cwd=tmp_path,
        env=environment,
        text=True,
        start_new_session=True,
        **options,
    )
    try:
        metrics = tmp_path / "run" / METRICS_FILE
        while not (metrics.exists() and len(read_metrics(metrics)) > 20):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_machine_that_is_stopped_sends_all_processes_sigterm_and_the_run_is_saved(tmp_path):
    pytest.importorskip("threadpoolctl")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with endless(tmp_path, "--replicas", "2", "--quiet", **pipes) as process:
        os.killpg(process.pid, signal.SIGTERM)
        shown, said = process.communicate(timeout=60)  # until nobody is left who could write
    step = Checkpoint.read(tmp_path / "run" / MODEL_FILE).training["step"]
    assert step > 20 and (process.returncode, shown) == (143, "")
    assert re.fullmatch(rf"minitransformer: interrupted after step {step} of 1000000, saved in run; [^\n]*\n", said)


@pytest.mark.slow
def test_a_run_whose_terminal_is_closed_is_saved(tmp_path):
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    owns = {"preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}
    with endless(tmp_path, **streams, **owns) as process:
        os.close(theirs)
        os.close(ours)
        assert process.wait(60) == 129
    assert Checkpoint.read(tmp_path / "run" / MODEL_FILE).training["step"] > 20
