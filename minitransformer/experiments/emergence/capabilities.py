"""Capabilities: small tasks with known answers, tested on questions that are not used in training.

A capability is a distribution of questions, and a rule that turns a question and its answer into a row of tokens:

    COPY d b e a c f  =  d b e a c f              repeat the letters
    REVERSE d b e a c f  =  f c a e b d           reverse them
    INDUCTION d b e a c d b e a c d b …           continue a repeating sequence; only repetitions are targets
    ADD 3 16  =  2                                modulo 17
    BRACKETS { } { [ ( ) …  =  ] }                close the open brackets, the last one first

**For each task, a fifth of all questions is held out.** A hash of the question's canonical form selects them, so 16 + 3
is held out if 3 + 16 is. Every test has a sharp score and a smooth one (Schaeffer et al., 2023):

    exact     fraction of held-out questions whose whole answer is right: each token is the most probable one, given
              the tokens before it
    loglik    mean log-likelihood of an answer token in nats, given the tokens before it; at most 0
    seen      `exact` on training questions, to distinguish learning from memorising

If each of m tokens is right with probability p, the whole answer is right with probability pᵐ. A smooth rise of p can
therefore look like a leap of `exact`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from minitransformer.experiments.emergence import alphabet as a
from minitransformer.layers.softmax import log_softmax
from minitransformer.text import IGNORE_INDEX, right_rows
from minitransformer.text.patterns import joined

HELD_OUT = 5  # one question in HELD_OUT
TEST_QUESTIONS = 200
MODULUS = 17
LENGTH = 6  # length of the copied and reversed sequences
PERIODS = range(4, 9)  # lengths of the repeating sequences
OPEN = 4  # number of brackets that remain open: a question has 2 OPEN opening and OPEN closing brackets


@dataclass(frozen=True)
class Capability:
    """A small task with known answers. Its functions must be importable, because other processes use them."""

    name: str
    description: str
    questions: Callable  # questions(rng, n) draws an integer array (n, m) of n questions
    rows: Callable  # rows(questions) returns ids (n, T + 1), and a boolean array that marks the tokens to predict
    canonical: Callable = np.asarray  # canonical(questions) returns (n, k) with equal rows for equivalent questions
    chance: float = 0.0  # exact score of a random answer of the right form

    def is_held_out(self, questions):
        """Return a boolean array (n,), True for test questions, which training excludes."""
        mixed = np.zeros(len(questions), np.uint64)
        for column in self.canonical(questions).T:  # the mixing step of SplitMix64 (Steele et al., 2014)
            mixed += column.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(31)
        return mixed % np.uint64(HELD_OUT) == 0

    def training_batch(self, rng, n: int):
        """Draw the inputs and targets, each (n, CONTEXT), of n training questions."""
        return as_exercise(*self.rows(self.draw(rng, n, held_out=False)))

    def test(self):
        """Return the inputs and targets, each (n, CONTEXT), of at most TEST_QUESTIONS test questions."""
        return fixed_exercises(self)[0]

    def draw(self, rng, n: int, *, held_out: bool):
        """Draw n test or training questions. Raises ValueError if such questions are too rare."""
        drawn, count = [], 0
        for _ in range(100):
            questions = np.asarray(self.questions(rng, 2 * n))
            questions = questions[self.is_held_out(questions) == held_out]
            drawn.append(questions)
            count += len(questions)
            if count >= n:
                return np.concatenate(drawn)[:n]
        sort = "a test" if held_out else "training"
        raise ValueError(f"capability {self.name}: {200 * n} random questions must contain {n} for {sort}, not {count}")

    def fingerprint(self) -> str:
        """Return a hash of the test and of a training batch, to identify the exercises."""
        arrays = [array for exercises in fixed_exercises(self) for array in exercises]
        return hashlib.sha256(np.concatenate(arrays).astype("<i8").tobytes()).hexdigest()[:16]

    def scores(self, model) -> dict:
        """Return the scores "exact", "loglik" and "seen" of a model (see the top of this file)."""
        (inputs, targets), (seen_inputs, seen_targets) = fixed_exercises(self)
        log_p = log_softmax(model.predict(inputs))[0]
        asked = targets != IGNORE_INDEX
        return {
            "exact": exact_match(log_p, targets),
            "loglik": float(log_p[asked, targets[asked]].mean(dtype=np.float64)),
            "seen": exact_match(model.predict(seen_inputs), seen_targets),
        }


def exact_match(logits, targets) -> float:
    return float(right_rows(logits.argmax(axis=-1), targets).mean())


@cache
def fixed_exercises(capability: Capability):
    """Return the inputs and targets of the test, and those of a training batch."""
    questions = capability.draw(np.random.default_rng(0), 20 * TEST_QUESTIONS, held_out=True)
    first = np.sort(np.unique(questions, axis=0, return_index=True)[1])[:TEST_QUESTIONS]
    training = capability.training_batch(np.random.default_rng(0), TEST_QUESTIONS)
    return as_exercise(*capability.rows(questions[first])), training


def as_exercise(tokens, is_answer):
    n, width = tokens.shape
    inputs = np.full((n, a.CONTEXT), a.PAD)
    targets = np.full((n, a.CONTEXT), IGNORE_INDEX)
    inputs[:, : width - 1] = tokens[:, :-1]
    targets[:, : width - 1] = np.where(is_answer, tokens, IGNORE_INDEX)[:, 1:]
    return inputs, targets


def question_and_answer(task, prompt, answer):
    """Join prompts (n, p) and answers (n, m) to rows of tokens. Also return a boolean array that marks the answers."""
    tokens = joined(task, prompt, a.ANSWER, answer)
    return tokens, np.arange(tokens.shape[1]) >= 2 + prompt.shape[1]


def letters(rng, n):
    return rng.choice(a.LETTERS, (n, LENGTH))


def copy_rows(questions):
    return question_and_answer(a.COPY, questions, questions)


def reverse_rows(questions):
    return question_and_answer(a.REVERSE, questions, questions[:, ::-1])


def units(rng, n, symbols=a.LETTERS):
    """Draw n sequences (n, PERIODS[-1]) of different symbols, padded with PAD. Their lengths are drawn from PERIODS."""
    drawn = rng.permuted(np.tile(symbols, (n, 1)), axis=1)[:, : PERIODS[-1]]
    period = rng.integers(PERIODS[0], PERIODS[-1] + 1, (n, 1))
    return np.where(np.arange(PERIODS[-1]) < period, drawn, a.PAD)


def induction_rows(questions):
    """Return rows `INDUCTION x1 … xn x1 … xn x1 …`, and a boolean array that marks the targets.

    The targets begin at the second x2, because the length n is not known before the second x1.
    """
    period = (questions != a.PAD).sum(axis=1, keepdims=True)
    symbols = np.take_along_axis(questions, np.arange(2 * PERIODS[-1]) % period, axis=1)
    tokens = joined(a.INDUCTION, symbols)
    return tokens, np.arange(tokens.shape[1]) >= period + 2


def number_pairs(rng, n):
    return rng.integers(0, MODULUS, (n, 2))


def in_order(questions):
    return np.sort(questions, axis=1)


def add_rows(questions):
    return question_and_answer(a.ADD, a.NUMBERS[questions], a.NUMBERS[questions.sum(axis=1, keepdims=True) % MODULUS])


def brackets(rng, n):
    """Draw n beginnings of balanced sequences of brackets, as an array (n, 3 OPEN).

    All valid orders of opening and closing brackets are equally probable.
    """
    is_opening = np.empty((0, 3 * OPEN), bool)
    while len(is_opening) < n:
        orders = rng.permuted(np.tile(np.arange(3 * OPEN) < 2 * OPEN, (2 * n, 1)), axis=1)
        never_below = (np.cumsum(np.where(orders, 1, -1), axis=1) >= 0).all(axis=1)
        is_opening = np.concatenate([is_opening, orders[never_below]])[:n]
    words = np.empty((n, 3 * OPEN), int)
    for word, opening, kinds in zip(words, is_opening, rng.integers(len(a.OPENING), size=words.shape), strict=True):
        stack: list[int] = []
        for position, kind in enumerate(kinds):
            if opening[position]:
                stack.append(kind)
            word[position] = a.OPENING[kind] if opening[position] else a.CLOSING[stack.pop()]
    return words


def brackets_rows(questions):
    answers = np.empty((len(questions), OPEN), int)
    for row, answer in zip(questions, answers, strict=True):
        stack: list[int] = []
        for bracket in row:
            if bracket in a.OPENING:
                stack.append(a.CLOSING[bracket - a.OPENING[0]])
            else:
                stack.pop()
        answer[:] = stack[::-1]
    return question_and_answer(a.BRACKETS, questions, answers)


_ALL = [
    Capability("copy", f"repeat {LENGTH} letters", letters, copy_rows),
    Capability("reverse", f"reverse {LENGTH} letters", letters, reverse_rows),
    Capability("induction", "continue a repeating sequence", units, induction_rows),
    Capability("addition", f"add two numbers modulo {MODULUS}", number_pairs, add_rows, in_order, 1 / MODULUS),
    Capability("brackets", f"close {OPEN} open brackets of 3 kinds", brackets, brackets_rows, chance=3**-OPEN),
]
CAPABILITIES = {capability.name: capability for capability in _ALL}
