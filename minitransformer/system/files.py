"""Write files atomically, even from several processes at once, and keep their mode.

A file is written to a temporary file in the same folder, flushed to the disk and renamed, so a crash or a full disk
leaves the previous file unchanged. The next run in the folder removes the temporary files of a process that was killed.
"""

import contextlib
import errno
import json
import os
import stat
import sys
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TEMPORARY_START, TEMPORARY_END = ".minitransformer-", ".tmp"
TRIES, BETWEEN = 20, 0.1  # of renaming, and the seconds between them
NOT_A_FILE = "is a device or a pipe, not a regular file"


def write_atomically(path, write) -> None:
    """Write a file atomically by calling write(file) on a temporary binary file.

    If `path` is a link that the system follows, its target is replaced. Raises OSError, with the path, if the file
    cannot be written or `path` is a device. The previous file is then unchanged.
    """
    with naming(path, end="; nothing was changed"):
        before = status(path)
        if before and not stat.S_ISREG(before.st_mode) and not stat.S_ISDIR(before.st_mode):
            raise OSError(errno.EINVAL, NOT_A_FILE)
        target = Path(os.path.realpath(path))
        temporary = target.with_name(f"{TEMPORARY_START}{os.urandom(8).hex()}{TEMPORARY_END}")
        mode = 0o600 if before else 0o666  # until copy_ownership, only the owner may read it
        file = open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        try:
            with file:
                lock(file)  # folders.remove_leftovers removes only unlocked files
                copy_ownership(file, before)
                write(file)
                file.flush()
                os.fsync(file.fileno())
            move_to(temporary, target)
        finally:
            with contextlib.suppress(OSError):  # it has been renamed
                temporary.unlink()


def move_to(new, target) -> None:
    """Rename the file `new` to `target`, which is replaced if it exists.

    On Windows, a file that a program has open or mapped cannot be replaced. Often the program is a virus scanner, which
    soon closes the file, so renaming is tried several times. If it fails, the new content is kept next to the file.
    """
    try:
        os.replace(new, target)
    except PermissionError:
        if sys.platform != "win32":
            raise
        for _ in range(TRIES):
            with contextlib.suppress(PermissionError):
                return os.replace(new, target)
            time.sleep(BETWEEN)
        kept = f"{target}.new"
        os.replace(new, kept)
        raise PermissionError(errno.EACCES, f"a program has it open; the new content is in {kept}") from None


def write_json(path, data) -> None:
    content = json.dumps(data, indent=1).encode() + b"\n"
    write_atomically(path, lambda file: file.write(content))


def status(path) -> os.stat_result | None:
    """Return os.stat(path), or None if there is no such file.

    Raises OSError for a link that the system does not follow.
    """
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def copy_ownership(file, before: os.stat_result | None) -> None:
    """Copy the mode and, if allowed, the owner and group of an old file to an open file.

    `before` is the status of the old file, or None. If the group cannot be set, the group of the new file has only the
    permissions of all other users.
    """
    if before is None or fcntl is None:
        return
    for owner, group in ((-1, before.st_gid), (before.st_uid, -1)):
        with contextlib.suppress(OSError):
            os.fchown(file.fileno(), owner, group)
    mode = stat.S_IMODE(before.st_mode) & 0o777
    if os.fstat(file.fileno()).st_gid != before.st_gid:
        mode = mode & 0o707 | (mode & 0o007) << 3
    with contextlib.suppress(OSError):
        os.fchmod(file.fileno(), mode)


def lock(file) -> bool | None:
    """Lock an open file or a descriptor until it is closed. Return False if another process has locked it.

    Returns None if the file system has no locks. On Windows, no lock is needed, because open files are not removed.
    """
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if isinstance(error, BlockingIOError) else None
    return True


@contextlib.contextmanager
def naming(path, what="cannot write", end=""):
    """Return a context manager that adds the name of a file to an OSError."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, f"{what}: {error.strerror or error}{end}", str(path)) from error


def require_file_path(path) -> None:
    """Raise OSError if `path` is a folder or a device, or if its folder does not exist."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder, not a file to write")
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: {NOT_A_FILE}")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder does not exist")
