"""The effects of fine-tuning, measured on held-out prompts and on a general text.

The margin shows whether the model now prefers the safe responses. The log-likelihoods show the reason: the safe
responses may have become more likely, or only the unsafe ones less likely. The perplexity on general text shows how
much the model has forgotten, and completions show the style of the model. None of these measurements shows the effect
on other kinds of prompts.
"""

import math
from dataclasses import dataclass

import numpy as np

from minitransformer.language_model import LanguageModel, mean_loss
from minitransformer.system.data import Data
from minitransformer.system.validation import brief, number, texts
from minitransformer.training.finetuning.objectives import sequence_log_likelihood
from minitransformer.training.finetuning.preferences import Pair, batch_of

COMPLETION_TEMPERATURE = 0.7


@dataclass(frozen=True)
class Evaluation(Data):
    """Measurements of a model. Log-likelihoods, the margin and the loss are in nats.

    safe, unsafe                        mean log-likelihood of a response
    safe_per_token, unsafe_per_token    mean log-likelihood of a token of the responses
    margin                              safe − unsafe
    preferred                           fraction of prompts whose safe response is the more likely one
    general_loss                        mean cross-entropy per token of the general text
    completions                         (prompt, continuation) pairs, possibly none
    """

    safe: float
    unsafe: float
    safe_per_token: float
    unsafe_per_token: float
    margin: float
    preferred: float
    general_loss: float
    completions: tuple[tuple[str, str], ...] = ()

    derived = ("perplexity",)

    @property
    def perplexity(self) -> float:
        """Return exp(general_loss), or infinity if that overflows."""
        return math.exp(self.general_loss) if self.general_loss < 700 else math.inf

    @classmethod
    def from_dict(cls, fields: dict) -> "Evaluation":
        """Create an Evaluation from the result of to_dict, or raise KeyError, TypeError or ValueError."""
        numbers = {name: fields[name] for name in cls.__dataclass_fields__ if name != "completions"}
        numbers = {name: math.nan if value is None else number(name, value) for name, value in numbers.items()}
        completions = fields["completions"]
        if not isinstance(completions, list) or any(len(texts("completions", pair)) != 2 for pair in completions):
            raise TypeError(f"completions must be a list of pairs of strings, not {brief(completions)}")
        return cls(**numbers, completions=tuple(map(tuple, completions)))


def log_likelihoods(model, pairs: list[Pair], batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    both = []
    for responses in ([(pair.prompt, pair.safe) for pair in pairs], [(pair.prompt, pair.unsafe) for pair in pairs]):
        batches = [batch_of(responses[i : i + batch_size]) for i in range(0, len(responses), batch_size)]
        values = [sequence_log_likelihood(model.predict(inputs), targets)[0] for inputs, targets in batches]
        both.append(np.concatenate(values).astype(np.float64))
    return tuple(both)


def evaluate(lm: LanguageModel, held_out: list[Pair], general_ids, batch_size: int) -> Evaluation:
    """Return an Evaluation without completions. Its numbers may be NaN or infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        safe, unsafe = log_likelihoods(lm.model, held_out, batch_size)
        return Evaluation(
            safe=float(safe.mean()),
            unsafe=float(unsafe.mean()),
            safe_per_token=float(safe.sum() / sum(len(pair.safe) for pair in held_out)),
            unsafe_per_token=float(unsafe.sum() / sum(len(pair.unsafe) for pair in held_out)),
            margin=float((safe - unsafe).mean()),
            preferred=float((safe > unsafe).mean()),
            general_loss=float(mean_loss(lm.model, general_ids, batch_size)),
        )


def complete(lm: LanguageModel, prompts, tokens: int, seed: int) -> tuple[tuple[str, str], ...]:
    """Return a pair (prompt, continuation) for each prompt. Equal seeds give equal results."""
    pairs = []
    for prompt in prompts:
        rng = np.random.default_rng(seed)
        pairs.append((prompt, "".join(lm.stream(prompt, tokens, temperature=COMPLETION_TEMPERATURE, rng=rng))))
    return tuple(pairs)
