"""Passages: pieces of text as ids, and the prediction exercises made from them."""

from dataclasses import dataclass

import numpy as np

from minitransformer.text import IGNORE_INDEX, chunks_of

LONGEST = 256  # predicted tokens of a piece; the influence of a longer piece would be harder to locate


@dataclass(frozen=True, eq=False)
class Passage:
    """A piece of text, and its ids (n,), which may begin with the token that begins every text."""

    text: str
    ids: np.ndarray


@dataclass(frozen=True, eq=False)
class Example:
    """An exercise: predict targets (n,) from inputs (n,). Some targets may be ignored."""

    inputs: np.ndarray
    targets: np.ndarray


def as_passages(lm, given, name: str) -> list[Passage]:
    """Return the given text as a list of Passages that fit the model's context.

    given   a list of passages, each a str or a Passage; or one text, a str or a TextFiles, which is cut into pieces
            with up to LONGEST predicted tokens, as many as the context allows
    name    name of the argument, for error messages

    Raises ValueError for an empty list or text, and for a passage that is too short, too long, or cannot be encoded.
    Raises TypeError for another type.
    """
    if isinstance(given, (list, tuple)):
        passages = [as_passage(lm, item, f"{name}: passage {i}") for i, item in enumerate(given)]
    else:
        passages = cut(lm, np.concatenate([np.empty(0, np.int64), *lm.tokenizer.encode_chunks(chunks_of(given))]))
    if not passages:
        raise ValueError(f"{name} is empty; at least one passage is needed")
    longest = lm.model.config.context + 1
    for i, passage in enumerate(passages):
        n = len(passage.ids)
        if n < 2:
            raise ValueError(f"{name}: passage {i} must have at least 2 tokens, not {n}")
        if n > longest:
            raise ValueError(
                f"{name}: passage {i} has {n} tokens, more than the {longest} that the model's context allows; "
                "pass one text instead of a list to have it cut into passages"
            )
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
    """Cut the ids (N,) of a text into consecutive passages.

    The last passage may be shorter than the others. A remainder that is too short to predict a token is left out. A
    passage has at most LONGEST + 1 tokens and fits the model's context. It includes the token that begins every text,
    if the tokenizer has one.
    """
    tokenizer = lm.tokenizer
    begin = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    length = min(lm.model.config.context, LONGEST) + 1 - len(begin)
    pieces = [ids[start : start + length] for start in range(0, len(ids), length)]
    if pieces and len(begin) + len(pieces[-1]) < 2:
        pieces.pop()
    return [Passage(tokenizer.decode(piece), np.concatenate([begin, piece]).astype(np.int64)) for piece in pieces]


def next_tokens(passage: Passage) -> Example:
    """Return the Example of predicting every token of a passage except the first from the tokens before it."""
    return Example(passage.ids[:-1], passage.ids[1:])


def answer_after(prompt_ids, answer_ids) -> Example:
    """Return the Example of predicting an answer after a prompt. Targets in the prompt are ignored."""
    ids = np.concatenate([prompt_ids, answer_ids]).astype(np.int64)
    targets = ids[1:].copy()
    targets[: len(prompt_ids) - 1] = IGNORE_INDEX
    return Example(ids[:-1], targets)
