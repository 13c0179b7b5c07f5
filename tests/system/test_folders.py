"""One run at a time is at work in a folder: another is told so before it touches anything there."""

import errno
import io
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import small_runs
from small_runs import SETTINGS, TEXT, assert_same_weights, small_corpus, small_lm

from minitransformer import cli
from minitransformer.experiments.sweep import sweep
from minitransformer.system import files, folders
from minitransformer.system.files import TEMPORARY_END, TEMPORARY_START, write_atomically
from minitransformer.system.folders import LOCK_FILE, at_work_in
from minitransformer.training import Settings, pretrain

AT_WORK = (
    rf"another run \(process {os.getpid()}, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\) is at work here; wait for its end"
)
LEFTOVER = f"{TEMPORARY_START}0123456789abcdef{TEMPORARY_END}"


def in_another_thread(function):
    """Return the result of function(), or its exception, in a separate thread."""
    results = []

    def run():
        try:
            results.append(function())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results[0]


def try_to_work_in(folder):
    """Return None, or the exception that says why a run cannot begin there now."""

    def work():
        with at_work_in(folder):
            return

    return in_another_thread(work)


@pytest.fixture
def busy(tmp_path):
    """A folder where another run is at work."""
    with folders.take(tmp_path / "busy"):
        yield tmp_path / "busy"


def contents(folder):
    """Return {name: (bytes, time of writing)} of the files in a folder."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}


# One at a time


def test_another_run_is_refused_in_words_and_let_in_when_the_first_is_over(tmp_path):
    with at_work_in(tmp_path):
        refusal = try_to_work_in(tmp_path)
    assert isinstance(refusal, BlockingIOError) and refusal.errno == errno.EWOULDBLOCK
    assert refusal.filename == str(tmp_path) and re.match(AT_WORK, refusal.strerror)
    assert try_to_work_in(tmp_path) is None and os.listdir(tmp_path) == []


def test_a_folder_by_another_name_is_the_same(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with at_work_in(tmp_path / "folder"):
        assert isinstance(try_to_work_in(tmp_path / "link"), BlockingIOError)
        with at_work_in(tmp_path / "link"):
            pass
        assert isinstance(try_to_work_in(tmp_path / "link"), BlockingIOError)


def test_a_lock_file_that_was_left_lying_about_keeps_nobody_out(tmp_path):
    (tmp_path / LOCK_FILE).write_text("4711 since 1999-12-31 23:59:59\n")
    with at_work_in(tmp_path):
        assert re.match(AT_WORK, try_to_work_in(tmp_path).strerror)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"4711", b"\x1b]0;title\x07 since yesterday\n", b"\xff" * 200])
def test_a_lock_that_does_not_say_whose_it_is_holds_all_the_same(tmp_path, content):
    with at_work_in(tmp_path):
        (tmp_path / LOCK_FILE).write_bytes(content)
        assert try_to_work_in(tmp_path).strerror.startswith("another run is at work here; wait for its end")


def test_a_lock_on_a_file_that_has_been_removed_is_not_enough(tmp_path, monkeypatch):
    removed, real = [], folders.lock

    def lock(file):
        free = real(file)
        if not removed:  # as if the run before had ended between the opening and the locking
            removed.append(os.unlink(tmp_path / LOCK_FILE))
        return free

    monkeypatch.setattr(folders, "lock", lock)
    with at_work_in(tmp_path):
        assert removed and isinstance(try_to_work_in(tmp_path), BlockingIOError)


def test_a_lock_file_that_took_the_place_of_ones_own_is_left_alone(tmp_path):
    with at_work_in(tmp_path):
        (tmp_path / LOCK_FILE).unlink()
        other = folders.take(tmp_path)
    with other:
        assert isinstance(try_to_work_in(tmp_path), BlockingIOError)


# Contents of a folder


@pytest.mark.parametrize("plant", [os.symlink, os.link])
def test_a_link_in_the_locks_place_is_named_and_leads_nowhere(tmp_path, plant):
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_bytes(b"precious")
    folder.mkdir()
    plant(victim, folder / LOCK_FILE)
    with pytest.raises(OSError, match="cannot write there: Too many") as caught, at_work_in(folder):
        pass
    assert caught.value.filename == str(folder / LOCK_FILE)
    assert victim.read_bytes() == b"precious"


def test_what_was_left_half_written_is_removed_but_not_what_somebody_is_writing(tmp_path):
    (tmp_path / LEFTOVER).write_bytes(b"half")
    (tmp_path / f"{TEMPORARY_START}folder{TEMPORARY_END}").mkdir()
    (tmp_path / f"{TEMPORARY_START}folder{TEMPORARY_END}" / "config.json").write_bytes(b"half")
    (tmp_path / "mine.tmp").write_bytes(b"mine")

    def write(file):
        file.write(b"new")
        assert try_to_work_in(tmp_path) is None

    write_atomically(tmp_path / "model.npz", write)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model.npz": b"new", "mine.tmp": b"mine"}


def test_nothing_is_removed_where_another_run_is_at_work(busy):
    (busy / LEFTOVER).write_bytes(b"half")
    assert isinstance(try_to_work_in(busy), BlockingIOError)
    assert (busy / LEFTOVER).read_bytes() == b"half"


def test_a_link_that_looks_like_a_leftover_is_removed_and_not_what_it_leads_to(tmp_path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for place in (folder, elsewhere):
        place.mkdir()
    (elsewhere / "file").write_bytes(b"precious")
    (folder / LEFTOVER).symlink_to(elsewhere / "file")
    (folder / f"{TEMPORARY_START}folder{TEMPORARY_END}").symlink_to(elsewhere)
    with at_work_in(folder):
        pass
    assert (elsewhere / "file").read_bytes() == b"precious" and not (folder / LEFTOVER).is_symlink()


def test_a_folder_that_is_new_and_stays_empty_is_removed(tmp_path):
    with pytest.raises(ZeroDivisionError), at_work_in(tmp_path / "runs" / "new"):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []
    (tmp_path / "old").mkdir()
    with at_work_in(tmp_path / "old"), at_work_in(tmp_path / "runs" / "new"):
        (tmp_path / "runs" / "new" / "model.npz").write_bytes(b"new")
    assert sorted(os.listdir(tmp_path)) == ["old", "runs"] and os.listdir(tmp_path / "runs" / "new") == ["model.npz"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(PermissionError, match=f"cannot write there: Permission denied: '{tmp_path}'"):
            folders.take(tmp_path)
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_full_disk_is_named_before_any_work_and_no_lock_is_left(tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(
        folders, "open", lambda path, mode, buffering, opener: Full(path, mode, opener=opener), raising=False
    )
    with pytest.raises(OSError, match="cannot write there: No space left on device") as caught, at_work_in(tmp_path):
        pass
    assert caught.value.filename == str(tmp_path) and os.listdir(tmp_path) == []


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks_a_warning_says_so_and_nothing_is_swept_up(tmp_path, monkeypatch, reason):
    def lock(file):
        raise OSError(reason, os.strerror(reason))

    for module in (files, folders):
        monkeypatch.setattr(module, "lock", lock)
    (tmp_path / LEFTOVER).write_bytes(b"half")
    words = r"its file system has no locks \(.*\): nothing keeps another run from writing there at the same time"
    with pytest.warns(UserWarning, match=words), at_work_in(tmp_path):
        write_atomically(tmp_path / "model.npz", lambda file: file.write(b"new"))
    assert sorted(os.listdir(tmp_path)) == [LEFTOVER, "model.npz"]


# Runs and commands


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run, and a text next to it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    pretrain(small_lm(), small_corpus(), Settings(steps=1), out=folder, about={"text": None})
    (folder.parent / "text.txt").write_text(TEXT)
    return folder


COMMANDS = {
    "train": "--text TEXT --quiet --no-plot",
    "train --force": "--text TEXT --quiet --no-plot",
    "train --resume": "--text TEXT --quiet --no-plot",
    "finetune --force": "MODEL --text TEXT --quiet --no-plot",
    "finetune --resume": "--quiet --no-plot",
    "demo": "--quick",
    "patterns": "--quick",
    "scale": "--quick",
    "bench": "--sizes tiny",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_refused_in_one_line_before_it_touches_anything(command, finished, tmp_path, monkeypatch, capsys):
    if command.split()[0] in ("demo", "patterns", "scale", "bench"):
        pytest.importorskip("matplotlib")
    for name in (finished.name, "other"):
        shutil.copytree(finished, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    options = COMMANDS[command].replace("TEXT", str(finished.parent / "text.txt")).replace("MODEL", "other")
    with folders.take(tmp_path / "run"):
        (tmp_path / "run" / LEFTOVER).write_bytes(b"half of a checkpoint")
        before = contents(tmp_path / "run")
        status = cli.main([*command.split(), "--out", "run", *options.split()])
        assert contents(tmp_path / "run") == before
    said = capsys.readouterr()
    assert status == cli.FAILURE and said.out == ""
    assert re.fullmatch(f"minitransformer: error: run: {AT_WORK}, or choose another folder\n", said.err)


def test_a_run_of_the_library_is_refused_before_it_touches_anything(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    with folders.take(tmp_path / "run"), folders.take(tmp_path / "runs"):
        before = contents(tmp_path / "run")
        for resume in (False, True):
            with pytest.raises(BlockingIOError, match=AT_WORK):
                pretrain(small_lm(), small_corpus(), Settings(steps=1), out=tmp_path / "run", resume=resume)
        with pytest.raises(BlockingIOError, match=AT_WORK):
            sweep([], folder=tmp_path / "runs")
        assert contents(tmp_path / "run") == before


# A run with all that may outlive it for a moment: replicas, and a process that was forked.

PROGRAM = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from small_runs import SETTINGS, At, small_corpus, small_lm
from dataclasses import replace
from minitransformer.training import pretrain

def ready():
    if not os.fork():
        print(os.getpid(), flush=True)  # the fork itself, which has then closed the lock file
    time.sleep(60)

if __name__ == "__main__":
    settings = replace(SETTINGS, replicas=2, checkpoint_every=1)
    pretrain(small_lm(), small_corpus(), settings, out=sys.argv[2], observer=At(6, ready))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
def test_the_lock_is_gone_with_its_process_however_that_ends_and_whoever_outlives_it(tmp_path):
    pytest.importorskip("threadpoolctl")
    (tmp_path / "program.py").write_text(PROGRAM)
    out = tmp_path / "run"
    command = [sys.executable, tmp_path / "program.py", Path(small_runs.__file__).parent, out]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        forked = int(process.stdout.readline())
        try:
            assert f"another run (process {process.pid}, since" in str(try_to_work_in(out))
            process.kill()
            process.wait()
            assert (out / LOCK_FILE).exists()
            resumed, whole = small_lm(seed=1), small_lm()
            settings = replace(SETTINGS, replicas=2, checkpoint_every=1)
            pretrain(resumed, small_corpus(), settings, out=out, resume=True)
        finally:
            os.kill(forked, signal.SIGKILL)
    pretrain(whole, small_corpus(), settings)
    assert_same_weights(resumed, whole)
    assert sorted(os.listdir(out)) == ["metrics.jsonl", "model.npz"]
