"""The words of the simple patterns as tokens, so that people can read the input and output of a model trained on them.

    PatternTokenizer().encode("REVERSE ba de ko =")   is   [5, 200, 211, 238, 1]

Words are separated by white space. They are decoded with one space before each, as in GPT-2, so that decoded parts can
be joined. Encoding and decoding a text therefore changes nothing but its white space.
"""

import re

import numpy as np

from minitransformer.text.patterns import VOCAB_SIZE, spell_token
from minitransformer.text.tokenizer import Tokenizer

WORD = re.compile(r"\S+")


class PatternTokenizer(Tokenizer):
    """A tokenizer with one id for each word of patterns.py. Unused ids are decoded as "?" and the id."""

    kind = "patterns"
    vocab_size = VOCAB_SIZE

    def __init__(self):
        self.words = [spell_token(i) for i in range(VOCAB_SIZE)]
        self.ids = {word: i for i, word in enumerate(self.words)}

    def encode_chunks(self, chunks):
        """Yield arrays of ids for the chunks; a chunk may end within a word."""
        start, text = 0, ""
        for chunk in chunks:
            text += chunk
            whole = len(text) - len(re.search(r"\S*\Z", text)[0])
            yield self._encode(text[:whole], start)
            start, text = start + whole, text[whole:]
        yield self._encode(text, start)

    def _encode(self, text, start):
        ids = []
        for match in WORD.finditer(text):
            if match[0] not in self.ids:
                raise ValueError(
                    f"unknown word {match[0]!r} at position {start + match.start()}: the words are tasks "
                    "such as COPY, the signs = and END, numbers 0 to 99 and syllables such as ba"
                )
            ids.append(self.ids[match[0]])
        return np.array(ids, np.int64)

    def decode(self, ids):
        """Return the text of `ids`: a space and a word for each.

        ids: a sequence or 1-D array of integers below vocab_size.
        """
        return "".join(f" {self.words[i]}" for i in self.check_ids(ids))
