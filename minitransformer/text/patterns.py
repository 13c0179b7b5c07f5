"""Simple patterns: tasks with known answers, which test the abilities of a tiny model.

All patterns share one vocabulary of 1000 ids:

    0          PAD, pads a row on the right; never a target
    1          ANSWER, written "="; the answer follows
    2          END, ends an answer
    3 … 8      the task, which is the first token of a row: COPY, REPEAT, REVERSE, COUNT, INDUCTION, ADD
    100 … 199  NUMBERS: 100 + n stands for the number n
    200 … 299  SYMBOLS without meaning; `spell` writes them as syllables
    others     unused

A row consists of a task, a prompt and an answer. Targets that cannot be predicted are IGNORE_INDEX:

    REVERSE  ba  de  ko   =   ko  de  ba  END      tokens
             -   -   -    -   ko  de  ba  END      targets, each predicted from the tokens before it

`length` is the size of a task. A model that was trained on short tasks can be tested on longer ones.

    PatternTokenizer().encode("REVERSE ba de ko =")   is   [5, 200, 211, 238, 1]
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minitransformer.text.batches import IGNORE_INDEX
from minitransformer.text.tokenizer import Tokenizer

VOCAB_SIZE = 1000
PAD, ANSWER, END, COPY, REPEAT, REVERSE, COUNT, INDUCTION, ADD = range(9)
NUMBERS = np.arange(100, 200)
SYMBOLS = np.arange(200, 300)
MODULUS = 97

_NAMES = ["PAD", "=", "END", "COPY", "REPEAT", "REVERSE", "COUNT", "INDUCTION", "ADD"]
_SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnpqrstvwxz" for vowel in "aeiou"]


@dataclass(frozen=True)
class Pattern:
    """A simple pattern, whose tasks of a given length take T = stretch · length + extra positions.

    `rows` is a function (rng, batch_size, length). It draws tokens (B, T + 1) int64, and returns them with a boolean
    array that broadcasts to this shape. The array is True for each token that follows from the tokens before it.
    """

    name: str
    description: str
    rows: Callable
    stretch: int
    extra: int
    shortest: int
    longest: int | None = None

    def sample(self, rng, batch_size, length):
        """Draw tasks of one length. Return inputs and targets, each (batch_size, width(length)) int64.

        Targets outside of the answers are IGNORE_INDEX. Raises ValueError for a length that the pattern does not allow.
        """
        if length < self.shortest or (self.longest is not None and length > self.longest):
            limit = "" if self.longest is None else f" and at most {self.longest}"
            raise ValueError(f"{self.name}: length must be at least {self.shortest}{limit}, not {length}")
        tokens, is_answer = self.rows(rng, batch_size, length)
        targets = np.where(np.broadcast_to(is_answer, tokens.shape), tokens, IGNORE_INDEX)
        return tokens[:, :-1].copy(), targets[:, 1:].copy()

    def width(self, length):
        """Return the number of positions T of a task of this length."""
        return self.stretch * length + self.extra

    def longest_within(self, context):
        """Return the greatest length that fits in a context, or raise ValueError."""
        if self.width(self.shortest) > context:
            raise ValueError(f"{self.name}: the context must be at least {self.width(self.shortest)}, not {context}")
        length = (context - self.extra) // self.stretch
        return length if self.longest is None else min(length, self.longest)


def question_and_answer(task, prompt, answer):
    """Return the tokens (task, prompt, ANSWER, answer, END) of each row, and an array that is True in the answers."""
    tokens = joined(task, prompt, ANSWER, answer, END)
    return tokens, np.arange(tokens.shape[1]) >= 2 + prompt.shape[1]


def joined(*parts):
    """Concatenate arrays (B, n) along the last axis. An integer part is repeated in all rows."""
    rows = next(len(part) for part in parts if not isinstance(part, int))
    return np.concatenate([np.full((rows, 1), part) if isinstance(part, int) else part for part in parts], axis=1)


def distinct_symbols(rng, batch_size, count):
    return rng.permuted(np.tile(SYMBOLS, (batch_size, 1)), axis=1)[:, :count]


def copy_rows(rng, batch_size, length):
    prompt = rng.choice(SYMBOLS, (batch_size, length))
    return question_and_answer(COPY, prompt, prompt)


def reverse_rows(rng, batch_size, length):
    prompt = rng.choice(SYMBOLS, (batch_size, length))
    return question_and_answer(REVERSE, prompt, prompt[:, ::-1])


def add_rows(rng, batch_size, length):
    """Draw rows of the form ADD a1 … an = s END, where s is the sum of a1 … an modulo MODULUS."""
    addends = rng.integers(0, MODULUS, (batch_size, length))
    return question_and_answer(ADD, NUMBERS[addends], NUMBERS[addends.sum(axis=1, keepdims=True) % MODULUS])


def count_rows(rng, batch_size, length):
    """Draw rows of the form COUNT a a+1 … with `length` numbers, of which the first is random."""
    first = rng.integers(0, len(NUMBERS) - length + 1, (batch_size, 1))
    return joined(COUNT, NUMBERS[first + np.arange(length)]), np.arange(length + 1) >= 2


def repeat_rows(rng, batch_size, length):
    """Draw rows of the form REPEAT x y z x y z x …, where a unit of one to four different symbols is repeated.

    The first repeated symbol shows the length of the unit, so only the symbols after it can be predicted.
    """
    period = rng.integers(1, 5, (batch_size, 1))
    unit = distinct_symbols(rng, batch_size, 4)
    symbols = np.take_along_axis(unit, np.arange(length) % period, axis=1)
    return joined(REPEAT, symbols), np.arange(length + 1) >= period + 2


def induction_rows(rng, batch_size, length):
    """Draw rows of the form INDUCTION x1 … xn x1 … xn. All symbols after the second x1 can be predicted."""
    symbols = distinct_symbols(rng, batch_size, length)
    return joined(INDUCTION, symbols, symbols), np.arange(2 * length + 1) >= length + 2


_ALL = [
    Pattern("copy", "repeat a random sequence after a sign", copy_rows, 2, 2, shortest=1),
    Pattern("repeat", "continue a repeating unit of one to four symbols", repeat_rows, 1, 0, shortest=6),
    Pattern("reverse", "reverse a random sequence after a sign", reverse_rows, 2, 2, shortest=1),
    Pattern("count", "count up by one from any number", count_rows, 1, 0, shortest=2, longest=len(NUMBERS)),
    Pattern("induction", "a random sequence, repeated once", induction_rows, 2, 0, shortest=2, longest=len(SYMBOLS)),
    Pattern("add", f"add two to four numbers modulo {MODULUS}", add_rows, 1, 3, shortest=2, longest=4),
]
PATTERNS = {pattern.name: pattern for pattern in _ALL}


def right_rows(predicted, targets):
    """Return a boolean array (B,) that is True for each row whose targets are all predicted correctly.

    `predicted` and `targets` are (B, T). Targets of IGNORE_INDEX are not compared.
    """
    return ((predicted == targets) | (targets == IGNORE_INDEX)).all(axis=-1)


def accuracy(predicted, targets):
    """Return the fraction of answer tokens (B, T) that are predicted correctly. Raises ValueError if there is none."""
    is_answer = targets != IGNORE_INDEX
    if not is_answer.any():
        raise ValueError("targets must contain at least one answer token, but all are IGNORE_INDEX")
    return float((predicted == targets)[is_answer].mean())


def spell(ids):
    """Convert a row of ids to text, such as "REVERSE ba de ko = ko de ba END"."""
    return " ".join(spell_token(int(i)) for i in ids if i != PAD)


def spell_token(i):
    """Convert an id to a name, a number or a syllable. An unused id is shown as "?" and the id."""
    if i < len(_NAMES):
        return _NAMES[i]
    if i in NUMBERS:
        return str(i - NUMBERS[0])
    return _SYLLABLES[i - SYMBOLS[0]] if i in SYMBOLS else f"?{i}"


class PatternTokenizer(Tokenizer):
    """A tokenizer with one id for each word of the patterns. Words are separated by white space.

    `decode` writes a space before each word, as in GPT-2, so that decoded parts can be joined.
    """

    kind = "patterns"
    vocab_size = VOCAB_SIZE

    def __init__(self):
        self.words = [spell_token(i) for i in range(VOCAB_SIZE)]
        self.ids = {word: i for i, word in enumerate(self.words)}

    def encode_chunks(self, chunks):
        yield self._encode("".join(chunks), 0)  # at once, because a chunk may end within a word

    def _encode(self, text, start):
        for match in re.finditer(r"\S+", text):
            if match[0] not in self.ids:
                raise ValueError(
                    f"unknown word {match[0]!r} at position {match.start()}; the words are tasks such as COPY, the "
                    "signs = and END, the numbers 0 to 99, and syllables such as ba"
                )
        return np.array([self.ids[word] for word in text.split()], np.int64)

    def decode(self, ids):
        """Return the text of `ids`, any sequence or 1-D array of integers."""
        return "".join(f" {self.words[i]}" for i in self.check_ids(ids))
