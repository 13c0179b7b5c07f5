"""What every tokenizer has in common: text to ids, ids to text, and a file.

A language model knows nothing of letters. It sees a sequence of integers 0 … V − 1, and a tokenizer is the dictionary
between the two. The choice is a trade between V, which costs parameters and time at the model's two ends, and the
length of the sequence, which costs time in all of the model:

    tokenizer        V              "hello, world" is   knows
    ByteTokenizer    256            12 ids              any text
    CharTokenizer    a few dozen    12 ids              the characters it was trained on
    BPETokenizer     you choose     3 or so             any text
"""

import json
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minitransformer.archive import ArchiveError, read_bounded
from minitransformer.files import write_atomically
from minitransformer.text.chunks import chunks_of
from minitransformer.values import brief


class Tokenizer:
    """A dictionary between text and ids 0 … vocab_size − 1.

    A subclass names its `kind`, has `vocab_size`, and defines `_encode`, `decode`, `to_dict` and `from_dict`.

    The tokenizer of a model from elsewhere may also have `bos_id`, the id that stands before every text (encode gives
    the text's own ids, LanguageModel.encode puts it there); `end_ids`, with which a text or a turn of a conversation
    ends, and generation stops; `chat_template`, how a conversation is written (see interop/chat.py), and `token_names`,
    the texts of special tokens by the names that the template knows, such as "bos_token".
    """

    kind: str | None = None
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
        """Yield arrays of ids for a text that comes as an iterable of str; joined, they are the whole text's ids."""
        start = 0
        for chunk in chunks:
            yield self._encode(chunk, start)
            start += len(chunk)

    def _encode(self, text: str, start: int) -> NDArray[np.int64]:
        """Return the ids of `text`, which stands at character `start` of a longer one (for the words of errors)."""
        raise NotImplementedError(f"{type(self).__name__} does not define _encode")

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of `ids`, any sequence or 1-D array of integers."""
        raise NotImplementedError(f"{type(self).__name__} does not define decode")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield text, as soon as it is certain, for an iterable of single ids; joined, it is decode's."""
        for i in ids:
            yield self.decode([i])

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold of this tokenizer; `from_dict` and `tokenizer_from_dict` turn it back."""
        raise NotImplementedError(f"{type(self).__name__} does not define to_dict")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to one JSON file, atomically: a reader meets the old file or the new, never a part."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a tokenizer of this kind from the file that `save` wrote.

        Raises OSError for a file that cannot be read, ArchiveError for one that is damaged or holds something else.
        """
        content = read_json(path)
        try:
            if content.get("kind") != cls.kind:
                raise ValueError(f"expected a tokenizer of kind {cls.kind!r}, found kind {content.get('kind')!r}")
            return cls.from_dict(content)
        except (TypeError, ValueError) as error:
            raise ArchiveError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Return the tokenizer that `to_dict` described."""
        raise NotImplementedError(f"{cls.__name__} does not define from_dict")

    def check_ids(self, ids: ArrayLike) -> NDArray[np.integer[Any]]:
        """Return `ids` as a 1-D integer array; raise for anything that is no sequence of ids of this vocabulary."""
        array = np.asarray(ids)
        if array.size == 0 and array.ndim == 1:
            return np.empty(0, np.int64)
        if array.dtype.kind not in "iu":
            raise TypeError(f"ids must be integers, not {array.dtype}")
        if array.ndim != 1:
            raise ValueError(f"ids must be one sequence, not an array of shape {array.shape}")
        wrong = (array < 0) | (array >= self.vocab_size)
        if wrong.any():
            at = int(wrong.argmax())
            problem = "negative" if array[at] < 0 else "out of range"
            raise ValueError(f"id {array[at]} at position {at} is {problem}: ids run from 0 to {self.vocab_size - 1}")
        return array


def concatenate(pieces):
    """Join an iterable of id arrays, of which there may be none."""
    return np.concatenate([np.empty(0, np.int64), *pieces])


def stored(content, name, expected):
    """Return field `name` of a stored tokenizer, insisting on its type."""
    if not isinstance(content.get(name), expected):
        raise ValueError(f"not a tokenizer of kind {content.get('kind')!r}: {name!r} is missing or of the wrong type")
    return content[name]


def write_json(path, content):
    """Write `content`, what JSON can hold, to `path`, whole or not at all. Raises OSError where that fails."""
    write_atomically(path, lambda file: file.write(json.dumps(content).encode()))


def read_json(path):
    """Return the JSON object that a file holds. Raises OSError, or ArchiveError, a ValueError, for anything else."""
    content = read_bounded(path)
    try:
        content = json.loads(content.decode())
    except (ValueError, RecursionError) as error:  # ValueError also where it is no UTF-8
        raise ArchiveError(f"{path}: not valid JSON, or truncated ({error})") from None
    if not isinstance(content, dict):
        raise ArchiveError(f"{path}: expected a JSON object, found {brief(content)}")
    return content
