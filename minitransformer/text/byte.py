"""Bytes as tokens: the smallest vocabulary that knows any text.

Unicode has more than a million code points, too many for a vocabulary. UTF-8 writes each of them as one to four bytes,
and there are only 256 bytes: take those as the tokens, and no text is ever unknown.

    "é" is the code point U+00E9  →  the bytes C3 A9  →  the ids [195, 169]

The price is length: English costs one id a letter, Chinese three. Byte-pair encoding (bpe.py) starts here and makes
tokens of frequent runs of bytes.

The way back has one difficulty. Every text is bytes, but not all bytes are text: a model may well produce C3 without
its A9. `decode_bytes` returns exactly the bytes; `decode` shows what is no UTF-8 as U+FFFD, the replacement mark.

In Python a str may hold half of a UTF-16 pair, a *lone surrogate* such as "\\ud800", which is no character and has no
UTF-8. `encode` refuses it.
"""

import codecs
from collections.abc import Iterable, Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minitransformer.text.chunks import chunks_of
from minitransformer.text.tokenizer import Tokenizer, concatenate


class ByteLevelTokenizer(Tokenizer):
    """A tokenizer whose every token stands for a run of bytes. A subclass also defines `_bytes_of(ids)`.

    Python can carry bytes that are no UTF-8 through a str as surrogates (the error handler "surrogateescape", PEP 383):
    that is how bytes take the same way as text, and why a text's own surrogates are refused before it sets out.
    """

    def encode(self, text: str | bytes | bytearray) -> NDArray[np.int64]:
        """Return the ids of `text`, a str or bytes of any kind, as a 1-D int64 array.

        Bytes that are UTF-8 give the ids of the text they spell, and `decode_bytes` gives back any bytes.
        Raises ValueError for a str with a lone surrogate, naming its position.
        """
        if isinstance(text, (bytes, bytearray)):
            return concatenate(self._encode_escaped(chunks_of(text.decode("utf-8", "surrogateescape"))))
        return super().encode(text)

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[NDArray[np.int64]]:
        """Yield arrays of ids for a text that comes as an iterable of str; joined, they are the whole text's ids."""
        return self._encode_escaped(without_surrogates(chunks))

    def _encode_escaped(self, chunks):
        return super().encode_chunks(chunks)

    def _bytes_of(self, ids: NDArray[Any]) -> bytes:
        """Return the bytes of ids that are known to be in the vocabulary."""
        raise NotImplementedError(f"{type(self).__name__} does not define _bytes_of")

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """Return the bytes that `ids` stand for: exactly those, UTF-8 or not."""
        return self._bytes_of(self.check_ids(ids))

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of `ids`; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield text for an iterable of single ids; a character's first bytes wait for its last."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for i in ids:
            if text := decoder.decode(self.decode_bytes([i])):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text


def without_surrogates(chunks):
    """Yield the chunks of a text, and raise ValueError at the first lone surrogate."""
    start = 0
    for chunk in chunks:
        try:
            chunk.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the character {chunk[error.start]!r} at position {start + error.start} is a lone surrogate, "
                "which is not text: it has no UTF-8 encoding"
            ) from None
        yield chunk
        start += len(chunk)


class ByteTokenizer(ByteLevelTokenizer):
    """One id a byte of UTF-8: the id is the byte's value."""

    kind = "byte"
    vocab_size = 256

    def _encode(self, text, start):
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8).astype(np.int64)

    def _bytes_of(self, ids):
        return ids.astype(np.uint8).tobytes()

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Return the byte tokenizer: there is only one."""
        return cls()
