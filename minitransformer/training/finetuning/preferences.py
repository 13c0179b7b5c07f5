"""Pairs of responses: a prompt, how to answer it and how not to. One JSON object a line:

    {"prompt": "Can you help me?", "safe": " Of course, with pleasure.", "unsafe": " Go away, you fool."}

Prompt and response are joined as they stand, so the space between them belongs to the response. A row may say that it
is for evaluation alone, `"held_out": true`; other keys are ignored. A row that cannot be used is an error that names
its file and line.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minitransformer.text import IGNORE_INDEX, Tokenizer
from minitransformer.values import brief

POLITENESS = Path(__file__).with_name("politeness.jsonl")  # comes with the package, under the name "politeness"
TEXTS = ("prompt", "safe", "unsafe")
DEFAULT_HELD_OUT = 0.2


@dataclass(frozen=True)
class PreferenceRow:
    """A prompt with a safe and an unsafe response; `held_out` is None where nothing was said; `where` it stands."""

    prompt: str
    safe: str
    unsafe: str
    held_out: bool | None
    where: str


def read_preferences(dataset) -> list[PreferenceRow]:
    """Return the rows of a dataset: the path of a file of JSON lines, "politeness", or a list of dictionaries.

    Raises OSError for a file that cannot be read; ValueError, naming the row, for one that is not JSON, lacks a text or
    has an empty one, and TypeError for one of another type. Lines without anything are skipped.
    """
    if isinstance(dataset, (str, os.PathLike)):
        rows = list(rows_of_file(POLITENESS if dataset == "politeness" else dataset))
        name = str(dataset)
    else:
        rows = [checked_row(row, f"row {number}") for number, row in enumerate(dataset, start=1)]
        name = "the dataset"
    if not rows:
        raise ValueError(f"{name}: holds no rows")
    return rows


def rows_of_file(path):
    """Yield the rows of a file of JSON lines."""
    for number, line in enumerate(Path(path).read_bytes().splitlines(), start=1):
        where = f"{path}: line {number}"
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: not UTF-8 text: byte 0x{line[error.start]:02x}") from None
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not JSON: {error.msg} at column {error.colno}") from None
        except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of brackets
            raise ValueError(f"{where}: {error}") from None
        yield checked_row(row, where)


def checked_row(row, where: str) -> PreferenceRow:
    """Return a row once it is known to have everything. Raises TypeError or ValueError, saying where."""
    if isinstance(row, PreferenceRow):
        return row
    if not isinstance(row, dict):
        raise TypeError(f'{where}: must be an object with "prompt", "safe" and "unsafe", not {brief(row)}')
    for key in TEXTS:
        if key not in row:
            raise ValueError(f'{where}: has no "{key}"')
        if not isinstance(row[key], str):
            raise TypeError(f'{where}: "{key}" must be a text, not {brief(row[key])}')
        if not row[key]:
            raise ValueError(f'{where}: "{key}" is empty')
    held_out = row.get("held_out")
    if not isinstance(held_out, (bool, type(None))):
        raise TypeError(f'{where}: "held_out" must be true or false, not {brief(held_out)}')
    return PreferenceRow(*(row[key] for key in TEXTS), held_out, where)


def split_held_out(rows: list[PreferenceRow], held_out, seed: int) -> tuple[list[PreferenceRow], list[PreferenceRow]]:
    """Return (rows to train on, rows held out).

    held_out: None, what the rows themselves say, or where none does a fifth; a fraction, drawn by `seed`, in which rows
    of the same prompt stay together; or another dataset. Raises ValueError where one side would be empty.
    """
    if held_out is None and any(row.held_out is not None for row in rows):
        chosen = {row.prompt for row in rows if row.held_out}
    elif held_out is None or isinstance(held_out, float):
        fraction = DEFAULT_HELD_OUT if held_out is None else held_out
        if not 0 < fraction < 1:
            raise ValueError(f"held_out must be a fraction between 0 and 1, or rows, not {held_out}")
        prompts = sorted({row.prompt for row in rows})
        count = max(round(fraction * len(prompts)), 1)
        order = np.random.default_rng(seed).permutation(len(prompts))
        chosen = {prompts[i] for i in order[:count]}
    else:
        return rows, read_preferences(held_out)
    sides = [row for row in rows if row.prompt not in chosen], [row for row in rows if row.prompt in chosen]
    if not all(sides):
        raise ValueError(
            f"{len(rows)} rows with {len({row.prompt for row in rows})} different prompts, of which {len(chosen)} are "
            "held out: there must be some to train on and some to evaluate"
        )
    return sides


@dataclass(frozen=True)
class Pair:
    """A row as ids (T,), int64."""

    prompt: np.ndarray
    safe: np.ndarray
    unsafe: np.ndarray


def encode(rows: list[PreferenceRow], tokenizer: Tokenizer, context: int) -> list[Pair]:
    """Return the rows as ids, prompt and responses encoded by themselves, so that no token reaches across.

    Raises ValueError, naming the row, for a text that the tokenizer does not know, or one longer than the context.
    """
    return [encode_row(row, tokenizer, context) for row in rows]


def encode_row(row: PreferenceRow, tokenizer: Tokenizer, context: int) -> Pair:
    """Return one row as ids."""
    ids = {}
    for key in TEXTS:
        try:
            ids[key] = tokenizer.encode(getattr(row, key))
        except ValueError as error:
            raise ValueError(f'{row.where}: "{key}": {error}') from None
    for key in TEXTS[1:]:
        tokens = len(ids["prompt"]) + len(ids[key])
        if tokens - 1 > context:  # the last token is only predicted
            raise ValueError(
                f'{row.where}: "prompt" and "{key}" have {tokens} tokens together, and a context of {context} holds '
                f"{context + 1}"
            )
    return Pair(**ids)


def batch_of(sequences) -> tuple[np.ndarray, np.ndarray]:
    """Return (inputs, targets), each (B, T) int64, of B (prompt, response) pairs of ids.

    Each row asks for its response alone; it is filled up on the right, to the longest, with targets of IGNORE_INDEX.
    """
    T = max(len(prompt) + len(response) for prompt, response in sequences) - 1
    inputs = np.zeros((len(sequences), T), np.int64)
    targets = np.full((len(sequences), T), IGNORE_INDEX, np.int64)
    for i, (prompt, response) in enumerate(sequences):
        ids = np.concatenate([prompt, response])
        inputs[i, : len(ids) - 1] = ids[:-1]
        targets[i, len(prompt) - 1 : len(ids) - 1] = response
    return inputs, targets
