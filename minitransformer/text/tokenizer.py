"""The common interface of all tokenizers: encoding, decoding, and storage in a file.

A language model does not see letters. It sees a sequence of integers 0 … V − 1, and a tokenizer translates between
text and these ids. The vocabulary size V is a trade-off: a larger V costs parameters and time in the first and the last
layer, and a longer sequence costs time in all layers:

    tokenizer        V              "hello, world" is   covers
    ByteTokenizer    256            12 ids              any text
    CharTokenizer    a few dozen    12 ids              the characters of its training text
    BPETokenizer     your choice    3 or so             any text
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, Self, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minitransformer.system.archive import ArchiveError, archive_errors, read_bounded
from minitransformer.system.files import write_json
from minitransformer.system.validation import brief, check_int, dictionary, kinds, one_of
from minitransformer.text.chunks import chunks_of

# {optional argument of a tokenizer's constructor, and entry of its file: type}; the class Tokenizer explains them
ROLES: dict[str, Any] = {
    "bos_id": (int, NoneType),
    "end_ids": (list, tuple),
    "chat_template": (str, NoneType),
    "token_names": dict,
}


class Roles(TypedDict, total=False):
    bos_id: int | None
    end_ids: Iterable[int]
    chat_template: str | None
    token_names: Mapping[str, str] | None


class Tokenizer(ABC):
    """A mapping between text and ids 0 … vocab_size − 1.

    A subclass defines `kind`, `vocab_size`, `_encode`, `decode`, and `_fields`. `_fields` maps the names of the
    constructor's arguments, which are also attributes, to their types. A pretrained model's tokenizer may also have

    bos_id          the id at the beginning of every text. `encode` does not add it; LanguageModel.encode does
    end_ids         ids that end a text, or a turn of a conversation; generation stops at them
    chat_template   the template that writes a conversation as text (see interop/chat.py)
    token_names     {name: text} of special tokens, with names that the template uses, such as "bos_token"
    """

    kind: str | None = None
    _fields: dict[str, Any] = {}  # noqa: RUF012
    bos_id: int | None = None
    end_ids: tuple[int, ...] = ()
    chat_template: str | None = None
    token_names: dict[str, str] = {}  # noqa: RUF012

    if TYPE_CHECKING:  # a subclass has an attribute or a property

        @property
        def vocab_size(self) -> int: ...

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the ids of `text` (a str) as a 1-D int64 array."""
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}")
        return concatenate(self.encode_chunks(chunks_of(text)))

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[NDArray[np.int64]]:
        """Yield an array of ids for each chunk of a text. The arrays together are the ids of the whole text."""
        start = 0
        for chunk in chunks:
            yield self._encode(chunk, start)
            start += len(chunk)

    @abstractmethod
    def _encode(self, text: str, start: int) -> NDArray[np.int64]:
        """Return the ids of `text`. `start` is the position of `text` in the whole text, for error messages."""

    @abstractmethod
    def decode(self, ids: ArrayLike) -> str:
        """Return the text of `ids`, any sequence or 1-D array of integers."""

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield the text of `ids` in pieces, as early as possible. Together they are decode(ids)."""
        for i in ids:
            yield self.decode([i])

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serializable dictionary for `from_dict`."""
        return {"kind": self.kind} | {name: getattr(self, name) for name in self._fields}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to a JSON file, atomically."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a tokenizer of this class from a file written by `save`. Raises OSError or ArchiveError."""
        with archive_errors(path):
            tokenizer = tokenizer_from_dict(read_json(path))
            if not isinstance(tokenizer, cls):
                raise ValueError(f"expected a tokenizer of kind {cls.kind!r}, found kind {tokenizer.kind!r}")
            return tokenizer

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Create a tokenizer from the result of `to_dict`."""
        return cls(**{name: stored(content, name, expected) for name, expected in cls._fields.items()})

    def check_ids(self, ids: ArrayLike) -> NDArray[np.integer[Any]]:
        """Return `ids` as a 1-D integer array, or raise TypeError or ValueError."""
        array = np.asarray(ids)
        if array.size == 0 and array.ndim == 1:
            return np.empty(0, np.int64)
        if array.dtype.kind not in "iu":
            raise TypeError(f"ids must be integers, not {array.dtype}")
        if array.ndim != 1:
            raise ValueError(f"ids must be a 1-D sequence, not an array of shape {array.shape}")
        wrong = (array < 0) | (array >= self.vocab_size)
        if wrong.any():
            at = int(wrong.argmax())
            raise ValueError(f"ids must be from 0 to {self.vocab_size - 1}, not {array[at]} (at position {at})")
        return array


class NoTokenizer(Tokenizer):
    """The tokenizer of a model whose files contain none. It has `vocab_size` ids without text."""

    kind = "none"
    _fields = {"vocab_size": int}  # noqa: RUF012

    def __init__(self, vocab_size):
        self.vocab_size = check_int("NoTokenizer: vocab_size", vocab_size, minimum=1)

    def _encode(self, text, start):
        return self.decode(())

    def decode(self, ids):
        raise ValueError("the model has no tokenizer; use lm.model with ids, or LanguageModel(lm.model, tokenizer)")


def tokenizer_from_dict(content):
    """Return a tokenizer of any kind from the result of its `to_dict`. Raises TypeError or ValueError."""
    known = kinds(Tokenizer)
    kind = one_of("kind of tokenizer", dictionary("tokenizer", content).get("kind"), known=known)
    return known[kind].from_dict(content)


def concatenate(pieces):
    return np.concatenate([np.empty(0, np.int64), *pieces])


def stored(content, name, expected):
    """Return the entry `name` of a stored tokenizer. Raise ValueError if it is missing or of the wrong type."""
    if not isinstance(content.get(name), expected):
        raise ValueError(f"a tokenizer must have a valid entry {name!r}, not {brief(content.get(name))}")
    return content[name]


def read_json(path):
    """Return the JSON object in a file. Raises OSError or ArchiveError."""
    content = read_bounded(path)
    try:
        content = json.loads(content.decode())
    except (ValueError, RecursionError) as error:  # invalid UTF-8 raises ValueError too
        raise ArchiveError(f"{path}: expected JSON, found invalid or truncated text ({error})") from None
    if not isinstance(content, dict):
        raise ArchiveError(f"{path}: expected a JSON object, found {brief(content)}")
    return content
