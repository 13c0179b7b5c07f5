"""Output that cannot be written: the reader has gone (`| head`), or the disk is full (`> /dev/full`).

Each command that prints answers with its exit status and at most one line, whether it fails while it prints or in the
very last flush, after which the interpreter itself would exit with status 120 and a traceback.
"""

import io
import json
import os
import subprocess
import sys
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest
from small_chats import chat_lm
from small_runs import TEXT, small_corpus, small_lm

import gradcheck.__main__
from gradcheck.front.exits import USAGE
from minitransformer import cli, commands
from minitransformer.bench import report
from minitransformer.commands import fetch, info
from minitransformer.training import Settings, pretrain

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device of a disk that is full")

FULL = {
    "minitransformer": "error: the output: No space left on device\n",
    "gradcheck": "the output: No space left on device\n",
}
FAILURE = {"minitransformer": cli.FAILURE, "gradcheck": USAGE}
RUN, TEXT_FILE, CHAT = "run", "text.txt", "chat.npz"  # the contents of `folder`
MINE_FILE, LONG_FILE = "mine.py", "long.py"
SMALL = "--layers 1 --heads 2 --width 8 --context 8 --steps 2 --batch-size 3 --sample-every 0 --quiet --no-plot"
PRINTING = {
    "demo": "--quick --out demo",
    "train": f"--text {TEXT_FILE} --out trained {SMALL}",
    "finetune": f"{RUN} --text {TEXT_FILE} --out tuned --steps 2 --last-blocks 1 --batch-size 2 --quiet --no-plot",
    "generate": f"--model {RUN} --prompt cat --max-new-tokens 3",
    "chat": f"--model {CHAT} --max-new-tokens 3",
    "fetch": "smollm2",
    "info": RUN,
    "analyze": f"{RUN} --text cat --json",
    "patterns": "--steps 2 --out patterns",
    "influence": f"{RUN} --prompt cat --answer-tokens 2 --quiet",
    "scale": "--sizes 900 --seeds 1 --steps 8 --workers 1 --out scaled",
    "misconceptions": "",
    "bench": "--sizes tiny --seconds 0.001 --rounds 1",
    "book": "--handout linear --quiet",
    "learn": "start --set first --out exercises",
    "verify": f"{RUN} --text cat",
}
SLOW = ("demo", "patterns", "scale", "bench")  # to do anything
SOME = ("train", "generate", "info", "book")  # in a plain run
HELP = ["", "--version", "--help", "train --help"]
MINE = """
import numpy as np
from gradcheck import Call, Case

def square(x):
    def backward(dy):
        return 3 * x * dy

    return x * x, backward

CASES = [Case("square", lambda rng: Call(square, rng.normal(size=3)))]
"""
GRADCHECK = [
    *(MINE_FILE, f"steps {MINE_FILE}:square"),  # which end with 1, as the gradient is wrong
    *("minitransformer -k relu", "", "museum", "museum 1"),
    *("--help", "audit --help", "steps --help", "museum --help"),
    f"audit {LONG_FILE} --list --draws 1",  # more than a buffer holds
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run of a few steps, its text, a model for conversations, and a gradient that is wrong."""
    folder = tmp_path_factory.mktemp("unwritable")
    text = folder / TEXT_FILE
    text.write_text(TEXT)
    pretrain(small_lm(), small_corpus(), Settings(steps=5), out=folder / RUN, about={"text": [str(text)]})
    chat_lm().save(folder / CHAT)
    (folder / MINE_FILE).write_text(MINE)
    (folder / LONG_FILE).write_text(MINE.replace("3 * x * dy", " + ".join(["x * dy"] * 20)))
    return folder


@contextmanager
def unwritable(output):
    """Open a file as a process's standard output may be: "gone" is a pipe that nobody reads, "full" a disk."""
    if output == "full":
        stream = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    else:
        reader, writer = os.pipe()
        os.close(reader)
        stream = os.fdopen(writer, "w")
    with stream:  # closing raises if anything is left to be written, as the interpreter's exit would
        yield stream


@pytest.fixture(params=["gone", "full"])
def output(request):
    return request.param


def run(main, arguments, output):
    with unwritable(output) as stream, redirect_stdout(stream):
        return main(arguments)


def assert_ended(output, program, status, said):
    """Assert the exit status and the messages: one line for a full disk, none for a reader that has ended."""
    assert (status, said) == {"gone": (141, ""), "full": (FAILURE[program], f"{program}: {FULL[program]}")}[output]


def test_every_command_is_tried():
    assert set(PRINTING) == set(commands.NAMES)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", [n if n in SOME else pytest.param(n, marks=pytest.mark.slow) for n in PRINTING])
def test_a_command_ends_with_a_status_and_at_most_one_line(name, output, folder, tmp_path, monkeypatch, capsys):
    for extra in ("matplotlib",) if name in SLOW else ("jinja2",) if name == "chat" else ():
        pytest.importorskip(extra)
    for entry in folder.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"what is it\n"), "utf-8"))
    monkeypatch.setattr(fetch, "fetch", lambda *_: Path("model.gguf"))
    status = run(cli.main, [name, *PRINTING[name].split()], output)
    said = capsys.readouterr().err.splitlines(keepends=True)
    if name in ("fetch", "bench"):  # these say on standard error how far they are
        said = [line for line in said if line.startswith("minitransformer: ")]
    assert_ended(output, "minitransformer", status, "".join(said))


@pytest.mark.parametrize("arguments", HELP)
def test_so_does_help(arguments, output, capsys):
    status = run(cli.main, arguments.split(), output)
    assert_ended(output, "minitransformer", status, capsys.readouterr().err)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("arguments", GRADCHECK)
def test_so_does_gradcheck(arguments, output, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    status = run(gradcheck.__main__.main, arguments.split(), output)
    assert_ended(output, "gradcheck", status, capsys.readouterr().err)


def test_what_bench_was_asked_to_write_is_written_though_nobody_reads(output, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "compare", lambda settings: {"sizes": {}})
    monkeypatch.setattr(report, "machine_line", lambda results: "a machine")
    monkeypatch.setattr(report, "comparison_lines", lambda results: ["a line"] * 9999)
    run(cli.main, ["bench", "--json", str(tmp_path / "found.json")], output)
    assert json.loads((tmp_path / "found.json").read_text()) == {"sizes": {}}


def test_a_verdict_that_nobody_could_read_is_a_failure_of_its_own(output, monkeypatch, capsys):
    monkeypatch.setattr(info, "run", lambda arguments: print("all that was found") or 3)
    assert_ended(output, "minitransformer", run(cli.main, ["info", RUN], output), capsys.readouterr().err)


def test_a_mistake_is_said_also_where_the_output_cannot_be_written(output, monkeypatch, capsys):
    def fail(arguments):
        print("half of it")
        raise ValueError("something is wrong")

    monkeypatch.setattr(info, "run", fail)
    assert run(cli.main, ["info", RUN], output) == cli.FAILURE
    assert capsys.readouterr().err == "minitransformer: error: something is wrong\n"


@pytest.mark.parametrize(
    "program, line", [(cli, "minitransformer: interrupted\n"), (gradcheck.__main__, "gradcheck: interrupted\n")]
)
def test_ctrl_c_while_the_last_of_it_is_written_is_one_line(program, line, monkeypatch, capsys):
    class Slow(io.StringIO):
        errors = "strict"  # as IDLE's output says of itself; neither has an encoding that could be changed
        flushed = 0

        def flush(self):
            self.flushed += 1
            if self.flushed == 1:
                raise KeyboardInterrupt

    with redirect_stdout(Slow()):
        assert program.main(["--help"]) == 130
    assert capsys.readouterr().err == line


def ended(command, folder, unbuffered=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE):
    """Let the shell run `python -m COMMAND` in a folder. Returns (exit status, standard error)."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment |= {"PYTHONUNBUFFERED": "1"} if unbuffered else {}
    line = f"exec '{sys.executable}' -m {command}"
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=environment, stdout=stdout, stderr=stderr, text=True)
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "command", [f"minitransformer generate --model {RUN} --prompt cat", "gradcheck minitransformer -k relu"]
)
def test_streams_that_were_closed_before_the_program_began_are_no_error(command, closed, folder):
    assert ended(f"{command} {closed}", folder) == (0, "")


@pytest.mark.parametrize(
    "main, arguments", [(cli.main, ["demo", "--help"]), (gradcheck.__main__.main, ["museum", "1"])]
)
def test_a_character_that_the_output_cannot_hold_is_a_question_mark(main, arguments):
    written = []
    for encoding, errors in (("utf-8", "strict"), ("latin-1", "strict"), ("ascii", "surrogateescape")):
        with redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding, errors)) as stream:
            assert main(arguments) == 0
        written.append(stream.buffer.getvalue())
    assert written[1] == written[0].decode().encode("latin-1", "replace")
    assert written[2] == written[0].decode().encode("ascii", "replace")


@pytest.mark.parametrize("encoding, errors", [("utf-8", "strict"), ("latin-1", "strict"), ("ascii", "surrogateescape")])
def test_a_files_name_is_written_as_its_bytes_are(encoding, errors, monkeypatch):
    monkeypatch.setattr(info, "run", lambda arguments: print("a\udcff\udc80b☃c") or 0)
    with redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding, errors)) as stream:
        assert cli.main(["info", RUN]) == 0
    assert stream.buffer.getvalue() == (b"a\xff\x80b\xe2\x98\x83c\n" if encoding == "utf-8" else b"a??b?c\n")
