"""Lock folders, so that only one run at a time works in each.

A run locks its folder. The lock belongs to the operating system and ends with the process, even after kill -9. Spawned
processes, such as replicas, do not inherit it. If a folder cannot be locked, as on Windows, two runs can work in it at
the same time.
"""

import contextlib
import errno
import os
import shutil
import warnings
from contextvars import ContextVar
from pathlib import Path

from minitransformer.system.files import TEMPORARY_END, TEMPORARY_START, lock, naming

_held = ContextVar("held", default=frozenset())  # the paths of the folders that this thread has locked


@contextlib.contextmanager
def at_work_in(folder):
    """Return a context manager that locks a folder against other runs. It may be nested, and None locks nothing.

    The folder is created if necessary, and removed at the end if it is then empty. Temporary files of killed processes
    are removed. Raises BlockingIOError if another run works in the folder, and OSError if it cannot be written to.
    Warns if the file system has no locks.
    """
    if folder is None or os.path.realpath(folder) in _held.get():
        yield
        return
    folder = Path(folder)
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with locked(folder):
            _held.set(_held.get() | {os.path.realpath(folder)})
            try:
                yield
            finally:
                _held.set(_held.get() - {os.path.realpath(folder)})
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            for place in missing:
                place.rmdir()


@contextlib.contextmanager
def locked(folder: Path):
    """Return a context manager that creates and locks a folder, and removes old temporary files."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder", str(folder))
    with naming(folder, "cannot write there"):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if os.name == "nt":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        is_ours = lock(descriptor)
        if is_ours:
            remove_leftovers(folder)
        elif is_ours is None:
            nobody = "another run could write there at the same time"
            warnings.warn(f"{folder}: its file system has no locks: {nobody}", stacklevel=6)
        else:
            busy = "another run uses this folder; wait until it ends, or choose another folder"
            raise BlockingIOError(errno.EWOULDBLOCK, busy, str(folder))
        yield
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes. Locked files are kept, because they are still being written."""
    for leftover in folder.glob(f"{TEMPORARY_START}*{TEMPORARY_END}"):
        with contextlib.suppress(OSError):
            if leftover.is_dir():  # it belongs to an earlier run, since only this run is at work
                shutil.rmtree(leftover)
            elif leftover.is_file():
                with open(leftover, "rb") as file:
                    if lock(file):
                        leftover.unlink()
