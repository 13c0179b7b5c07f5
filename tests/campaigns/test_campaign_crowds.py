"""Several at once in one folder: whoever may work there does it as if alone, and the others are told so in one line."""

import json
import shutil
import threading
import time
from dataclasses import replace
from functools import cache, partial

import pytest
from campaign import MEGABYTE, Forked, Limits, called, complaints_about_end, copied, in_a_process
from small_runs import SETTINGS, TEXT, At, assert_same_weights, small_corpus, small_lm, weights, without_seconds

from minitransformer import LanguageModel, cli
from minitransformer.training import pretrain

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SMALL = "--layers 1 --heads 2 --width 8 --context 8 --batch-size 3 --sample-every 0 --checkpoint-every 1 --eval-every 5"
TRAIN = f"train --text book.txt --out run --steps 20 --replicas 1 --quiet --no-plot {SMALL}"
TUNE = "finetune trained.npz --text book.txt --out run --steps 15 --checkpoint-every 1 --quiet --no-plot"
GO_ON = "train --out run --resume --quiet --no-plot"
# Two commands that begin at about the same time, the folder of which they find there, and how many trials.
CROWDS = {
    "two that begin": (f"{TRAIN} --seed 1", f"{TRAIN} --seed 2", None, 1),
    "two that begin anew": (f"{TRAIN} --seed 1 --force", f"{TRAIN} --seed 2 --force", "over", 0.5),
    "two that go on": (GO_ON, GO_ON, "stopped", 1),
    "one that goes on and one that begins anew": (GO_ON, f"{TRAIN} --seed 2 --force", "stopped", 0.5),
    "fine-tuning and training": (f"{TUNE} --force", f"{TRAIN} --force", None, 0.5),
    "two of fine-tuning": (f"{TUNE} --seed 1", f"{TUNE} --seed 2", None, 0.5),
    "two families": ("scale --sizes 900 --seeds 1 --steps 8 --workers 1 --out run",) * 2 + (None, 0.1),
    "two of patterns": ("patterns --steps 2 --out run", "patterns --steps 2 --seed 1 --out run", None, 0.05),
}
LIMITS = Limits(memory=1000 * MEGABYTE, seconds=60)  # the picture of a family alone takes some seconds
TOLD = ("is at work", "holds a run already")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what commands are given, and runs that are over and stopped."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "book.txt").write_text(TEXT)
    small_lm(n_layers=2).save(folder / "trained.npz")
    cli.build_parser()  # which imports the commands, for all runs
    assert in_a_process(partial(called, TRAIN), folder=folder).status == 0
    (folder / "run").rename(folder / "over")
    about = {"text": ["book.txt"], "tokenizer": "char", "vocab_size": None}
    with pytest.raises(ZeroDivisionError):
        settings = replace(SETTINGS, steps=20, checkpoint_every=1)
        stop = At(7, lambda: 1 / 0)
        pretrain(small_lm(), small_corpus(), settings, out=folder / "stopped", observer=stop, about=about)
    return folder


@pytest.mark.parametrize("name", CROWDS)
def test_of_two_in_one_folder_each_does_its_work_as_if_alone_or_is_told(campaign, place, tmp_path_factory, name):
    *commands, found, count = CROWDS[name]

    @cache
    def alone(command):
        """Return the folder that a command leaves when it is alone."""
        folder = furnished(place, tmp_path_factory.mktemp("alone"), found)
        assert in_a_process(partial(called, command), folder=folder, limits=LIMITS).status == 0
        return folder / "run"

    for trial in campaign.trials(count):
        furnished(place, trial.folder, found)
        delays = [0, trial.random.choice((0, trial.random.uniform(0, 0.4)))]
        start = time.monotonic() + 0.05
        processes = [
            Forked(partial(begin_at, start + delay, command), folder=trial.folder, limits=LIMITS)
            for command, delay in zip(commands, delays, strict=True)
        ]
        ended = [process.wait() for process in processes]
        trial.about = f"delay {delays[1]:.3f} s: {', '.join(f'{e.status} {e.err.strip()}' for e in ended)}"
        for e in ended:
            trial.complain(*e.complaints(), *complaints_about_end(e))
            if e.status != 0 and not any(words in e.err for words in TOLD):
                trial.complain(f"fails, and says not that another is at work: {e.err.strip()}")
        done = [command for command, e in zip(commands, ended, strict=True) if e.status == 0]
        if not done:
            trial.complain("neither did its work")
        elif not any(is_left_by(trial.folder / "run", alone(command)) for command in done):
            trial.complain("what is left is that of none of those who did their work")


def begin_at(moment, command) -> int:
    """Run a command, begun at a moment. Returns its exit status."""
    time.sleep(max(moment - time.monotonic(), 0))
    return called(command)


def furnished(place, folder, found):
    """Copy what commands need to a folder, `found` as the run that they find."""
    copied(("book.txt", "trained.npz"), place, folder)
    if found is not None:
        shutil.copytree(place / found, folder / "run")
    return folder


def is_left_by(folder, alone) -> bool:
    """Whether a folder holds what the command left that was alone: the same files, model and metrics."""
    try:
        for path in alone.rglob("*.npz"):
            there = folder / path.relative_to(alone)
            assert_same_weights(LanguageModel.load(path), LanguageModel.load(there))
            assert without_seconds(path.with_name("metrics.jsonl")) == without_seconds(there.with_name("metrics.jsonl"))
        for path in folder.rglob("*.json"):
            json.loads(path.read_bytes())
    except (AssertionError, OSError, ValueError):
        return False
    return names_in(folder) == names_in(alone)


def names_in(folder) -> list[str]:
    """Return the names of all that is in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_whoever_saves_to_one_path_at_once_saves_and_whoever_reads_reads_one_of_them_whole(campaign):
    models = [small_lm(seed=seed) for seed in range(4)]
    for trial in campaign.trials(2):
        path = trial.folder / "model.npz"
        if trial.random.random() < 0.3:
            path.symlink_to("file.npz")
        models[0].save(path)
        works = save_often, save_often, read_often
        processes = [Forked(partial(work, path, models)) for work in works]
        for process in processes:
            trial.judge(process.wait())
        trial.complain(*read_often(path, models, times=1))
        names = names_in(trial.folder)
        if names not in (["model.npz"], ["file.npz", "model.npz"]):
            trial.complain(f"files left behind: {', '.join(names)}")


def save_often(path, models, times=8) -> list[str]:
    """Save each model to one path so many times, at once, in a thread each. Returns what went wrong."""
    complaints = []

    def save(model):
        try:
            for _ in range(times):
                model.save(path)
        except Exception as error:
            complaints.append(f"cannot save: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=save, args=[model]) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return complaints


def read_often(path, models, times=30) -> list[str]:
    """Load what is at a path so many times. Returns what is not one of the models."""
    complaints, known = [], [weights(model) for model in models]
    for _ in range(times):
        try:
            read = weights(LanguageModel.load(path))
        except (OSError, ValueError) as error:
            complaints.append(f"cannot read: {error}")
            continue
        if not any(all(read[name].tobytes() == model[name].tobytes() for name in read) for model in known):
            complaints.append("read a model that nobody saved")
    return complaints
