"""The model's own responses to prompts: written, judged, and compared with each other.

The advantage of a response is its reward minus the mean reward of all responses to the same prompt, divided by their
standard deviation. If all of them have the same reward, the advantages are 0, and the prompt teaches nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minitransformer.generation import stream
from minitransformer.language_model import LanguageModel
from minitransformer.losses import cross_entropy
from minitransformer.text import IGNORE_INDEX
from minitransformer.training.finetuning.preferences import batch_of
from minitransformer.training.finetuning.rewards import Reward

SMALLEST_DEVIATION = 1e-4  # is added to the deviation, because that of equal rewards may be a rounding error


@dataclass(frozen=True)
class Responses:
    """Responses to P prompts, N to each: the texts and rewards (P, N), and the rows of a batch (P · N, T)."""

    texts: list[list[str]]
    rewards: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray

    @property
    def advantages(self) -> np.ndarray:
        """Return the advantages (P · N,) of the rows."""
        mean, deviation = (f(self.rewards, axis=1, keepdims=True) for f in (np.mean, np.std))
        return ((self.rewards - mean) / (deviation + SMALLEST_DEVIATION)).ravel()

    @property
    def mean_length(self) -> float:
        return float((self.targets != IGNORE_INDEX).sum() / len(self.targets))


def respond(lm: LanguageModel, prompts: Sequence[str], reward: Reward, count: int, rng) -> Responses:
    """Write `count` responses to each prompt at temperature 1, and judge them.

    A response ends with the first token that contains the end of a line, or after reward.tokens tokens. Prompts with
    equally many tokens are continued together.
    """
    written = dict.fromkeys(range(len(prompts)))
    ids, ends = [lm.encode(prompt) for prompt in prompts], ends_of_line(lm)
    for length in dict.fromkeys(map(len, ids)):
        chosen = [i for i, prompt in enumerate(ids) if len(prompt) == length]
        rows = np.repeat([ids[i] for i in chosen], count, axis=0)
        tokens = stream(lm.model, rows, reward.tokens, rng=rng, stop=ends, vocab_size=lm.tokenizer.vocab_size)
        new = np.stack(list(tokens), axis=-1).reshape(len(chosen), count, -1)
        written |= {i: [up_to_end(row, ends) for row in group] for i, group in zip(chosen, new, strict=True)}
    texts = [[lm.tokenizer.decode(row).partition("\n")[0] for row in group] for group in written.values()]
    rewards = [[reward.score(prompt, text) for text in group] for prompt, group in zip(prompts, texts, strict=True)]
    pairs = [(ids[i], row) for i, group in written.items() for row in group]
    return Responses(texts, np.array(rewards, float), *batch_of(pairs))


def ends_of_line(lm: LanguageModel) -> list[int]:
    return [token for token in range(lm.tokenizer.vocab_size) if "\n" in lm.tokenizer.decode([token])]


def up_to_end(row, ends):
    """Return the ids of `row` up to the first that is in `ends`, inclusive."""
    found = np.flatnonzero(np.isin(row, ends))
    return row[: found[0] + 1] if len(found) else row


def log_probabilities(model, inputs, targets) -> np.ndarray:
    """Return log-probabilities (B, T) of the targets, and 0 where a target is ignored."""
    return -cross_entropy(model.predict(inputs), targets, reduction="none")[0]
