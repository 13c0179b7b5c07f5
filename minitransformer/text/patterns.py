"""Simple patterns: little languages whose every answer is known, to see what a tiny model can and cannot learn.

The vocabulary of 1000 ids is laid out once for all of them:

    0          PAD, fills a row up on the right; never asked for
    1          ANSWER, "=": what follows is the answer
    2          END, the answer is complete
    3 … 8      the task, which is the first token of a row: COPY, REPEAT, REVERSE, COUNT, INDUCTION, ADD
    100 … 199  NUMBERS: 100 + n stands for the number n
    200 … 299  SYMBOLS, without meaning; `spell` writes them as syllables
    the rest   free

A row is a task, a prompt and an answer, and the targets are IGNORE_INDEX wherever nothing can be predicted:

    REVERSE  ba  de  ko   =   ko  de  ba  END      tokens
             -   -   -    -   ko  de  ba  END      targets, of the token before: the answer alone

`length` is the size of the task: a model that was trained on short ones can be asked for longer ones.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from minitransformer.text.batches import IGNORE_INDEX

VOCAB_SIZE = 1000
PAD, ANSWER, END, COPY, REPEAT, REVERSE, COUNT, INDUCTION, ADD = range(9)
NUMBERS = np.arange(100, 200)
SYMBOLS = np.arange(200, 300)
MODULUS = 97

_NAMES = ["PAD", "=", "END", "COPY", "REPEAT", "REVERSE", "COUNT", "INDUCTION", "ADD"]
_SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnpqrstvwxz" for vowel in "aeiou"]


@dataclass(frozen=True)
class Pattern:
    """One little language.

    rows(rng, batch_size, length) draws (tokens, is_answer): tokens (B, T + 1) int64, and is_answer, boolean and
    broadcast to the same shape, marks the tokens that follow from those before them.
    A length runs from `shortest` to `longest` (None: without limit), and takes T = stretch · length + extra positions.
    """

    name: str
    description: str
    rows: Callable
    stretch: int
    extra: int
    shortest: int
    longest: int | None = None

    def sample(self, rng, batch_size, length):
        """Return (inputs, targets), each (B, T) int64, of `batch_size` random tasks of one length.

        rng: a numpy Generator. T is width(length). Targets are IGNORE_INDEX but for the answers.
        Raises ValueError for a length that the pattern cannot have.
        """
        if length < self.shortest or (self.longest is not None and length > self.longest):
            limit = "" if self.longest is None else f" and at most {self.longest}"
            raise ValueError(f"{self.name}: length must be at least {self.shortest}{limit}, not {length}")
        tokens, is_answer = self.rows(rng, batch_size, length)
        targets = np.where(np.broadcast_to(is_answer, tokens.shape), tokens, IGNORE_INDEX)
        return tokens[:, :-1].copy(), targets[:, 1:].copy()

    def width(self, length):
        """Return T, the number of positions that a task of this length takes."""
        return self.stretch * length + self.extra

    def longest_within(self, context):
        """Return the greatest length whose tasks fit `context` positions. Raises ValueError if none does."""
        if self.width(self.shortest) > context:
            raise ValueError(f"{self.name}: needs a context of at least {self.width(self.shortest)}, not {context}")
        length = (context - self.extra) // self.stretch
        return length if self.longest is None else min(length, self.longest)


def question_and_answer(task, prompt, answer):
    """Return (tokens, is_answer) of rows that read: task, prompt (B, n), ANSWER, answer (B, m), END."""
    parts = [column(task, prompt), prompt, column(ANSWER, prompt), answer, column(END, prompt)]
    tokens = np.concatenate(parts, axis=1)
    return tokens, np.arange(tokens.shape[1]) >= 2 + prompt.shape[1]


def column(token, rows):
    """Return a column (B, 1) of one token, beside `rows` (B, n)."""
    return np.full((len(rows), 1), token)


def distinct_symbols(rng, batch_size, count):
    """Draw `count` different symbols for each row."""
    return rng.permuted(np.tile(SYMBOLS, (batch_size, 1)), axis=1)[:, :count]


def copy_rows(rng, batch_size, length):
    """COPY x1 … xn = x1 … xn END."""
    prompt = rng.choice(SYMBOLS, (batch_size, length))
    return question_and_answer(COPY, prompt, prompt)


def reverse_rows(rng, batch_size, length):
    """REVERSE x1 … xn = xn … x1 END."""
    prompt = rng.choice(SYMBOLS, (batch_size, length))
    return question_and_answer(REVERSE, prompt, prompt[:, ::-1])


def add_rows(rng, batch_size, length):
    """ADD a1 … an = s END, with s the sum of the numbers modulo MODULUS."""
    addends = rng.integers(0, MODULUS, (batch_size, length))
    return question_and_answer(ADD, NUMBERS[addends], NUMBERS[addends.sum(axis=1, keepdims=True) % MODULUS])


def count_rows(rng, batch_size, length):
    """COUNT a a+1 … : length numbers, of which the first is free."""
    first = rng.integers(0, len(NUMBERS) - length + 1, (batch_size, 1))
    numbers = NUMBERS[first + np.arange(length)]
    tokens = np.concatenate([column(COUNT, numbers), numbers], axis=1)
    return tokens, np.arange(length + 1) >= 2


def repeat_rows(rng, batch_size, length):
    """REPEAT x y z x y z x … : length symbols, a unit of one to four different ones again and again.

    The first symbol that comes back tells how long the unit is, so only what follows it can be predicted.
    """
    period = rng.integers(1, 5, (batch_size, 1))
    positions = np.arange(length)
    unit = distinct_symbols(rng, batch_size, 4)
    symbols = np.take_along_axis(unit, positions % period, axis=1)
    tokens = np.concatenate([column(REPEAT, symbols), symbols], axis=1)
    return tokens, np.arange(length + 1) >= period + 2


def induction_rows(rng, batch_size, length):
    """INDUCTION x1 … xn x1 … xn: a random sequence of different symbols, twice.

    Nothing says where the second time begins; after its first symbol, what followed that symbol before follows again.
    """
    symbols = distinct_symbols(rng, batch_size, length)
    tokens = np.concatenate([column(INDUCTION, symbols), symbols, symbols], axis=1)
    return tokens, np.arange(2 * length + 1) >= length + 2


_ALL = [
    Pattern("copy", "say a random sequence again, after a sign", copy_rows, 2, 2, shortest=1),
    Pattern("repeat", "go on with a unit of one to four symbols that repeats", repeat_rows, 1, 0, shortest=6),
    Pattern("reverse", "say a random sequence backward, after a sign", reverse_rows, 2, 2, shortest=1),
    Pattern("count", "count on by one, from any number", count_rows, 1, 0, shortest=2, longest=len(NUMBERS)),
    Pattern("induction", "a random sequence comes twice", induction_rows, 2, 0, shortest=2, longest=len(SYMBOLS)),
    Pattern("add", f"add two to four numbers modulo {MODULUS}", add_rows, 1, 3, shortest=2, longest=4),
]
PATTERNS = {pattern.name: pattern for pattern in _ALL}


def pattern_batch(rng, batch_size, context, patterns: Iterable[Pattern] = tuple(_ALL), longest=None):
    """Return (inputs, targets), each (batch_size, context) int64, of tasks of random patterns and lengths.

    Each row is one task, of a pattern drawn from `patterns` and a length that fits `context`, filled up on the right
    with PAD and IGNORE_INDEX. longest: the greatest length to draw, to train on short tasks and ask for longer ones
    later; a pattern that is never as short is drawn at its shortest. Raises ValueError, naming the pattern, if one
    cannot fit.
    """
    patterns = list(patterns)
    limits = [pattern.longest_within(context) for pattern in patterns]
    if longest is not None:
        limits = [max(pattern.shortest, min(longest, limit)) for pattern, limit in zip(patterns, limits, strict=True)]
    inputs = np.full((batch_size, context), PAD)
    targets = np.full((batch_size, context), IGNORE_INDEX)
    for row in range(batch_size):
        which = rng.integers(len(patterns))
        length = rng.integers(patterns[which].shortest, limits[which] + 1)
        x, y = patterns[which].sample(rng, 1, length)
        inputs[row, : x.shape[1]] = x[0]
        targets[row, : y.shape[1]] = y[0]
    return inputs, targets


def right_rows(predicted, targets):
    """Return (B,) booleans: whether a row's answer is right from its first token to its last.

    predicted: (B, T) ids, as from `logits.argmax(-1)`; targets: (B, T), of which IGNORE_INDEX does not count.
    """
    return ((predicted == targets) | (targets == IGNORE_INDEX)).all(axis=-1)


def accuracy(predicted, targets):
    """Return the fraction of answer tokens that are predicted exactly. Shapes as in `right_rows`.

    Raises ValueError if there is no answer to count.
    """
    is_answer = targets != IGNORE_INDEX
    if not is_answer.any():
        raise ValueError("no target is an answer: there is nothing to be right about")
    return float((predicted == targets)[is_answer].mean())


def spell(ids):
    """Write a row of ids for people to read: "REVERSE ba de ko = ko de ba END"."""
    return " ".join(spell_token(int(i)) for i in ids if i != PAD)


def spell_token(i):
    """Write one id: a name, a number, a syllable, or "?" with the id for one without meaning."""
    if i < len(_NAMES):
        return _NAMES[i]
    if i in NUMBERS:
        return str(i - NUMBERS[0])
    return _SYLLABLES[i - SYMBOLS[0]] if i in SYMBOLS else f"?{i}"
