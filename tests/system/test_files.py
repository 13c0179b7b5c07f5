"""Files keep the mode that they had, and nobody can foresee, lead astray or disturb how they are written."""

import io
import os
import stat
import sys
import tempfile
import threading
from contextlib import contextmanager
from multiprocessing import heap
from types import SimpleNamespace

import pytest
from small_runs import small_lm

from minitransformer import cli
from minitransformer.experiments.sweep import WorkerProcesses
from minitransformer.system import files
from minitransformer.system.files import TEMPORARY_END, TEMPORARY_START, copy_ownership, write_atomically
from minitransformer.text import TextFiles
from minitransformer.training.replicas import Replicas

needs_modes = pytest.mark.skipif(os.name == "nt", reason="needs modes, owners and groups")


def writing(content):
    return lambda file: file.write(content)


def mode(path):
    return oct(stat.S_IMODE(os.stat(path).st_mode))


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("plant", [os.symlink, os.link])
def test_not_even_a_link_in_a_temporary_files_place_leads_a_write_astray(tmp_path, monkeypatch, plant):
    victim, path = tmp_path / "victim", tmp_path / "model.npz"
    victim.write_bytes(b"precious")
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "urandom", bytes)  # as if it had been foreseen
    planted = tmp_path / f"{TEMPORARY_START}{bytes(8).hex()}{TEMPORARY_END}"
    plant(victim, planted)
    with pytest.raises(FileExistsError, match="cannot write: File exists; nothing was changed"):
        write_atomically(path, writing(b"new"))
    assert (victim.read_bytes(), path.read_bytes(), planted.read_bytes()) == (b"precious", b"old", b"precious")
    assert not path.is_symlink()


def test_a_link_that_the_system_does_not_follow_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "victim")

    def refuse(path, **how):  # as Linux does in a folder that all may write to, of another user's link
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(files.os, "stat", refuse)
    with pytest.raises(PermissionError, match="cannot write: Permission denied; nothing was changed"):
        write_atomically(tmp_path / "link", writing(b"new"))
    monkeypatch.undo()
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_threads_that_write_one_file_at_once_all_succeed(tmp_path):
    path, together, failures = tmp_path / "model.npz", threading.Barrier(8, timeout=30), []

    def save(number):
        def write(file):
            together.wait()  # so that all have begun when the first is done
            file.write(number * 1000)

        try:
            write_atomically(path, write)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(b"%d" % number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    content = path.read_bytes()
    assert len(content) == 1000 and len(set(content)) == 1
    assert os.listdir(tmp_path) == ["model.npz"]


class Windows:
    """Renaming as on Windows, where nobody can replace a file that is open: it is closed after `closed_after` tries."""

    def __init__(self, monkeypatch, path, closed_after):
        self.path, self.left, self.replace = path, closed_after, os.replace
        monkeypatch.setattr(files.sys, "platform", "win32")
        monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
        monkeypatch.setattr(files.os, "replace", self.rename)

    def rename(self, new, target):
        if str(target) == str(self.path) and self.left > 0:
            self.left -= 1
            raise PermissionError(13, "Access is denied")
        self.replace(new, target)


def test_on_windows_a_file_that_is_open_for_a_moment_is_replaced_after_it(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")
    Windows(monkeypatch, path, closed_after=3)
    write_atomically(path, writing(b"new"))
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["model.npz"]


def test_on_windows_nothing_is_lost_where_a_file_stays_open_or_mapped(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")
    Windows(monkeypatch, path, closed_after=10**6)
    with pytest.raises(
        PermissionError, match=r"cannot write: a program has it open; the new content is in .*\.npz\.new"
    ):
        write_atomically(path, writing(b"new"))
    assert path.read_bytes() == b"old" and (tmp_path / "model.npz.new").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["model.npz", "model.npz.new"]


@needs_modes
@pytest.mark.parametrize("before", [0o600, 0o640, 0o664, 0o444])
def test_a_file_that_is_written_again_keeps_its_mode_and_meanwhile_nobody_else_can_read_it(
    tmp_path, monkeypatch, before
):
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")
    path.chmod(before)
    seen = []

    def look(file):
        seen.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))

    monkeypatch.setattr(files, "copy_ownership", lambda file, as_before: look(file) or copy_ownership(file, as_before))
    with umask(0o022):
        write_atomically(path, lambda file: look(file) or file.write(b"new"))
    assert mode(path) == oct(before) and path.read_bytes() == b"new"
    assert len(seen) == 2 and all(moment & 0o077 & ~before == 0 for moment in seen)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_a_file_that_root_writes_again_stays_its_owners(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    write_atomically(path, writing(b"new"))
    after = os.stat(path)
    assert (after.st_uid, after.st_gid, mode(path)) == (1234, 4321, oct(0o640))


@needs_modes
@pytest.mark.parametrize("before, after", [(0o660, 0o600), (0o664, 0o644), (0o640, 0o600), (0o600, 0o600)])
def test_what_a_group_might_do_another_may_not(tmp_path, monkeypatch, before, after):
    def forbidden(*arguments):
        raise PermissionError

    monkeypatch.setattr(os, "fchown", forbidden)
    with open(tmp_path / "model.npz", "wb") as file:
        group = os.fstat(file.fileno()).st_gid + 1
        copy_ownership(file, SimpleNamespace(st_mode=stat.S_IFREG | before, st_uid=0, st_gid=group))
    assert mode(tmp_path / "model.npz") == oct(after)


@contextmanager
def no_file_larger_than(size):
    """Within the block, this process can write no more than `size` bytes to a file, as after `ulimit -f`."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITERS = {
    "the file of 13,824 bytes that 3 replicas share (one needs none)": lambda: Replicas(small_lm().model, 3),
    "the file that worker processes share": lambda: WorkerProcesses(2),
    "the temporary copy of standard input": lambda: TextFiles("-"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_only_the_program_knows_is_named_where_it_cannot_be_written(name, monkeypatch):
    pytest.importorskip("threadpoolctl")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text" * 5000)))
    monkeypatch.setattr(heap.BufferWrapper, "_heap", heap.Heap())  # in which earlier tests have left no room to share
    tempfile.gettempdir()  # Python looks for such a folder once, and by writing to it
    with no_file_larger_than(0), pytest.raises(OSError, match="cannot write: File too large") as caught:
        WRITERS[name]()
    assert cli.describe(caught.value) == f"{name}: cannot write: File too large"
