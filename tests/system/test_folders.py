"""One run at a time is at work in a folder: another is told so before it touches anything there."""

import errno
import os
import shutil
import subprocess
import sys
import threading

import pytest
from locks import another_run
from small_runs import TEXT, small_corpus, small_lm

from minitransformer import cli
from minitransformer.system import files
from minitransformer.system.files import TEMPORARY_END, TEMPORARY_START, write_atomically
from minitransformer.system.folders import at_work_in
from minitransformer.training import Settings, pretrain

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows does not lock folders")
AT_WORK = "another run uses this folder; wait until it ends, or choose another folder"
LEFTOVER = f"{TEMPORARY_START}0123456789abcdef{TEMPORARY_END}"


def try_to_work_in(folder):
    """Return None, or the exception that says why a run in another thread cannot begin there now."""
    results = []

    def work():
        try:
            with at_work_in(folder):
                results.append(None)
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return results[0]


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}


def test_another_run_is_refused_by_any_name_of_the_folder_until_the_first_is_over(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with at_work_in(tmp_path / "folder"):
        with at_work_in(tmp_path / "link"):
            pass
        refusal = try_to_work_in(tmp_path / "link")
    assert isinstance(refusal, BlockingIOError) and refusal.errno == errno.EWOULDBLOCK
    assert refusal.filename == str(tmp_path / "link") and refusal.strerror == AT_WORK
    assert try_to_work_in(tmp_path / "folder") is None and os.listdir(tmp_path / "folder") == []


def test_a_killed_process_leaves_no_lock(tmp_path):
    code = "import sys; from minitransformer.system.folders import at_work_in\n"
    code += "with at_work_in(sys.argv[1]): print('locked', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], **pipes) as process:
        assert process.stdout.readline() == b"locked\n"
        assert isinstance(try_to_work_in(tmp_path), BlockingIOError)
        process.kill()
    assert try_to_work_in(tmp_path) is None


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


def test_a_folder_where_nothing_can_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file, not a folder"), at_work_in(tmp_path / "file"):
        pass
    with pytest.raises(OSError, match="cannot write there: Not a directory"), at_work_in(tmp_path / "file/new"):
        pass
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write anywhere
    with pytest.raises(PermissionError, match="cannot write there: Permission denied") as caught, at_work_in(tmp_path):
        pass
    assert caught.value.filename == str(tmp_path)


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks_a_warning_says_so_and_nothing_is_swept_up(tmp_path, monkeypatch, reason):
    def flock(file, how):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(files.fcntl, "flock", flock)
    (tmp_path / LEFTOVER).write_bytes(b"half")
    words = "its file system has no locks: another run could write there at the same time"
    with pytest.warns(UserWarning, match=words), at_work_in(tmp_path):
        write_atomically(tmp_path / "model.npz", lambda file: file.write(b"new"))
    assert sorted(os.listdir(tmp_path)) == [LEFTOVER, "model.npz"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
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
    with another_run(tmp_path / "run"):
        (tmp_path / "run" / LEFTOVER).write_bytes(b"half of a checkpoint")
        before = contents(tmp_path / "run")
        status = cli.main([*command.split(), "--out", "run", *options.split()])
        assert contents(tmp_path / "run") == before
    said = capsys.readouterr()
    assert (status, said.out, said.err) == (cli.FAILURE, "", f"minitransformer: error: run: {AT_WORK}\n")
