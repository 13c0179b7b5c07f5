"""Folders that one run at a time works in.

What keeps another out is a lock of the operating system's on a file there. It is gone with the process, however that
ends, kill -9 included: processes that are spawned, such as replicas, do not inherit it, and one that is forked lets go
of it. The file is removed at the end; one that was left lying about is nobody's, and is used again.
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

from minitransformer.files import TEMPORARY_END, TEMPORARY_START, lock, status

LOCK_FILE = ".minitransformer.lock"

_held = ContextVar("held", default=frozenset())  # the folders that this thread keeps others out of: see `own`
_lock_files = set()  # the open ones of all threads


@contextlib.contextmanager
def at_work_in(folder):
    """Within the block, keep other runs out of a folder, which is made where it does not exist; None: do nothing.

    First, what a process that was killed left half written there is removed; at the end, the folder, if it was made
    here and has stayed empty. Within the block the same thread may be at work there again, in a block inside it.

    Raises BlockingIOError, naming the process, where another run is at work there, and OSError, naming the folder,
    unless files can be written there. Warns where the file system has no locks, and then keeps nobody out.
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
        with contextlib.suppress(OSError):  # there is something in it
            for place in missing:
                place.rmdir()


def own(folder) -> tuple:
    """Return what stands for a folder among those held: a process that was forked holds none."""
    return os.getpid(), os.path.realpath(folder)


def take(folder: Path):
    """Make a folder, take it for this process, and sweep it up. Returns the lock file; raises what at_work_in does."""
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
        file.close()  # whoever had it has removed it meanwhile
    try:
        file.truncate(0)
        file.write(f"{os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
    except OSError as error:
        release(file, folder)
        raise cannot_write(folder, error) from None
    sweep_up(folder)
    return file


def open_lock_file(folder: Path):
    """Make a folder, and open its lock file, which is not locked yet. Raises OSError, naming what is in the way."""
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
    """Open a file, for `open`, but not what a link leads to: as its name is known, anybody could have made it one."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def cannot_write(place: Path, error: OSError) -> OSError:
    """Return an error of the same kind that names the place."""
    return type(error)(error.errno, f"cannot write there: {error.strerror}", str(place))


def is_at(file, path: Path) -> bool:
    """Whether an open file is the one at `path`, and not one that has been removed."""
    now = status(path)
    return now is not None and os.path.samestat(os.fstat(file.fileno()), now)


def who(file) -> str:
    """Return, from a lock file, whose lock it is; nothing where it does not say."""
    file.seek(0)
    written = re.fullmatch(rb"(\d+) since ([-: \d]+)\n", file.read(100))
    return f" (process {written[1].decode()}, since {written[2].decode()})" if written else ""


def release(file, folder: Path) -> None:
    """Remove a lock file, unless Windows or a fork forbids it, and let go of the lock."""
    with contextlib.suppress(OSError, ValueError), file:  # Windows removes no open file; a fork has closed it
        if is_at(file, folder / LOCK_FILE):
            os.unlink(folder / LOCK_FILE)


def sweep_up(folder: Path) -> None:
    """Remove temporary files in whose writing a process was killed, but not those that somebody is writing."""
    for leftover in folder.glob(f"{TEMPORARY_START}*{TEMPORARY_END}"):
        with contextlib.suppress(OSError):
            if leftover.is_dir():  # of a run, and there is no other at work
                shutil.rmtree(leftover)
            elif leftover.is_file() and is_free(leftover):
                leftover.unlink()


def is_free(path: Path) -> bool:
    """Whether nobody has locked a file."""
    with open(path, "rb") as file:
        return lock(file)


def let_go() -> None:
    """Let go of all locks, in a process that was forked: they are the parent's, and are to end with it."""
    for file in _lock_files:
        file.close()
    _lock_files.clear()


@cache
def let_go_after_forks() -> None:
    """Register let_go, once: a process that takes no folder has no hook."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=let_go)
