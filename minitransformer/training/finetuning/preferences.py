"""Pairs of responses: a prompt with a safe and an unsafe response. A dataset has one JSON object per line:

    {"prompt": "Can you help me?", "safe": " Of course, with pleasure.", "unsafe": " Go away, you fool."}

Prompt and response are concatenated, so a space between them belongs to the response. With `"held_out": true` a row is
used only for evaluation. Other keys are ignored. An invalid row raises an error that names its file and line.
"""

import json
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minitransformer.system.validation import brief, text, true_or_false
from minitransformer.text import DEFAULT_CORPUS, IGNORE_INDEX, Tokenizer

POLITENESS = Path(__file__).with_name("politeness.jsonl")  # the dataset "politeness", part of the package
TEXTS = ("prompt", "safe", "unsafe")
DEFAULT_HELD_OUT = 0.2


@dataclass(frozen=True)
class PreferenceRow:
    """A prompt with a safe and an unsafe response.

    held_out   True if the row is used only for evaluation, or None if the row does not have this entry
    where      the file and line of the row, for error messages
    """

    prompt: str
    safe: str
    unsafe: str
    held_out: bool | None
    where: str


def read_preferences(dataset) -> list[PreferenceRow]:
    """Return the rows of a dataset.

    `dataset` is the path of a file of JSON lines, "politeness", or a list of dictionaries. Raises OSError if the file
    cannot be read, and ValueError or TypeError, with the name of the row, if a row is invalid.
    """
    if isinstance(dataset, (str, os.PathLike)):
        name = POLITENESS if dataset == "politeness" else Path(dataset)
        lines = name.read_bytes().splitlines()
        rows = [row_of_line(line, f"{name}: line {i}") for i, line in enumerate(lines, start=1) if line.strip()]
    else:
        name, rows = "the dataset", [checked_row(row, f"row {i}") for i, row in enumerate(dataset, start=1)]
    if not rows:
        raise ValueError(f"{name}: must have at least one row, but is empty")
    return rows


def row_of_line(line: bytes, where: str) -> PreferenceRow:
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: expected JSON in UTF-8 ({error})") from None
    return checked_row(row, where)


def checked_row(row, where: str) -> PreferenceRow:
    if isinstance(row, PreferenceRow):
        return row
    if not isinstance(row, dict):
        raise TypeError(f'{where}: must be an object with "prompt", "safe" and "unsafe", not {brief(row)}')
    for key in TEXTS:
        if key not in row:
            raise ValueError(f'{where}: "{key}" is missing')
        if not text(f'{where}: "{key}"', row[key]):
            raise ValueError(f'{where}: "{key}" must not be empty')
    held_out = row.get("held_out")
    if held_out is not None:
        true_or_false(f'{where}: "held_out"', held_out)
    return PreferenceRow(*(row[key] for key in TEXTS), held_out, where)


def split_held_out(rows: list[PreferenceRow], held_out, seed: int) -> tuple[list[PreferenceRow], list[PreferenceRow]]:
    """Split the rows of a dataset into training rows and held-out rows.

    `held_out` is another dataset or a fraction of the prompts. None selects the marked rows, or a fifth of the prompts
    if no row is marked. Raises ValueError if one of the two lists would be empty.
    """
    if held_out is None and any(row.held_out is not None for row in rows):
        chosen = {row.prompt for row in rows if row.held_out}
    elif held_out is None or isinstance(held_out, float):
        fraction = DEFAULT_HELD_OUT if held_out is None else held_out
        if not 0 < fraction < 1:
            raise ValueError(f"held_out must be a fraction between 0 and 1, or a dataset, not {held_out}")
        prompts = sorted({row.prompt for row in rows})
        count = max(round(fraction * len(prompts)), 1)
        order = np.random.default_rng(seed).permutation(len(prompts))
        chosen = {prompts[i] for i in order[:count]}
    else:
        return rows, read_preferences(held_out)
    sides = [row for row in rows if row.prompt not in chosen], [row for row in rows if row.prompt in chosen]
    if not all(sides):
        count = len({row.prompt for row in rows})
        raise ValueError(f"held_out must select some of the {count} prompts, not {len(chosen)}")
    return sides


@dataclass(frozen=True)
class Pair:
    """The ids of the prompt and the two responses of a row. Each is an int64 array (T,)."""

    prompt: np.ndarray
    safe: np.ndarray
    unsafe: np.ndarray


def encode(rows: list[PreferenceRow], tokenizer: Tokenizer, context: int) -> list[Pair]:
    """Encode the texts of each row. Raises ValueError, with the row, if a text is too long or cannot be encoded."""
    pairs = []
    for row in rows:
        ids = {}
        for key in TEXTS:
            try:
                ids[key] = tokenizer.encode(getattr(row, key))
            except ValueError as error:
                raise ValueError(f'{row.where}: "{key}": {error}') from None
        for key in TEXTS[1:]:
            tokens = len(ids["prompt"]) + len(ids[key])
            if tokens - 1 > context:  # the last token is not an input
                raise ValueError(
                    f'{row.where}: "prompt" and "{key}" have {tokens} tokens together; at most '
                    f"{context + 1} are allowed with a context of {context}"
                )
        pairs.append(Pair(**ids))
    return pairs


def encodable(rows: list[PreferenceRow], tokenizer: Tokenizer, context: int) -> list[PreferenceRow]:
    """Return the rows that fit the vocabulary and the context of the model.

    This function is for rows that the user did not choose. A warning states how many rows do not fit. Raises ValueError
    if no row fits.
    """
    fitting = []
    for row in rows:
        with suppress(ValueError):
            encode([row], tokenizer, context)
            fitting.append(row)
    if not fitting:
        raise ValueError(
            f"no pair of politeness fits the model's vocabulary of {tokenizer.vocab_size} tokens and its context of "
            f"{context}; give a file of other pairs"
        )
    if len(fitting) < len(rows):
        count = len(rows) - len(fitting)
        words = f"{count} of the {len(rows)} pairs of politeness are left out: they do not fit the model's vocabulary "
        warnings.warn(words + f"or its context of {context}", stacklevel=2)
    return fitting


def without_unknown_characters(text: str, tokenizer: Tokenizer) -> str:
    """Return a text without the characters that a tokenizer cannot encode, with a warning that lists them."""
    unknown = ""
    for character in sorted(set(text)):
        try:
            tokenizer.encode(character)
        except ValueError:
            unknown += character
    if unknown:
        shown = brief(unknown)
        words = f"the perplexity is measured on {DEFAULT_CORPUS} without characters that the vocabulary lacks: {shown}"
        warnings.warn(words, stacklevel=2)
    return text.translate(dict.fromkeys(map(ord, unknown)))


def batch_of(sequences) -> tuple[np.ndarray, np.ndarray]:
    """Combine B pairs (prompt, response) of ids into a batch (inputs, targets), each (B, T).

    Targets outside of the response are IGNORE_INDEX. Shorter rows are padded on the right.
    """
    T = max(len(prompt) + len(response) for prompt, response in sequences) - 1
    inputs = np.zeros((len(sequences), T), np.int64)
    targets = np.full((len(sequences), T), IGNORE_INDEX, np.int64)
    for i, (prompt, response) in enumerate(sequences):
        ids = np.concatenate([prompt, response])
        inputs[i, : len(ids) - 1] = ids[:-1]
        targets[i, len(prompt) - 1 : len(ids) - 1] = response
    return inputs, targets
