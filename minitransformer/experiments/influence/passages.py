"""Passages: the pieces of text that a model learned from, or did not, as ids."""

from dataclasses import dataclass

import numpy as np

from minitransformer.text import IGNORE_INDEX, chunks_of

LONGEST = 256  # tokens of a piece that are predicted; more would say less of where in it an influence lies


@dataclass(frozen=True, eq=False)
class Passage:
    """A piece of text: its ids (n,), which may begin with a token that begins every text, and as people read it."""

    text: str
    ids: np.ndarray


@dataclass(frozen=True, eq=False)
class Example:
    """What a model is asked: to predict targets (n,), some of which may be left out, from inputs (n,)."""

    inputs: np.ndarray
    targets: np.ndarray


def as_passages(lm, given, name: str) -> list[Passage]:
    """Return what is given as a list of Passages that the model can see each at once; `name` is for messages.

    given   a list of passages, each a str or a Passage; or one text, a str or a TextFiles, which is cut one after
            another into pieces that the model can be asked for at once, of up to LONGEST tokens and one more

    Raises ValueError for none, for one that is too short or too long, or that the tokenizer cannot encode; TypeError
    for what is neither.
    """
    if isinstance(given, (list, tuple)):
        passages = list(each_passage(lm, given, name))
    else:
        passages = cut(lm, np.concatenate([np.empty(0, np.int64), *lm.tokenizer.encode_chunks(chunks_of(given))]))
    if not passages:
        raise ValueError(f"{name}: there are no passages")
    longest = lm.model.config.context + 1
    for i, passage in enumerate(passages):
        n = len(passage.ids)
        if n < 2:
            raise ValueError(f"{name}: passage {i} has {n} tokens, and at least 2 are needed to predict one")
        if n > longest:
            raise ValueError(
                f"{name}: passage {i} has {n} tokens, and the model, with its context, can be asked for {longest} "
                "at once; give one text, not a list, to have it cut"
            )
    return passages


def each_passage(lm, given, name: str):
    """Yield the passages of a list."""
    for i, item in enumerate(given):
        if isinstance(item, Passage):
            yield item
        elif isinstance(item, str):
            try:
                yield Passage(item, lm.encode(item))
            except ValueError as error:
                raise ValueError(f"{name}: passage {i}: {error}") from None
        else:
            raise TypeError(f"{name}: passage {i} must be a str, not {type(item).__name__}")


def cut(lm, ids) -> list[Passage]:
    """Return the ids (N,) of a text in pieces, one after another; what remains at the end is one more, if it has two.

    Each has as many tokens as the model can be asked for at once, its context and one more, but at most LONGEST and one
    more; the token that begins every text is among them where there is one.
    """
    tokenizer = lm.tokenizer
    begin = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    length = min(lm.model.config.context, LONGEST) + 1 - len(begin)
    pieces = [ids[start : start + length] for start in range(0, len(ids), length)]
    if pieces and len(begin) + len(pieces[-1]) < 2:
        pieces.pop()
    return [Passage(tokenizer.decode(piece), np.concatenate([begin, piece]).astype(np.int64)) for piece in pieces]


def next_tokens(passage: Passage) -> Example:
    """Return the exercise of a passage in training: every token but the first, from those before it."""
    return Example(passage.ids[:-1], passage.ids[1:])


def answer_after(prompt_ids, answer_ids) -> Example:
    """Return the exercise of giving this answer to this prompt, ids each: the prompt's own tokens count for nothing."""
    ids = np.concatenate([prompt_ids, answer_ids]).astype(np.int64)
    targets = ids[1:].copy()
    targets[: len(prompt_ids) - 1] = IGNORE_INDEX
    return Example(ids[:-1], targets)
