"""Read untrusted files: only regular files of limited size, and without blocking."""

import os
import stat

KINDS = {"d": "a folder", "l": "a symbolic link", "p": "a named pipe", "s": "a socket"}


class Unreadable(ValueError):  # noqa: N818
    """Raised if a file or folder may not be read. The message gives the reason."""


def read_regular(path, most: int) -> tuple[bytes, float]:
    """Read the content and modification time of a regular file of at most `most` bytes. Otherwise raise Unreadable."""
    try:
        require_regular(os.lstat(path), most)
        flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
        with open(os.open(path, flags), "rb") as file:
            require_regular(status := os.fstat(file.fileno()), most)
            return file.read(most), status.st_mtime
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None


def require_regular(status, most):
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"is {KINDS.get(stat.filemode(status.st_mode)[0], 'a device')}, not a regular file")
    if status.st_size > most:
        raise Unreadable(f"has {status.st_size:,} bytes; at most {most:,} are allowed")
