"""Folders in which one run at a time works.

A run locks a file in its folder. The lock belongs to the operating system and ends with the process, even after
kill -9. Spawned processes, such as replicas, do not inherit the lock, and forked ones release it. The file is removed
at the end of the run. If it is left over, it is not locked, and the next run uses it again.
"""

import contextlib
import errno
import os
import re
import shutil
import time
import warnings
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from minitransformer.system.files import TEMPORARY_END, TEMPORARY_START, lock, status

LOCK_FILE = ".minitransformer.lock"

_held = ContextVar("held", default=frozenset())  # the keys of the folders that this thread has locked (see `own`)
_lock_files = set()  # the open lock files of all threads


@contextlib.contextmanager
def at_work_in(folder):
    """Lock a folder against other runs within the block, and create it if necessary. Do nothing if it is None.

    First, the temporary files of processes that were killed are removed. At the end, a folder that was created here and
    is still empty is removed. Blocks for the same folder may be nested in one thread.

    Raises BlockingIOError, which names the process, if another run works in the folder, and OSError, which names the
    folder, if files cannot be written there. If the file system has no locks, a warning is given.
    """
    if folder is None or own(folder) in _held.get():
        yield
        return
    folder = Path(folder)
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        file = take(folder)
        let_go_after_forks()
        _lock_files.add(file)
        _held.set(_held.get() | {own(folder)})
        try:
            yield
        finally:
            _held.set(_held.get() - {own(folder)})
            _lock_files.discard(file)
            release(file, folder)
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            for place in missing:
                place.rmdir()


def own(folder) -> tuple:
    """Return the key of a locked folder. It includes the process id, because a forked process has no lock."""
    return os.getpid(), os.path.realpath(folder)


def take(folder: Path):
    """Create a folder, lock it and remove left-over files. Return the lock file. Raises as at_work_in does."""
    while True:
        file = open_lock_file(folder)
        try:
            free = lock(file)
        except OSError as error:
            nobody = "nothing keeps another run from writing there at the same time"
            warnings.warn(f"{folder}: its file system has no locks ({error.strerror}): {nobody}", stacklevel=5)
            return file
        if not free:
            with file:
                busy = f"another run{who(file)} is at work here; wait for its end, or choose another folder"
                raise BlockingIOError(errno.EWOULDBLOCK, busy, str(folder))
        if is_at(file, folder / LOCK_FILE):
            break
        file.close()  # the previous owner has just removed it
    try:
        file.truncate(0)
        file.write(f"{os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
    except OSError as error:
        release(file, folder)
        raise cannot_write(folder, error) from None
    sweep_up(folder)
    return file


def open_lock_file(folder: Path):
    """Create a folder and open its lock file, without locking it. Raises OSError, which names the path."""
    path = folder / LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b", buffering=0, opener=without_links)  # noqa: SIM115
        if os.fstat(file.fileno()).st_nlink > 1:
            with file:
                raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        return file
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder", str(folder)) from None
    except OSError as error:
        raise cannot_write(path if os.path.lexists(path) else folder, error) from None


def without_links(path, flags: int) -> int:
    """Open a file without following a link, as an opener for `open`.

    The name of the lock file is known, so another user could have created a link in its place.
    """
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def cannot_write(place: Path, error: OSError) -> OSError:
    """Return an error of the same type as `error`, with the path in its message."""
    return type(error)(error.errno, f"cannot write there: {error.strerror}", str(place))


def is_at(file, path: Path) -> bool:
    now = status(path)
    return now is not None and os.path.samestat(os.fstat(file.fileno()), now)


def who(file) -> str:
    """Return the process and the time that are stored in a lock file as text, or an empty text."""
    file.seek(0)
    written = re.fullmatch(rb"(\d+) since ([-: \d]+)\n", file.read(100))
    return f" (process {written[1].decode()}, since {written[2].decode()})" if written else ""


def release(file, folder: Path) -> None:
    """Remove a lock file, unless Windows or a fork prevents it, and release the lock."""
    with (
        contextlib.suppress(OSError, ValueError),
        file,
    ):  # Windows does not remove open files; a forked process has closed the file
        if is_at(file, folder / LOCK_FILE):
            os.unlink(folder / LOCK_FILE)


def sweep_up(folder: Path) -> None:
    """Remove the temporary files of processes that were killed. Files that are being written are locked and stay."""
    for leftover in folder.glob(f"{TEMPORARY_START}*{TEMPORARY_END}"):
        with contextlib.suppress(OSError):
            if leftover.is_dir():  # it belongs to an earlier run, since only this run is at work
                shutil.rmtree(leftover)
            elif leftover.is_file() and is_free(leftover):
                leftover.unlink()


def is_free(path: Path) -> bool:
    with open(path, "rb") as file:
        return lock(file)


def let_go() -> None:
    """Close all lock files. Called in a forked process, since the locks belong to its parent and must end with it."""
    for file in _lock_files:
        file.close()
    _lock_files.clear()


@cache
def let_go_after_forks() -> None:
    """Register let_go for forked processes, at the first lock of a folder."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=let_go)
