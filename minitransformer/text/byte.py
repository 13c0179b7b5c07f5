"""Bytes as tokens: a vocabulary of 256 that covers any text.

Unicode has more than a million code points, too many for a vocabulary. UTF-8 writes each of them as one to four bytes,
and there are only 256 different bytes. With bytes as tokens, no text contains an unknown token.

    "é" is the code point U+00E9  →  the bytes C3 A9  →  the ids [195, 169]

The disadvantage is length: English needs about one id per letter, Chinese three per character. Byte-pair encoding
(bpe.py) starts from bytes and adds tokens for frequent sequences of bytes. Not every sequence of bytes is a text: a
model may generate C3 without A9. `decode` replaces invalid UTF-8 with U+FFFD. Conversely, not every str is a sequence
of bytes: it may contain half of a UTF-16 pair, a *lone surrogate* such as "\\ud800", which has no UTF-8 encoding.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minitransformer.text.chunks import chunks_of
from minitransformer.text.tokenizer import Tokenizer, concatenate


class ByteLevelTokenizer(Tokenizer):
    """A tokenizer in which every token stands for a sequence of bytes.

    tokens           list of bytes; token i has id i
    special_tokens   {text: id} of tokens that stand between texts, such as GPT-2's "<|endoftext|>"
    bos_id, end_ids, chat_template, token_names   see Tokenizer

    Bytes are encoded as a str in which surrogates represent invalid UTF-8 (the error handler "surrogateescape").
    """

    def __init__(
        self,
        tokens: Iterable[bytes],
        special_tokens: Mapping[str, int],
        *,
        bos_id: int | None = None,
        end_ids: Iterable[int] = (),
        chat_template: str | None = None,
        token_names: Mapping[str, str] | None = None,
    ):
        self.tokens, self.special_tokens = list(tokens), dict(special_tokens)
        self.bos_id, self.end_ids, self.chat_template = bos_id, tuple(end_ids), chat_template
        self.token_names = dict(token_names or {})
        for i in (*self.special_tokens.values(), *self.end_ids, *([] if bos_id is None else [bos_id])):
            if type(i) is not int or not 0 <= i < self.vocab_size:
                raise ValueError(f"a special token must have an integer id from 0 to {self.vocab_size - 1}, not {i!r}")

    @property
    def vocab_size(self) -> int:
        """Return the number of tokens."""
        return len(self.tokens)

    def encode(self, text: str | bytes | bytearray) -> NDArray[np.int64]:
        """Return the ids of `text`, a str or bytes, as a 1-D int64 array.

        `decode_bytes` converts them back to the original bytes. Raises ValueError, with the position, if a str contains
        a lone surrogate.
        """
        if isinstance(text, (bytes, bytearray)):
            return concatenate(self._encode_escaped(chunks_of(text.decode("utf-8", "surrogateescape"))))
        return super().encode(text)

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[NDArray[np.int64]]:
        """Yield an array of ids for each chunk of a text. The arrays together are the ids of the whole text."""
        return self._encode_escaped(without_surrogates(chunks))

    def _encode_escaped(self, chunks):
        return super().encode_chunks(chunks)

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """Return the bytes of `ids`, which need not be valid UTF-8."""
        return b"".join(map(self.tokens.__getitem__, self.check_ids(ids).tolist()))

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of `ids`. Invalid UTF-8 becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def split_at_special_tokens(self, text: str) -> list[str]:
        """Split a text into a list in which ordinary text (possibly empty) and special tokens alternate."""
        longest_first = sorted(self.special_tokens, key=len, reverse=True)
        return re.split(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})", text)

    def joined_ids(self, pieces: list[str], encode: Callable[[str], NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return the ids of the pieces of split_at_special_tokens. `encode` encodes ordinary text."""
        ids = [np.array([self.special_tokens[piece]]) if i % 2 else encode(piece) for i, piece in enumerate(pieces)]
        return concatenate(ids)

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield the text of `ids` in pieces. Each character is yielded when its last byte has been read."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for i in ids:
            if text := decoder.decode(self.decode_bytes([i])):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text


def without_surrogates(chunks):
    """Yield the chunks of a text, or raise ValueError at the first lone surrogate."""
    start = 0
    for chunk in chunks:
        try:
            chunk.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the text must not contain lone surrogates, which have no UTF-8 encoding, such as "
                f"{chunk[error.start]!r} at position {start + error.start}"
            ) from None
        yield chunk
        start += len(chunk)


class ByteTokenizer(ByteLevelTokenizer):
    """A tokenizer with one id for each byte of UTF-8: the value of the byte."""

    kind = "byte"

    def __init__(self) -> None:
        tokens = [bytes([byte]) for byte in range(256)]
        super().__init__(tokens, {}, bos_id=self.bos_id, end_ids=self.end_ids)  # a subclass may set them

    def _encode(self, text, start):
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8).astype(np.int64)
