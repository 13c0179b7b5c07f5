"""Unpack the zip files of students: only Python files and notebooks, in limited number and size, below one folder."""

import os
import stat
import time
import zipfile
import zlib
from contextlib import suppress
from pathlib import PurePosixPath

from minitransformer.learn.reading import Unreadable, require_regular

MOST_BYTES_OF_ZIP, MOST_BYTES, MOST_FILES = 50_000_000, 100_000_000, 400


def unpacked(path, into, wanted) -> None:
    """Unpack those members of a zip file into a folder for which wanted(PurePosixPath) is True.

    Raises Unreadable if a member is encrypted, damaged or a link, has a path outside of the folder, or if there are too
    many bytes or files. Other members are neither read nor written.
    """
    try:
        require_regular(os.lstat(path), MOST_BYTES_OF_ZIP)
        with zipfile.ZipFile(path) as archive:
            files = {safe(info): info for info in archive.infolist() if not info.is_dir()}
            files = {place: info for place, info in files.items() if wanted(place)}
            if len(files) > MOST_FILES:
                raise Unreadable(f"contains more than {MOST_FILES} Python files and notebooks")
            left = MOST_BYTES
            for place, info in files.items():
                left -= write(archive, info, into / place, left)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Unreadable(f"is not a readable zip file: {error}") from None
    except OSError as error:
        raise Unreadable(f"cannot be unpacked: {error.strerror or error}") from None


def safe(info) -> PurePosixPath:
    """Return the path of a member of a zip file. Raises Unreadable if it could lead out of the folder."""
    place = PurePosixPath(info.filename.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in place.as_posix() or not place.parts:
        raise Unreadable(f"contains the path {info.filename!r}, which is outside of the folder")
    return place


def write(archive, info, place, most) -> int:
    """Write a member of a zip file with its time of modification. Return its size, which must not exceed `most`."""
    if info.flag_bits & 1:
        raise Unreadable("is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unreadable("is compressed by an unusual method; please use zip's default")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise Unreadable(f"contains the symbolic link {info.filename!r}")
    with archive.open(info) as member:
        content = member.read(most + 1)  # the size in the header may be wrong
    if len(content) > most:
        raise Unreadable(f"contains more than {MOST_BYTES:,} bytes")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    with suppress(ValueError, OverflowError):  # an invalid date
        modified = time.mktime((*info.date_time, 0, 0, -1))
        os.utime(place, (modified, modified))
    return len(content)
