"""Whatever is typed: a command does it, or says in one line why not, and Ctrl-C ends it.

The options are those that the commands' own parsers list, with values that are right, odd or absurd. Commands are
called in a process that has all imported. What takes longer than a moment is interrupted. (Streams that are closed or
full are in tests/commands/test_unwritable_output.py.)
"""

import argparse
import itertools
import os
import shutil
import signal
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from damage import BOMBS, EVIL
from forked import MAIN, MEGABYTE, Forked, Limits, called, complaints_about_end, copied, trials
from hypothesis import given, note, strategies as st
from refusals import render
from small_chats import chat_tokenizer

from gradcheck.__main__ import MODULES
from gradcheck.front.exits import INTERRUPTED
from minitransformer import cli, commands

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

LIMITS = Limits(memory=1200 * MEGABYTE, seconds=20)  # how large an array is, is the user's to say
A_MOMENT = 3  # seconds of work between Ctrl-C and the end

# Ordinary arguments of each command, with which it ends soon. "" stands for positional arguments.
SOUND = {
    "minitransformer train": "--text book.txt --out new --layers 1 --width 8 --heads 2 --context 8 --steps 3 "
    "--batch-size 2 --replicas 1 --sample-every 0 --quiet --no-plot",
    "minitransformer generate": "--model small.npz --prompt cat --max-new-tokens 3",
    "minitransformer finetune": " small.npz --text book.txt --out new --steps 2 --last-blocks 1 --quiet --no-plot",
    "minitransformer info": " small.npz",
    "minitransformer analyze": " small.npz --text cat --quiet",
    "minitransformer influence": " run --prompt cat --passages 25 --answer-tokens 2 --quiet",
    "minitransformer chat": "--model chat.npz --max-new-tokens 3",
    "minitransformer verify": " small.npz --text cat",
    "minitransformer fetch": " smollm2 --out new",
    "minitransformer patterns": "--steps 2 --out new",
    "minitransformer scale": "--sizes 900 --seeds 1 --steps 8 --workers 1 --out new",
    "minitransformer misconceptions": "--out new",
    "minitransformer demo": "--quick --out new",
    "minitransformer book": "--worksheet softmax --level 1 --count 2 --seed 3 --out new --quiet",
    "minitransformer learn": " start --set first --level 0 --out new",
    "minitransformer bench": "--sizes tiny --seconds 0.001 --rounds 1",
    "minitransformer": "",
    "gradcheck": " mine.py",
    "gradcheck steps": " mine.py",
    "gradcheck certify": " mine.py",
    "gradcheck audit": " mine.py --sample 2 --jobs 1 --draws 1",
    "gradcheck museum": " 1",
    "gradcheck identities": " 1",
    "gradcheck compare": " SciPy",
}
# Commands that exit with 1 if they succeed and their result is negative.
FOUND = (
    *("minitransformer finetune", "minitransformer verify", "minitransformer scale"),
    *("gradcheck", "gradcheck steps", "gradcheck certify"),
)

FILES = {
    "empty": b"",
    "binary": bytes(range(256)) * 9,
    "mine.py": b"""
import numpy as np
from gradcheck import Call, Case

def square(x):
    def backward(dy):
        return 2 * x * dy

    return x * x, backward

CASES = [Case("square", lambda rng: Call(square, rng.normal(size=3)))]
""",
    "exits.py": b"raise SystemExit(3)\n",
    "breaks.py": b"def f(:\n",
    "raises.py": b"raise ValueError('\\x1b]0;owned\\x07\\nand more')\n",
    "caseless.py": b"CASES = 3\n",
}

INTEGERS = (
    *("0", "1", "2", "3", "7", "-1", "100", "1000000", "1000000000", str(2**31), str(2**63), str(10**23)),
    *(str(-(10**23)), "1.5", "1e3", "", " ", "x", "1_000", " 7 ", "٣", "0x10", "9" * 4400, "None", "nan", "True", EVIL),
)
NUMBERS = ("0", "1", "-1", "0.5", "1e-300", "1e308", "1e400", "-1e400", "nan", "inf", "1_0", "٣.٣", "", "x", "9" * 4400)
TEXTS = (
    *("cat", "the cat sat", "", " ", "\n", "a\nb", "a" * 3000, "é", "日本", "\udc80", "\u202e", "🙂", EVIL, "-", "-x"),
    *("--", "%s %(x)s {0} {x}", "\\", "'", '"', "*", "blocks.*", "[", "(", "<|im_end|>", "\u2028"),
)
ODD_PATHS = (
    *("missing", "missing/deeper", "", ".", "..", "empty", "binary", "run", "small.npz", "book.txt", "book.txt/x"),
    *("fifo", "loop", "x" * 300, "a\nb", EVIL, "\udc80", "-", "~", "new", "x" * 4400, "mine.py"),
)
READ_PATHS = (
    *(*ODD_PATHS, "chat.npz", "talks", "llama.gguf", "shards", "pairs.jsonl", "template.jinja", "tuned", "preferring"),
    *("/dev/null", "/dev/zero", "/proc/self/mem", "/", "politeness", *FILES, "mine.py:square", "mine.py:nothing", "os"),
)
STDIN = (b"", b"cat\n", b"the cat\n\nthe mat\n", b"\xff\xfe", b"\x00", EVIL.encode(), b"a" * 30_000, b"\n")


def parser_of(command) -> argparse.ArgumentParser:
    """Return the parser that a command reads its arguments with."""
    program, *words = command.split()
    if program == "gradcheck":
        name = words[0] if words else "check"
        return getattr(import_module(f"gradcheck.{MODULES[name]}"), f"{name}_parser")()
    parser = cli.build_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices[words[0]] if words else parser


def arguments(command, parser, random) -> list[str]:
    """Return arguments: the sound ones, some left out or with odd values, and some others."""
    options = {}  # option, or "": its values
    for word in SOUND[command].split(" "):
        if word.startswith("--") or not word:
            values = options.setdefault(word, [])
        else:
            values.append(word)
    actions = {option: action for action in parser._actions for option in action.option_strings or [""]}
    for option in list(options):
        fate = random.random()
        if fate < 0.08:
            del options[option]
        elif fate < 0.2 and option in actions:
            options[option] = odd_values(option, actions[option], random)
    for _ in range(random.choice((0, 0, 1, 1, 2, 3))):
        option, action = random.choice(list(actions.items()))
        if option not in ("-h", "--help", "--version", "-V", "--traceback"):
            options[option] = odd_values(option, action, random)
    if random.random() < 0.05:
        options[random.choice(("--nothing", "--help", "-h", "-x", "--", "extra"))] = []
    words = [[option, *values] if option else values for option, values in options.items()]
    random.shuffle(words)
    return list(itertools.chain.from_iterable(words))


def odd_values(option, action, random) -> list[str]:
    """Return values for an option, right or odd, most often as many as it takes."""
    if action.nargs == 0:
        return []
    count = {None: 1, "?": 1, "+": random.randrange(1, 4), "*": random.randrange(4)}.get(action.nargs, action.nargs)
    count = random.choice((0, 1, 2, 5)) if random.random() < 0.04 or not isinstance(count, int) else count
    values = TEXTS
    if action.choices is not None and random.random() < 0.8:
        values = list(map(str, action.choices))
    elif action.type is int or "N" in str(action.metavar):
        values = INTEGERS
    elif action.type is float or action.metavar == "X":
        values = NUMBERS
    elif option in ("--out", "--json"):
        values = ODD_PATHS
    elif random.random() < 0.9 and action.metavar in ("FILE", "FOLDER", "MODEL", "MODULE", "TARGET", None):
        values = READ_PATHS
    return [random.choice(values) for _ in range(count)]


@pytest.fixture(scope="module")
def place(sound, tmp_path_factory):
    """A folder with the files that commands read."""
    names = ("book.txt", "small.npz", "run", "chat.npz", "talks", "llama.gguf", "pairs.jsonl", "tuned", "shards")
    folder = copied(names, sound, tmp_path_factory.mktemp("place"))
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def test_every_command_is_tried():
    names = [f"minitransformer {name}" for name in commands.NAMES]
    assert {*SOUND} == {*MAIN, *names, *(f"gradcheck {name}".removesuffix(" check") for name in MODULES)}


@trials(1)
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("command", SOUND)
def test_a_command_does_what_is_typed_or_says_in_one_line_why_not(place, command, monkeypatch, seed):
    random = Random(seed)
    program, *words = command.split()
    words += arguments(command, parser_of(command), random)
    note(f"{program} {' '.join(map(repr, words))}")
    with TemporaryDirectory() as temporary:
        monkeypatch.setenv("PIP_NO_INDEX", "1")  # nothing is fetched from anywhere
        monkeypatch.setenv("XDG_CACHE_HOME", f"{temporary}/cache")
        folder = Path(shutil.copytree(place, f"{temporary}/place"))
        os.mkfifo(folder / "fifo")
        (folder / "loop").symlink_to("loop")
        process = Forked(partial(called, words, program), folder=folder, stdin=random.choice(STDIN), limits=LIMITS)
        interrupted, complaints = interrupt(process, random)
        ended = process.wait()
    complaints += ended.complaints() + complaints_about_end(ended)
    assert complaints + complaints_about_status(command, ended, interrupted) == []


def interrupt(process, random) -> tuple[bool, list[str]]:
    """Send Ctrl-C to a process that still runs after a moment, and again if it does not end.

    Return whether it was sent, and the faults: the first must at once end it or be answered, the second end it.
    """
    if process.is_over(random.uniform(0.2, 3)):
        return False, []
    process.send(signal.SIGINT)
    before, complaints = process.said(), []
    if not process.is_over_soon(A_MOMENT):
        if process.said() == before:
            complaints.append(f"no answer to Ctrl-C after {A_MOMENT} s of work")
        process.send(signal.SIGINT)
        if not process.is_over_soon(A_MOMENT):
            complaints.append(f"still at work {A_MOMENT} s after the second Ctrl-C")
            process.send(signal.SIGKILL)
    return True, complaints


def complaints_about_status(command, ended, interrupted) -> list[str]:
    """Return the faults of a command's exit status and of its message on memory."""
    said, line = [], ended.err.strip().rpartition("\n")[2]
    if ended.status == INTERRUPTED and not interrupted:
        said.append(f"says that it was interrupted, and was not: {line}")
    if ended.status == 1 and ended.out and not ended.err and command not in FOUND:
        said.append(f"failed without a word: {ended.out[-100:]}")
    if "allocate" in line and "--" not in line:
        said.append(f"says not which option asks for so much memory: {line}")
    return said


@trials(1)
@given(seed=st.integers(0, 2**32))
def test_ctrl_c_ends_a_chat_template_that_takes_long(seed):
    random = Random(seed)
    template = random.choice(BOMBS).replace("N", str(10**9))
    note(template)
    process = Forked(partial(render, chat_tokenizer(chat_template=template)), limits=LIMITS)
    _, complaints = interrupt(process, random)
    assert complaints + process.wait().complaints() == []
