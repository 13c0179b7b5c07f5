"""A run that is killed, stopped or out of disk, again and again, at any moment, ends as one that nobody disturbed.

A run begins, is ended at a moment drawn at random, and resumed, until it is over: with the same model to the bit, the
same metrics and the same files as a run that was left alone. The moment is a number of calls, of Python's functions or
C's, so that it can be found again; most of them lie in the middle of writing a checkpoint, of which there is one a
step.
"""

import configparser
import json
import os
import re
import signal
import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from forked import Ended, Forked, Limits, called, complaints_about_end, copied, trials
from hypothesis import given, note, strategies as st
from small_pairs import ROWS
from small_runs import TEXT, assert_same_weights, small_lm, without_seconds

from gradcheck.front.exits import INTERRUPTED
from minitransformer import LanguageModel, cli
from minitransformer.system.archive import ArchiveError
from minitransformer.training.checkpoints import Checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SMALL = "--layers 1 --heads 2 --width 8 --context 8 --dropout 0.1 --batch-size 4 --sample-every 0 --checkpoint-every 1"
TUNING = "--steps 6 --batch-size 3 --checkpoint-every 1 --eval-every 3"
RUNS = {
    "pretraining": f"train --text book.txt --steps 8 --eval-every 3 --replicas 1 {SMALL}",
    "pretraining by replicas": f"train --text book.txt --steps 5 --eval-every 2 --replicas 2 {SMALL}",
    "fine-tuning on a text": f"finetune trained.npz --text book.txt {TUNING} --last-blocks 1",
    "fine-tuning on pairs": f"finetune trained.npz --data pairs.txt --general book.txt --lora 2 --prompt cat {TUNING}",
}
TO_FOLDER = "--out run --quiet --no-plot"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A folder with the files that the runs read."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "book.txt").write_text(TEXT)
    (folder / "pairs.txt").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:8]))
    small_lm(context=24, n_layers=2).save(folder / "trained.npz")
    cli.build_parser()  # which imports the commands, for all runs
    return folder


def undisturbed(command, folder):
    """Run a command that is left alone. Returns the folder and {where: how many calls}."""
    ended = Forked(partial(calls_of, f"{command} {TO_FOLDER}"), folder=folder).wait()
    assert ended.answer[0] == 0, ended.err
    calls = dict(zip((ANYWHERE, IN_WRITING), ended.answer[1:], strict=True))
    return folder, calls


ANYWHERE, IN_WRITING = "", ("archive.py", "zipfile")


class Calls:
    """Counts the calls, of Python's functions and of C's, and sends this process a signal at some of them.

    Only calls from files whose name begins or ends with `where` (or one of several) count.
    """

    def __init__(self, where, moments=(), number=None):
        self.where, self.moments, self.number, self.count = where, set(moments), number, 0

    def __call__(self, frame, event, argument):
        name = frame.f_code.co_filename
        if self.where and not any(part in name for part in self.where):
            return
        self.count += 1
        if self.count in self.moments:
            os.kill(os.getpid(), self.number)


def watched(command, calls) -> int:
    """Run a command while its calls are counted. Returns its exit status."""
    sys.setprofile(calls)
    status = called(command)
    sys.setprofile(None)
    return status


def calls_of(command):
    """Run a command. Returns its exit status, and how many calls that took, anywhere and in writing."""
    anywhere, in_writing = Calls(ANYWHERE), Calls(IN_WRITING)

    def both(*event):
        anywhere(*event)
        in_writing(*event)

    return [watched(command, both), anywhere.count, in_writing.count]


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """undisturbed() of the run of a name."""
    return cache(
        lambda name: undisturbed(RUNS[name], copied(os.listdir(start), start, tmp_path_factory.mktemp("whole")))
    )


def lives(name, start, whole, random):
    """Run a command that is ended at random moments, and resumed until it is over. Returns its lives and the faults."""
    command, (expected, calls) = RUNS[name], whole(name)
    with TemporaryDirectory() as temporary:
        folder, story, complaints = copied(os.listdir(start), start, Path(temporary)), [], []
        kills = random.randrange(1, 6)
        for life in range(kills + 1):
            resumes = (folder / "run" / "model.npz").exists()
            words = f"{command.split()[0]} {TO_FOLDER} --resume" if resumes else f"{command} {TO_FOLDER}"
            end = random.choice(ENDS) if life < kills else left_alone
            ended, about, found = end(words, folder, random, calls)
            story.append(f"{'resumed, ' if resumes else ''}{about}: {ended.status}")
            complaints += found + what_is_left(folder / "run", resumes)
            if ended.status == 0:
                return story, complaints + ends_otherwise(folder / "run", expected / "run")
        return story, [*complaints, f"never over: {ended.err.strip()}"]


@trials(1)
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_ended_at_any_moments_and_resumed_ends_as_if_it_had_not_been(start, whole, name, seed):
    story, complaints = lives(name, start, whole, Random(seed))
    assert complaints == [], story


# How a life ends. Each returns how the process ended, in words how that came, and the faults.


def left_alone(command, folder, random, calls) -> tuple[Ended, str, list]:
    ended = Forked(partial(called, command), folder=folder).wait()
    return ended, "left alone", ended.complaints()


def killed(command, folder, random, calls) -> tuple[Ended, str, list]:
    """It is killed at one of its calls."""
    where, moment = a_moment(random, calls)
    ended = Forked(partial(watched, command, Calls(where, {moment}, signal.SIGKILL)), folder=folder).wait()
    complaints = ended.complaints(signal.SIGKILL)
    if ended.status not in (0, -signal.SIGKILL):
        complaints.append(f"the exit status {ended.status} of one that was killed: {ended.err.strip()}")
    return ended, f"killed at call {moment:,} {' or '.join(where)}", complaints


def a_moment(random, calls) -> tuple:
    """Draw a call: where the calls are that count, and which of them it is."""
    where = random.choice((ANYWHERE, IN_WRITING))
    return where, random.randrange(calls[where])


def stopped(number, status, command, folder, random, calls) -> tuple[Ended, str, list]:
    """It gets a signal at one of its calls, and sometimes a second one soon after."""
    where, moment = a_moment(random, calls)
    moments = {moment, moment + int(10 ** random.uniform(1, 4))} if random.random() < 0.3 else {moment}
    ended = Forked(partial(watched, command, Calls(where, moments, number)), folder=folder).wait()
    complaints = [*ended.complaints(number), *complaints_about_end(ended)]
    if ended.status not in (0, status):
        complaints.append(f"the exit status {ended.status}")
    for step in re.findall(r"after step (\d+)", ended.err):
        saved = Checkpoint.read(folder / "run" / "model.npz").training["step"]
        if saved != int(step):
            complaints.append(f"step {saved} was saved, and it says: {ended.err.strip()}")
    return ended, f"{number.name} at call {', '.join(map(str, sorted(moments)))} {' or '.join(where)}", complaints


def out_of_disk(command, folder, random, calls) -> tuple[Ended, str, list]:
    """No file may have more than some bytes."""
    most = random.choice((0, 1, 100, 1000, random.randrange(60_000)))
    ended = Forked(partial(called, command), folder=folder, limits=Limits(file=most)).wait()
    complaints = [*ended.complaints(), *complaints_about_end(ended, ["run", "replicas"])]
    return ended, f"files of {most:,} bytes at most", complaints


ENDS = (
    *[killed] * 4,
    partial(stopped, signal.SIGINT, INTERRUPTED),
    partial(stopped, signal.SIGTERM, 128 + signal.SIGTERM),
    out_of_disk,
)


def what_is_left(folder, was_there) -> list[str]:
    """Return the faults of a stopped run's folder: its checkpoint is missing or incomplete."""
    if not (folder / "model.npz").exists():
        return ["a file lost: model.npz"] if was_there else []
    try:
        Checkpoint.read(folder / "model.npz")
    except (ArchiveError, OSError) as error:
        return [f"half written: {error}"]
    return []


def ends_otherwise(folder, expected) -> list[str]:
    """Return the differences between the folder of a finished run and that of an undisturbed one."""
    complaints = []
    try:
        assert_same_weights(LanguageModel.load(folder), LanguageModel.load(expected))
    except (AssertionError, ArchiveError) as error:
        complaints.append(f"another model: {error}")
    try:
        if without_seconds(folder / "metrics.jsonl") != without_seconds(expected / "metrics.jsonl"):
            complaints.append("other metrics")
    except ValueError as error:
        complaints.append(f"other metrics: {error}")
    names, expected_names = (sorted(path.name for path in place.iterdir()) for place in (folder, expected))
    if names != expected_names:
        complaints.append(f"other files: {' '.join(names)}, and should be {' '.join(expected_names)}")
    modes = {oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}
    if len(modes) > 1:
        complaints.append(f"files of modes {' and '.join(sorted(modes))} in one folder")
    return complaints


# From the first moment: while Python imports the package.

SCRIPT = """
import os, signal, sys

def count(frame, event, argument):
    global left
    if left < {calls} or (event == "return" and frame.f_code.co_filename.endswith("front/signals.py")):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGINT)

left = {calls}
sys.setprofile(count)
from {module} import {function}
sys.exit({function}())
"""  # as pip writes it, but that Ctrl-C comes some calls after the import of the first file, which tells what it does
WORDS = {"minitransformer": ["--version"], "gradcheck": ["museum", "1"]}


def scripts():
    """Yield (name, module, function) of each console script."""
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg", encoding="utf-8")
    for line in setup["options.entry_points"]["console_scripts"].split("\n"):
        if line:
            name, _, target = line.partition(" = ")
            yield name, *target.split(":")


@trials(2)
@given(seed=st.integers(0, 2**32))
def test_ctrl_c_is_one_line_from_the_first_moment(tmp_path, seed):
    random = Random(seed)
    name, module, function = random.choice(list(scripts()))
    calls = int(10 ** random.uniform(2.7, 5.8))
    note(f"{name}, Ctrl-C at call {calls:,}")
    script = tmp_path / name
    script.write_text(SCRIPT.format(calls=calls, module=module, function=function))
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    done = subprocess.run([sys.executable, script, *WORDS[name]], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) in [(0, ""), (INTERRUPTED, f"{name}: interrupted\n")]
