"""Characters as tokens: the vocabulary is the set of characters in the training text, in order of code point.

    CharTokenizer.train("hello").encode("hole")   is   [1, 3, 2, 0]:   the vocabulary is "ehlo"

This is the simplest vocabulary, and a good one for a small model and a small text. It covers only the characters of its
training text. An unknown character raises ValueError, because a silent "unknown" token would hide the problem.
"""

from collections.abc import Iterable
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from minitransformer.text.byte import without_surrogates
from minitransformer.text.chunks import chunks_of
from minitransformer.text.tokenizer import Tokenizer


class CharTokenizer(Tokenizer):
    """A tokenizer with one id for each character. Id i stands for characters[i].

    `characters` is the vocabulary. It is stored as a str in order of code point. Raises ValueError if it is empty or
    contains a lone surrogate.
    """

    kind = "char"
    _fields = {"characters": str}  # noqa: RUF012

    def __init__(self, characters: Iterable[str]):
        if not characters:
            raise ValueError("characters must contain at least one character, but it is empty")
        self.characters = "".join(without_surrogates(sorted(set(characters))))
        self._code_points = code_points(self.characters)

    @classmethod
    def train(cls, text: str | Iterable[str]) -> Self:
        """Return a tokenizer for the characters of `text`, a str or an iterable of str."""
        characters: set[str] = set()
        for chunk in without_surrogates(chunks_of(text)):
            characters.update(chunk)
        return cls(characters)

    @property
    def vocab_size(self) -> int:
        """Return the number of different characters."""
        return len(self.characters)

    def _encode(self, text, start):
        points = code_points(text)
        ids = np.searchsorted(self._code_points, points)
        known = self._code_points[np.minimum(ids, self.vocab_size - 1)] == points
        if not known.all():
            at, more = int(known.argmin()), self.vocab_size - 60
            raise ValueError(
                f"unknown character {text[at]!r} (U+{points[at]:04X}) at position {start + at}: this vocabulary has "
                f"{self.vocab_size} characters, {self.characters[:60]!r}{f' and {more} more' if more > 0 else ''}"
            )
        return ids

    def decode(self, ids: ArrayLike) -> str:
        return self._code_points[self.check_ids(ids)].tobytes().decode("utf-32-le")


def code_points(text):
    """Return the code points of a str, including lone surrogates, as a uint32 array."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
