"""Files that are written whole or not at all, whoever else writes there, and keep the mode that they had.

A file is written beside its place, under a name that nobody can foresee, then flushed to the disk and renamed: a crash
or a full disk at any moment leaves what was there before as it was. Where several write one file at once, each writes
one of its own, and the last to be renamed stays. What a process that was killed left half written, the next run that
works in the folder removes (see folders.py).
"""

import contextlib
import errno
import os
import stat
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None  # type: ignore[assignment]

TEMPORARY_START, TEMPORARY_END = ".minitransformer-", ".tmp"
NOT_A_FILE = "is a device or a pipe, whose place a file would take"
LOCKED_BYTE = 1 << 30  # on Windows, where others cannot read what is locked: one behind all that is read


def write_atomically(path, write) -> None:
    """Call write(file) on a temporary binary file beside `path`, flush it to the disk and rename it to `path`.

    Where `path` is a link that the system follows, the file that it leads to is written. A new file gets the mode that
    the umask leaves, one in the place of another that one's (see take_after). Raises OSError, naming the file, where
    that fails, or would put a file in the place of a device; what was there is then unchanged, and the temporary file
    removed.
    """
    path = Path(path)
    try:
        before = status(path)
        if before and not stat.S_ISREG(before.st_mode) and not stat.S_ISDIR(before.st_mode):
            raise OSError(errno.EINVAL, NOT_A_FILE)
        path = Path(os.path.realpath(path))
        temporary = path.with_name(f"{TEMPORARY_START}{os.urandom(8).hex()}{TEMPORARY_END}")
        mode = 0o600 if before else 0o666  # until take_after, nobody else may look
        file = open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        try:
            with file:
                with contextlib.suppress(OSError):  # the file system has no locks
                    lock(file)  # whoever sweeps up sees that it is no leftover
                take_after(file, before)
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):  # it has been renamed
                temporary.unlink()
    except OSError as error:
        reason = f"{error.strerror or error}; nothing was changed"
        raise type(error)(error.errno, f"cannot write: {reason}", str(path)) from error


def status(path) -> os.stat_result | None:
    """Return what the system says of the file at `path`, None where there is none.

    Raises OSError where it would not follow a link, such as another user's in a folder that all may write to.
    """
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def take_after(file, before: os.stat_result | None) -> None:
    """Give an open file the mode of the one whose place it will take, and where that is allowed its owner and group.

    If it cannot have the group, its own may do what all others may. Does nothing for None, or on Windows.
    """
    if before is None or fcntl is None:
        return
    mode = stat.S_IMODE(before.st_mode) & 0o777
    with contextlib.suppress(OSError):
        os.fchown(file.fileno(), -1, before.st_gid)
    if os.fstat(file.fileno()).st_gid != before.st_gid:
        mode = mode & 0o707 | (mode & 0o007) << 3
    with contextlib.suppress(OSError):
        os.fchmod(file.fileno(), mode)
        os.fchown(file.fileno(), before.st_uid, -1)


def lock(file) -> bool:
    """Lock an open file until it is closed. Returns whether it was free; raises OSError where locks do not exist."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            position = os.lseek(file.fileno(), 0, os.SEEK_CUR)
            os.lseek(file.fileno(), LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            os.lseek(file.fileno(), position, os.SEEK_SET)
    except (BlockingIOError, PermissionError):  # the second on Windows
        return False
    return True


@contextlib.contextmanager
def naming(path):
    """Give an OSError of a write, which does not know its file, the file's name."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, f"cannot write: {error.strerror}", str(path)) from error


def require_file_path(path) -> None:
    """Raise OSError for a path that is a folder or a device, or in no folder: before the work, to lose none."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder, not a file to write")
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: {NOT_A_FILE}")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no such folder to write to")
