"""Archives: files of named arrays and a description, written whole or not at all, and read without running anything.

An archive is a NumPy `.npz` file, so `numpy.load` opens it too. One member, `description`, holds JSON: a format
name, a version, and whatever else describes the arrays. A crash or a full disk at any moment of writing leaves the
old file as it was (see files.py). Reading never unpickles, reads only what is asked for, and of that verifies every
checksum.
"""

import contextlib
import json
import math
import os
import re
import zipfile
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from minitransformer.files import write_atomically
from minitransformer.system.printable import one_line

FORMAT = "minitransformer"
VERSION = 1

LONGEST_DESCRIPTION = 1 << 25  # bytes; with a vocabulary of all the characters of Unicode it has 13 million
MOST_INFLATION = 100  # no model shrinks so much, but what was made to fill the memory does: deflated zeros, 1,000 times
LONGEST_HEADER = 1000  # bytes, of which NumPy writes 118
MAGIC = b"\x93NUMPY\x01\x00"
HEADER = re.compile(rb"\{'descr': '([<>|][biufc]\d+)', 'fortran_order': (?:True|False), 'shape': \(([\d, ]*)\), \} *\n")


class ArchiveError(ValueError):
    """A file that is not an archive of this kind, or is damaged.

    Its message is one line that can be printed, and not an endless one.
    """

    def __init__(self, message):
        super().__init__(one_line(message))


def save_archive(path, arrays: dict, description: dict) -> None:
    """Write arrays (name → ndarray) and a description that JSON can hold to `path`, atomically.

    Raises OSError, naming the file, where it cannot be written, ValueError for a description that is too long to be
    read again; the previous file is then unchanged.
    """
    path = Path(path)
    text = json.dumps({"format": FORMAT, "version": VERSION, **description}).encode()
    if len(text) > LONGEST_DESCRIPTION:
        raise ValueError(f"{path}: its description would have {len(text):,} bytes, beyond {LONGEST_DESCRIPTION:,}")
    members = {"description": np.frombuffer(text, np.uint8), **arrays}
    write_atomically(path, partial(write_members, members=members))


def write_members(file, members: dict) -> None:
    """Write an npz file as np.savez does. Where that fails, or Ctrl-C comes, it is left as it is."""
    archive = ZipWriter(file, "w")
    for name, array in members.items():
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    archive.close()


class ZipWriter(zipfile.ZipFile):
    """A zip file that nobody closes for whoever writes it.

    If Ctrl-C comes in the middle of a member, whenever that is, zipfile cannot close the file, and says so in place of
    what happened.
    """

    def __del__(self):
        pass


def read_bounded(path) -> bytes:
    """Return the bytes of a file that describes something. Raises OSError, or ArchiveError for more than there can be.

    A folder that comes from strangers can hold a link to what never ends.
    """
    with open(path, "rb") as file:
        content = file.read(LONGEST_DESCRIPTION + 1)
    if len(content) > LONGEST_DESCRIPTION:
        raise ArchiveError(f"{path}: has more than the {LONGEST_DESCRIPTION:,} bytes that are read of such a file")
    return content


@contextlib.contextmanager
def open_archive(path):
    """Yield the Archive at `path`, open within the block.

    Raises OSError for a file that cannot be read, ArchiveError for one that is truncated, damaged or of another kind.
    """
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ArchiveError(f"{path}: not a model or checkpoint of minitransformer, or a truncated one")
        yield Archive(path, file)


@dataclass(frozen=True)
class Header:
    """What an array is, known without reading it."""

    dtype: np.dtype
    shape: tuple[int, ...]


class Archive:
    """An archive that is open: its `description`, and its arrays, of which those alone are read that are asked for.

    Strangers write archives too. So a header is read as NumPy writes it and no other way, and must agree with the
    length of its member; whoever asks for arrays first compares their headers with what is expected; and all that is
    read at once is no longer than MOST_INFLATION times the file, whatever members claim, repeat or share.
    """

    def __init__(self, path, file):
        self.path = path
        self.header = cache(self.header)  # asked for twice: to be compared, and to be read
        with self.damage("the list of its members"):
            self.size = os.fstat(file.fileno()).st_size
            self.zip = zipfile.ZipFile(file)
            self.members = self.named_members()
        self.description = self.read_description()

    def named_members(self) -> dict:
        """Return {name: its entry in the zip file} of the arrays; none for an archive that is foreign."""
        entries = self.zip.infolist()
        members = {entry.filename.removesuffix(".npy"): entry for entry in entries}
        if "description.npy" not in self.zip.NameToInfo:
            return {}
        for entry in entries:
            if not entry.filename.endswith(".npy"):
                raise ValueError(f"the member {entry.filename!r} is no array")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"the member {entry.filename!r} is compressed in a way that NumPy never does")
        if len(members) != len(entries):
            raise ValueError("two of its members have the same name")
        return members

    def read_description(self) -> dict:
        """Return the description, once it is one of this program."""
        description = None
        if self.members:
            size = self.members["description"].file_size
            if size > LONGEST_DESCRIPTION:
                raise ArchiveError(f"{self.path}: its description has {size:,} bytes, beyond {LONGEST_DESCRIPTION:,}")
            text = self.read(["description"])["description"].tobytes()
            with self.damage("its description"):
                description = json.loads(text.decode())
            del self.members["description"]
        if not isinstance(description, dict) or description.get("format") != FORMAT:
            raise ArchiveError(f"{self.path}: an archive, but not one of minitransformer")
        if description.get("version") != VERSION:
            raise ArchiveError(
                f"{self.path}: written in version {description.get('version')} of the format; this program reads "
                f"version {VERSION}"
            )
        return description

    def under(self, prefix: str) -> dict:
        """Return {name without the prefix: name} of the arrays whose names begin with `prefix`."""
        return {name.removeprefix(prefix): name for name in self.members if name.startswith(prefix)}

    def header(self, name: str) -> Header:
        """Return the Header of an array. Raises ArchiveError unless the member has just the length that it says."""
        entry = self.members[name]
        with self.damage(name), self.zip.open(entry) as member:
            start = member.read(len(MAGIC) + 2)
            said = member.read(min(int.from_bytes(start[len(MAGIC) :], "little"), LONGEST_HEADER))
            match = HEADER.fullmatch(said)
            if not start.startswith(MAGIC) or not match:
                raise ValueError("its header is not that of an array of numbers")
            dtype = np.dtype(match[1].decode())
            shape = tuple(int(length) for length in match[2].split(b",") if length)
            if len(start) + len(said) + math.prod(shape) * dtype.itemsize != entry.file_size:
                raise ValueError(f"{dtype} {shape} is not what {entry.file_size:,} bytes hold")
        return Header(dtype, shape)

    def read(self, names) -> dict:
        """Return {name: array} of arrays of these names.

        Each member is read to its end, so that its checksum covers the header too: one wrong bit there can make a
        smaller array that looks right.
        """
        claimed = sum(self.members[name].file_size for name in names)
        if claimed > MOST_INFLATION * self.size:
            raise ArchiveError(f"{self.path}: damaged: {self.size:,} bytes claim to hold {claimed:,} of arrays")
        return {name: self.array(name) for name in names}

    def array(self, name: str) -> np.ndarray:
        """Return one array."""
        header = self.header(name)
        with self.damage(f"{name}, {header.dtype} {header.shape}"), self.zip.open(self.members[name]) as member:
            return np.lib.format.read_array(member, allow_pickle=False)

    @contextlib.contextmanager
    def damage(self, what: str):
        """Within the block `what` is read: whatever that raises becomes an ArchiveError that names it and the file.

        It can be anything: zipfile, zlib, NumPy and json have exceptions of their own, and a damaged file brings out
        those of what they call.
        """
        try:
            yield
        except MemoryError:
            raise MemoryError(f"{self.path}: there is no memory for {what}") from None
        except Exception as error:
            reason = f"{what}: {str(error) or type(error).__name__}"
            raise ArchiveError(f"{self.path}: damaged, or not an archive of minitransformer ({reason})") from None
