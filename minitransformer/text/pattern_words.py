"""The words of the simple patterns as tokens: so a model of them reads and writes what people can read.

    PatternTokenizer().encode("REVERSE ba de ko =")   is   [5, 200, 211, 238, 1]

Words are told apart by white space, and written with a space before each, as GPT-2's are: so pieces of text join to the
whole. To encode and decode again changes the white space alone.
"""

import re

import numpy as np

from minitransformer.text.patterns import VOCAB_SIZE, spell_token
from minitransformer.text.tokenizer import Tokenizer

WORD = re.compile(r"\S+")


class PatternTokenizer(Tokenizer):
    """One id for each word of text/patterns.py: tasks, signs, numbers and syllables; "?" with the id for the others."""

    kind = "patterns"
    vocab_size = VOCAB_SIZE

    def __init__(self):
        self.words = [spell_token(i) for i in range(VOCAB_SIZE)]
        self.ids = {word: i for i, word in enumerate(self.words)}

    def encode_chunks(self, chunks):
        """Yield arrays of ids for a text that comes as an iterable of str; a word may be cut anywhere."""
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
                    f"unknown word {match[0]!r} at position {start + match.start()}: the simple patterns have tasks "
                    "such as COPY, the signs = and END, numbers 0 to 99 and syllables such as ba"
                )
            ids.append(self.ids[match[0]])
        return np.array(ids, np.int64)

    def decode(self, ids):
        """Return the text of `ids`, any sequence or 1-D array of integers below vocab_size: a space and a word each."""
        return "".join(f" {self.words[i]}" for i in self.check_ids(ids))

    def to_dict(self):
        return {"kind": self.kind}

    @classmethod
    def from_dict(cls, content):
        """Return the tokenizer that `to_dict` described: there is only one."""
        return cls()
