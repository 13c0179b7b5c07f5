"""Training text: its sources, and its conversion to a training and a validation sequence of ids.

    text = TextFiles(["book.txt"])                    # or default_corpus(), or any str
    tokenizer = BPETokenizer.train(text, 1000)        # reads the text once
    corpus = tokenize_corpus(text, tokenizer)         # reads it three more times
    corpus.require_context(64)
    inputs, targets = random_batch(corpus.train_ids, 16, 64, rng)

Text files are read in chunks, as often as needed. They are never held in memory as a whole, unless byte-pair encoding
finds no white space at which to divide them. Only the ids are kept, in the smallest unsigned dtype for the vocabulary:
100 MB of text become 100 MB of byte ids.
"""

import codecs
import hashlib
import io
import os
import platform
import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from minitransformer.system.files import naming
from minitransformer.system.validation import number
from minitransformer.text.batches import check_length
from minitransformer.text.chunks import CHUNK, chunks_of, slice_characters

DEFAULT_CORPUS = f"the Python {platform.python_version()} manual (pydoc_data.topics)"


def default_corpus():
    """Return the help topics of CPython, about half a million characters of English text and code, as a str.

    About a twelfth of the last tenth also occurs earlier. The text differs slightly between Python versions. Raises
    FileNotFoundError if this Python was built without the help topics.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise FileNotFoundError(
            "the default corpus, pydoc_data.topics, is missing in this build of Python; pass a text file instead"
        ) from None
    return "\n".join(topics[name] for name in sorted(topics))


class TextFiles:
    """The concatenated text of UTF-8 files. Iteration yields the text in chunks of str.

    `paths` is one path or several. "-" stands for standard input. A source that can be read only once is first copied
    to a temporary file. Raises OSError if a file cannot be read, and ValueError if a file is empty or is not UTF-8; the
    message then gives the position.
    """

    def __init__(self, paths):
        paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        if not paths:
            raise ValueError("paths must contain at least one text file, but it is empty")
        self._sources = []  # pairs (name, the path or a temporary copy)
        for path in paths:
            name = "standard input" if path == "-" else str(path)
            with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as file:
                regular = path != "-" and stat.S_ISREG(os.fstat(file.fileno()).st_mode)
                self._sources.append((name, path if regular else self._spooled(file, name)))
                if regular and not os.path.getsize(path):
                    raise ValueError(f"{name} is empty")
        self.name = ", ".join(name for name, _ in self._sources)

    def __iter__(self):
        for name, source in self._sources:
            with nullcontext(source) if hasattr(source, "read") else open(source, "rb") as file:
                file.seek(0)
                yield from decode_utf8(file, name)

    def _spooled(self, stream, name):
        """Copy a binary stream to a temporary file, which is removed together with this object."""
        file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, file.close)
        with naming(f"the temporary copy of {name}"):
            shutil.copyfileobj(stream, file, CHUNK)
        if file.tell() == 0:
            raise ValueError(f"{name} is empty")
        return file


def decode_utf8(file, name):
    """Yield the text of a binary file in chunks that never divide a character.

    A byte order mark is left out, and the line breaks of Windows become "\\n", so that neither is in the vocabulary.
    """
    decoder, newlines = codecs.getincrementaldecoder("utf-8")(), io.IncrementalNewlineDecoder(None, translate=True)
    if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        file.seek(0)
    start, data = file.tell(), None  # start: position in the file of the first byte that is not decoded yet
    while data != b"":
        data = file.read(CHUNK)
        try:
            text = newlines.decode(decoder.decode(data, final=not data), final=not data)
        except UnicodeDecodeError as error:
            byte, position = error.object[error.start], start + error.start
            raise ValueError(
                f"{name}: expected UTF-8 text, found the byte 0x{byte:02x} at position {position}"
            ) from None
        start = file.tell() - len(decoder.getstate()[0])
        if text:
            yield text


@dataclass(frozen=True)
class Corpus:
    """The ids of a text, as 1-D arrays of the smallest unsigned dtype for the vocabulary."""

    train_ids: np.ndarray
    val_ids: np.ndarray
    name: str
    characters: int

    @cached_property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the ids of both splits, in hexadecimal."""
        digest = hashlib.sha256(f"{len(self.train_ids)} {len(self.val_ids)}".encode())
        for ids in (self.train_ids, self.val_ids):
            digest.update(np.ascontiguousarray(ids).data)
        return digest.hexdigest()

    def require_context(self, context):
        """Raise ValueError if a split has fewer than context + 1 tokens. The validation split may be empty."""
        check_length(self.train_ids, context, f"{self.name}: the training split")
        if len(self.val_ids):
            check_length(self.val_ids, context, f"{self.name}: the validation split")


def tokenize_corpus(text, tokenizer, *, name=None, validation=0.1, progress=None):
    """Encode `text` as a training and a validation split.

    text         a str, a TextFiles, or another iterable of str that can be iterated several times
    validation   fraction of the characters, at the end of the text, that are used for validation; 0 ≤ validation < 1
    progress     called as progress(done, total), in characters, after each chunk
    name         name of the corpus in messages (default: the name of a TextFiles)

    Returns a Corpus. No token crosses the boundary of the two splits.
    """
    number("validation", validation, minimum=0, below=1)
    if isinstance(text, Iterator):
        raise TypeError("text must be a str, a list of str or TextFiles, not an iterator, which can be read only once")
    total = sum(map(len, chunks_of(text)))
    cut = int(total * (1 - validation))
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)

    def encoded(start, stop):
        chunks = slice_characters(chunks_of(text), start, stop)
        ids = bytearray()  # is extended in place, so that the ids are never in memory twice
        for piece in tokenizer.encode_chunks(reported(chunks, start, total, progress)):
            ids += piece.astype(dtype).tobytes()
        return np.frombuffer(ids, dtype)

    name = name or getattr(text, "name", "the text")
    return Corpus(encoded(0, cut), encoded(cut, total), name, total)


def reported(chunks, start, total, progress):
    for chunk in chunks:
        yield chunk
        start += len(chunk)
        if progress is not None:
            progress(start, total)
