"""Text to train on: where it comes from, and how it becomes two rows of ids.

    text = TextFiles(["book.txt"])                    # or default_corpus(), or any str
    tokenizer = BPETokenizer.train(text, 1000)        # reads the text once
    corpus = tokenize_corpus(text, tokenizer)         # and again, three times
    corpus.require_context(64)
    inputs, targets = random_batch(corpus.train_ids, 16, 64, rng)

The text of files is not held as a whole, so long as it has white space. It is read in chunks, as often
as needed, and only its ids are kept, in the smallest unsigned dtype that fits the vocabulary: 100 MB of text are 100 MB
of byte ids.
"""

import codecs
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

import numpy as np

from minitransformer.files import naming
from minitransformer.text.batches import check_length
from minitransformer.text.chunks import CHUNK, chunks_of, slice_characters
from minitransformer.values import number

DEFAULT_CORPUS = f"the Python {platform.python_version()} manual (pydoc_data.topics)"


def default_corpus():
    """Return Python's help topics as one str: real English and code that nearly every CPython carries.

    About half a million characters, in alphabetical order of the topics: sections of the language reference and some of
    the library's, several of them more than once, so that a twelfth of the last tenth stands before it as well. The
    text differs a little from one Python version to the next; DEFAULT_CORPUS names it. Raises FileNotFoundError where a
    Python was built without it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise FileNotFoundError(
            "this Python was built without pydoc_data.topics, which is the default corpus: give a text file instead"
        ) from None
    return "\n".join(topics[name] for name in sorted(topics))


class TextFiles:
    """The text of UTF-8 files, one after another with nothing in between. Iterating yields it in chunks of str.

    paths: a path or several, "-" being standard input. What can be read only once, like standard input or a pipe, is
    first copied to a temporary file, for a text is read more than once: to train a tokenizer, and then to encode.
    Raises FileNotFoundError, IsADirectoryError, or another OSError; ValueError for a file that is empty; and, while
    iterating, ValueError for one that is not UTF-8, naming the file, the byte and its position.
    """

    def __init__(self, paths):
        paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        if not paths:
            raise ValueError("no text file was given")
        self._sources = [self._source(path) for path in paths]
        self.name = ", ".join(name for name, _ in self._sources)

    def __iter__(self):
        for name, source in self._sources:
            with nullcontext(source) if hasattr(source, "read") else open(source, "rb") as file:
                file.seek(0)
                yield from decode_utf8(file, name)

    def _source(self, path):
        """Return (name, source); the source is the path itself, or a temporary file with a copy of what it gave."""
        if path == "-":
            return "standard input", self._spooled(sys.stdin.buffer, "standard input")
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return str(path), self._spooled(file, path)
        if status.st_size == 0:
            raise ValueError(f"{path}: is empty")
        return str(path), path

    def _spooled(self, stream, name):
        """Copy a binary stream to an anonymous temporary file, which is gone when this object is."""
        file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, file.close)
        with naming(f"the temporary copy of {name}"):
            shutil.copyfileobj(stream, file, CHUNK)
        if file.tell() == 0:
            raise ValueError(f"{name}: is empty")
        return file


def decode_utf8(file, name):
    """Yield the text of a binary file in chunks. A character cut in two by a chunk's end waits for its rest."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    start = 0  # where the bytes that the decoder has not yet turned into text begin
    while True:
        data = file.read(CHUNK)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            byte, position = error.object[error.start], start + error.start
            raise ValueError(f"{name}: not UTF-8 text: byte 0x{byte:02x} at position {position}") from None
        if text:
            yield text
        if not data:
            return
        start = file.tell() - len(decoder.getstate()[0])


@dataclass(frozen=True)
class Corpus:
    """A text as ids: `train_ids` and `val_ids`, 1-D arrays of the smallest unsigned dtype that fits the vocabulary."""

    train_ids: np.ndarray
    val_ids: np.ndarray
    name: str
    characters: int

    def require_context(self, context):
        """Raise ValueError unless each split holds a window of context + 1 tokens; a validation split of 0 may not."""
        check_length(self.train_ids, context, f"{self.name}: the training split")
        if len(self.val_ids):
            check_length(self.val_ids, context, f"{self.name}: the validation split")


def tokenize_corpus(text, tokenizer, *, name=None, validation=0.1, progress=None):
    """Encode `text`, all but its last part for training and the rest for validation, and return a Corpus.

    text: a str, a TextFiles, or another iterable of str that can be read more than once. The cut falls after the first
    (1 − validation) of its characters, and each side is encoded by itself, so no token reaches across.
    validation: the fraction 0 ≤ validation < 1; 0 leaves `val_ids` empty.
    progress: called as progress(done, total), in characters, after each chunk.
    name: what the corpus is called in messages; a TextFiles brings its own.
    """
    number("validation", validation, least=0, below=1)
    if isinstance(text, Iterator):
        raise TypeError(
            "text can be read only once, but is needed several times: pass a str, a list of str, or TextFiles"
        )
    total = sum(map(len, chunks_of(text)))
    cut = int(total * (1 - validation))
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)

    def encoded(start, stop):
        chunks = slice_characters(chunks_of(text), start, stop)
        ids = bytearray()  # grows in place, so that the ids never exist twice
        for piece in tokenizer.encode_chunks(reported(chunks, start, total, progress)):
            ids += piece.astype(dtype).tobytes()
        return np.frombuffer(ids, dtype)

    name = name or getattr(text, "name", "the text")
    return Corpus(encoded(0, cut), encoded(cut, total), name, total)


def reported(chunks, start, total, progress):
    """Yield the chunks, and when each has been dealt with call progress(characters so far, total)."""
    done = start
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if progress is not None:
            progress(done, total)
