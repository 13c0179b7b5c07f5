"""Archives: files of named arrays and a description, written whole or not at all, and read without running anything.

An archive is a NumPy `.npz` file, so `numpy.load` opens it too. One member, `description`, holds JSON: a format
name, a version, and whatever else describes the arrays. A crash or a full disk at any moment of writing leaves the
old file as it was (see files.py). Reading never unpickles, and every array's checksum is verified.
"""

import io
import json
import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from minitransformer.files import write_atomically

FORMAT = "minitransformer"
VERSION = 1

# What reading a damaged zip file raises: OSError where it seeks to no place, RuntimeError where it seems encrypted.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, OSError, RuntimeError, ValueError)


# "load" reads a model that others wrote. The package puts it here: what can do that stands above whoever asks for it.
FOREIGN = {}


class ArchiveError(ValueError):
    """A file that is not an archive of this kind, or is damaged. The message is one line that can be printed."""

    def __init__(self, message):
        from gradcheck.printable import one_line  # what it quotes comes from the file

        super().__init__(one_line(message))


def save_archive(path, arrays: dict, description: dict) -> None:
    """Write arrays (name → ndarray) and a description that JSON can hold to `path`, atomically.

    Raises OSError, naming the file, where it cannot be written; the previous file is then unchanged.
    """
    path = Path(path)
    text = json.dumps({"format": FORMAT, "version": VERSION, **description})
    members = {"description": np.frombuffer(text.encode(), np.uint8), **arrays}
    write_atomically(path, partial(write_members, members=members))


def write_members(file, members: dict) -> None:
    """Write an npz file as np.savez does, but close it also where that fails: NumPy 2.0 leaves that to Python's end."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def load_archive(path) -> tuple[dict, dict]:
    """Return (arrays, description) of the archive at `path`.

    Raises OSError for a file that cannot be read, ArchiveError for one that is truncated, damaged or of another kind.
    """
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ArchiveError(f"{path}: not a model or checkpoint of minitransformer, or a truncated one")
        try:
            arrays = read_members(file)
            description = json.loads(arrays.pop("description").tobytes()) if arrays else None
        except DAMAGE as error:
            raise ArchiveError(f"{path}: damaged, or not an archive of minitransformer ({error})") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ArchiveError(f"{path}: an archive, but not one of minitransformer")
    version = description.get("version")
    if version != VERSION:
        raise ArchiveError(f"{path}: written in version {version} of the format; this program reads version {VERSION}")
    return arrays, description


def read_members(file) -> dict:
    """Return the arrays of an open `.npz` file by name; none of one without a description, which is foreign.

    Unlike numpy.load, this reads each member to its end before looking into it, so that its checksum covers the header
    too: there, one wrong bit can make a smaller array that looks right.
    """
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if "description.npy" not in names:
            return {}
        return {
            name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in names
        }
