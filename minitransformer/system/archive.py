"""Archives: files of named arrays and a description, written atomically, and read without executing code.

An archive is a NumPy `.npz` file. Its member `description` contains JSON with the name of the format, a version, and a
description of the arrays. Reading never unpickles, reads only the requested arrays, and verifies their checksums.
"""

import contextlib
import json
import math
import os
import zipfile
from functools import cache
from typing import NamedTuple

import numpy as np

from gradcheck.front.streams import one_line
from minitransformer.system.files import write_atomically

FORMAT = "minitransformer"
VERSION = 1

LONGEST_DESCRIPTION = 1 << 25  # bytes; a description with all characters of Unicode as its vocabulary has 13 million
MOST_INFLATION = 100  # largest ratio of uncompressed to compressed size; weights have less, a zip bomb about 1,000
LONGEST_HEADER = 1000  # bytes; NumPy writes 118


class ArchiveError(ValueError):
    """Raised if a file is damaged, or is not an archive of minitransformer. The message is one printable line."""

    def __init__(self, message):
        super().__init__(one_line(message))


@contextlib.contextmanager
def archive_errors(path):
    """Return a context manager that converts exceptions caused by a damaged file to an ArchiveError with its path."""
    try:
        yield
    except ArchiveError:  # already names its file
        raise
    except (TypeError, ValueError) as error:
        raise ArchiveError(f"{path}: {error}") from None
    except (AttributeError, IndexError, KeyError) as error:
        raise ArchiveError(f"{path}: damaged ({type(error).__name__}: {error})") from None


def save_archive(path, arrays: dict, description: dict) -> None:
    """Write named arrays and a JSON-serializable description to `path`, atomically.

    Raises OSError if the file cannot be written, and ValueError if the description is too long.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, **description}).encode()
    if len(text) > LONGEST_DESCRIPTION:
        raise ValueError(
            f"{path}: its description has {len(text):,} bytes; at most {LONGEST_DESCRIPTION:,} are allowed"
        )
    members = {"description": np.frombuffer(text, np.uint8), **arrays}
    write_atomically(path, lambda file: write_members(file, members))


class ZipWriter(zipfile.ZipFile):
    """A zip file that is not closed when it is deleted, because closing could raise a second error after Ctrl-C."""

    def __del__(self):
        pass


def write_members(file, members: dict) -> None:
    """Write an npz file as np.savez does. After an exception, the file is left incomplete."""
    archive = ZipWriter(file, "w")
    for name, array in members.items():
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    archive.close()


def read_bounded(path) -> bytes:
    """Read a file of at most LONGEST_DESCRIPTION bytes. Raises ArchiveError if it is longer."""
    with open(path, "rb") as file:
        content = file.read(LONGEST_DESCRIPTION + 1)
    if len(content) > LONGEST_DESCRIPTION:
        raise ArchiveError(f"{path}: has more than {LONGEST_DESCRIPTION:,} bytes, the limit for a configuration file")
    return content


@contextlib.contextmanager
def open_archive(path):
    """Return a context manager that opens an Archive. Raises OSError, or ArchiveError if the file is invalid."""
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ArchiveError(f"{path}: not a model or checkpoint of minitransformer, or truncated")
        yield Archive(path, file)


class Header(NamedTuple):
    dtype: np.dtype
    shape: tuple[int, ...]


class Archive:
    """An open archive: its `description`, and its arrays, which are read on demand.

    An archive may be untrusted, so its arrays are read only after checks. A header must agree with the length of its
    member, and callers compare the header with the expected dtype and shape. `read` limits the memory to
    MOST_INFLATION times the length of the file.
    """

    def __init__(self, path, file):
        self.path = path
        self.header = cache(self.header)  # called by the caller of `read`, and again by `read`
        with self.damage("the list of its members"):
            self.size = os.fstat(file.fileno()).st_size
            self.zip = zipfile.ZipFile(file)
            entries = self.zip.infolist() if "description.npy" in self.zip.NameToInfo else []
            self.members = {entry.filename.removesuffix(".npy"): entry for entry in entries}
            if len(self.members) != len(entries):
                raise ValueError("two of its members have the same name")
            if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
                raise ValueError("a member uses a compression that NumPy does not write")  # zipfile does not bound it
        self.description = self.read_description()

    def read_description(self) -> dict:
        description = None
        if self.members:
            size = self.members["description"].file_size
            if size > LONGEST_DESCRIPTION:
                raise ArchiveError(
                    f"{self.path}: its description has {size:,} bytes; at most {LONGEST_DESCRIPTION:,} are allowed"
                )
            text = self.read(["description"])["description"].tobytes()
            with self.damage("its description"):
                description = json.loads(text.decode())
            del self.members["description"]
        if not isinstance(description, dict) or description.get("format") != FORMAT:
            raise ArchiveError(f"{self.path}: a zip archive, but not a model or checkpoint of minitransformer")
        if description.get("version") != VERSION:
            raise ArchiveError(f"{self.path}: has version {description.get('version')} of the format, not {VERSION}")
        return description

    def under(self, prefix: str) -> dict:
        """Return the names of the arrays that begin with `prefix`, keyed by the rest of each name."""
        return {name.removeprefix(prefix): name for name in self.members if name.startswith(prefix)}

    def header(self, name: str) -> Header:
        entry = self.members[name]
        with self.damage(name), self.zip.open(entry) as member:
            if np.lib.format.read_magic(member) != (1, 0):
                raise ValueError("its header does not describe an array of numbers")
            shape, _, dtype = np.lib.format.read_array_header_1_0(member, LONGEST_HEADER)
            if dtype.kind not in "biufc" or min(shape, default=0) < 0:
                raise ValueError("its header does not describe an array of numbers")
            size, stored = math.prod(shape) * dtype.itemsize, entry.file_size - member.tell()
            if stored != size:
                raise ValueError(f"an array of {dtype} {shape} has {size:,} bytes, but {stored:,} are stored")
        return Header(dtype, shape)

    def read(self, names) -> dict:
        """Read arrays by name. Each member is read to its end, which verifies the checksum."""
        claimed = sum(self.members[name].file_size for name in names)
        if claimed > MOST_INFLATION * self.size:
            raise ArchiveError(f"{self.path}: damaged: {self.size:,} bytes cannot contain arrays of {claimed:,} bytes")
        return {name: self.array(name) for name in names}

    def array(self, name: str) -> np.ndarray:
        dtype, shape = self.header(name)
        with self.damage(f"{name}, {dtype} {shape}"), self.zip.open(self.members[name]) as member:
            return np.lib.format.read_array(member, allow_pickle=False)

    @contextlib.contextmanager
    def damage(self, what: str):
        """Return a context manager that converts exceptions caused by a damaged part to an ArchiveError."""
        try:
            yield
        except MemoryError:
            raise MemoryError(f"{self.path}: not enough memory for {what}") from None
        except Exception as error:
            reason = f"{what}: {str(error) or type(error).__name__}"
            raise ArchiveError(f"{self.path}: damaged, or not an archive of minitransformer ({reason})") from None
