"""Passages: pieces of text as ids, prediction exercises made from them, and the losses of a model.

An exercise is a pair (inputs, targets) of arrays with one row, (1, n). Some targets may be ignored.
"""

from dataclasses import dataclass

import numpy as np

from minitransformer.losses import cross_entropy
from minitransformer.module import apply
from minitransformer.system.validation import check_int
from minitransformer.text import chunks_of
from minitransformer.training.finetuning.preferences import batch_of

LONGEST = 256  # most predicted tokens of a passage, because influence is harder to locate in a longer passage


@dataclass(frozen=True, eq=False)
class Passage:
    """A piece of text and its ids (n,), with the beginning-of-text token if any."""

    text: str
    ids: np.ndarray


def as_passages(lm, given, name: str) -> list[Passage]:
    """Convert `given` to a list of Passages that fit the model's context.

    `given` is a list of passages (str or Passage), or one text (str or TextFiles), which is divided into passages.
    `name` is the name of the argument in error messages. Raises ValueError or TypeError if `given` is invalid.
    """
    if isinstance(given, (list, tuple)):
        passages = [as_passage(lm, item, f"{name}: passage {i}") for i, item in enumerate(given)]
    else:
        passages = cut(lm, np.concatenate([np.empty(0, np.int64), *lm.tokenizer.encode_chunks(chunks_of(given))]))
    if not passages:
        raise ValueError(f"{name} must contain at least one passage, but it is empty")
    longest = lm.model.config.context + 1
    for i, passage in enumerate(passages):
        check_int(f"{name}: number of tokens of passage {i}", len(passage.ids), minimum=2, maximum=longest)
    return passages


def as_passage(lm, item, name: str) -> Passage:
    if isinstance(item, Passage):
        return item
    if not isinstance(item, str):
        raise TypeError(f"{name} must be a str, not {type(item).__name__}")
    try:
        return Passage(item, lm.encode(item))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def cut(lm, ids) -> list[Passage]:
    """Divide the ids (N,) of a text into passages that fit the model's context.

    Each begins with the beginning-of-text token, if there is one. A last passage of a single token is left out.
    """
    tokenizer = lm.tokenizer
    begin = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    length = min(lm.model.config.context, LONGEST) + 1 - len(begin)
    pieces = [ids[start : start + length] for start in range(0, len(ids), length)]
    if pieces and len(begin) + len(pieces[-1]) < 2:
        pieces.pop()
    return [Passage(tokenizer.decode(piece), np.concatenate([begin, piece]).astype(np.int64)) for piece in pieces]


def next_tokens(*passages: Passage):
    """Return the inputs and targets for predicting every token of the passages, with one row per passage."""
    return batch_of([(passage.ids[:1], passage.ids[1:]) for passage in passages])


def answer_after(prompt_ids, answer_ids):
    return batch_of([(prompt_ids, answer_ids)])


def answer_loss(model, exercise) -> float:
    inputs, targets = exercise
    return float(apply(cross_entropy, model.predict(inputs), targets)[0])


def token_log_probabilities(model, ids):
    """Return the log-probability of each id after the first, given the ids before it.

    `ids` is (n,). The result is an array (n − 1,), float64.
    """
    losses, _ = apply(cross_entropy, model.predict(ids[None, :-1]), ids[None, 1:], reduction="none")
    return -losses[0].astype(np.float64)
