"""Training on the simple patterns: exercises with known answers, with new random rows at every step.

    model = TinyTransformer(seed=0)
    records = train_on_simple_patterns(model)

All rows of a pattern in a step have the same random length, so they need no padding. Few long rows occur twice, so the
model must learn a procedure instead of memorising rows. (`count` has only 1,380 rows, and training sees all of them,
including those of the evaluation.) There are more rows of short tasks, so that each pattern has about the same number
of tokens in a step.
"""

import hashlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minitransformer.analysis.heads import head_scores, random_sequences_twice
from minitransformer.experiments.patterns.starting_attention import start_attention
from minitransformer.language_model import LanguageModel
from minitransformer.losses import cross_entropy
from minitransformer.module import apply
from minitransformer.system.validation import check_int, documented, one_of, setting
from minitransformer.text import PATTERNS, PatternTokenizer, accuracy
from minitransformer.text.patterns import VOCAB_SIZE
from minitransformer.training.observer import Observer, ProgressBar
from minitransformer.training.run import Run
from minitransformer.training.settings import HUGE_BATCH, Settings
from minitransformer.transformer import Transformer

EVALUATION_ROWS = 32  # rows of each pattern
ROWS_OF_A_LENGTH = 4  # rows of each length for the scores of the heads
KEPT_APART = 1  # extends the seed, so that the rows of the evaluation differ from those of training


def known_patterns(name: str, patterns) -> tuple[str, ...]:
    if isinstance(patterns, str) or not isinstance(patterns, Iterable):
        raise TypeError(f"{name} must be a list of names, such as ['copy', 'induction'], not {patterns!r}")
    if not patterns:
        raise ValueError(f"{name} must contain at least one of {', '.join(PATTERNS)}, but it is empty")
    return tuple(one_of("pattern", pattern, known=PATTERNS) for pattern in patterns)


@documented
@dataclass(frozen=True)
class PatternSettings(Settings):
    """The settings of a run on simple patterns. They extend Settings and have other defaults.

    The settings accumulate and eval_tokens have no effect. Raises TypeError or ValueError for an invalid setting.
    """

    kind = "training on simple patterns"

    steps: int = 1500
    batch_size: int = setting(
        6,
        "rows of each pattern in a step with the longest tasks; steps with shorter tasks have more",
        check_int,
        minimum=1,
        maximum=HUGE_BATCH,
    )
    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.98)
    eval_every: int = 25
    checkpoint_every: int = 100
    patterns: tuple[str, ...] = setting(tuple(PATTERNS), "names in PATTERNS to learn", known_patterns)
    longest: int = setting(16, "greatest length to train on; some patterns have a lower limit", check_int)


def greatest_length(name: str, longest: int) -> int:
    limit = PATTERNS[name].longest
    return longest if limit is None else min(longest, limit)


def train_on_simple_patterns(
    model: Transformer,
    patterns: Iterable[str] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    plot: bool = False,
    observer: Observer | None = None,
    about: dict[str, Any] | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Train a Transformer in place on simple patterns. Return the records of metrics.

    model      a Transformer, such as TinyTransformer, with a vocabulary of at least 1000 and a context that fits the
               longest task
    patterns   names of the patterns to learn (default: all of PATTERNS in text/patterns.py)
    out, resume, plot, about   as in `pretrain`; `out` is a folder for the model and its metrics
    observer   receives the events of the training (default: a progress bar if standard error is a terminal)
    settings   any field of PatternSettings by name: steps, longest, seed, lr, …

    An untrained model starts with the attention of starting_attention.py. The records are those of training/metrics.py.
    An evaluation uses other random rows, of the greatest trained length, and adds these entries:

        val_loss   mean cross-entropy of an answer's token, in nats
        accuracy   {name of a pattern: fraction of the answers' tokens that are right}
        heads      HeadScores of analysis/heads.py, as lists (L, H), on repeated random sequences

    Raises TypeError or ValueError for an invalid setting or model, and the exceptions of `pretrain`.
    """
    if patterns is not None:
        settings["patterns"] = patterns
    run = PatternRun(model, PatternSettings(**settings))
    if observer is None:
        observer = quiet_bar() if sys.stderr.isatty() else Observer()
    is_untrained = (model.ln_final.gamma.data == 1).all()  # the first step changes all gains of the final norm
    if not resume and is_untrained:
        start_attention(model)
    return run.carry_out(out=out, resume=resume, plot=plot, observer=observer, about=about)


class PatternRun(Run):
    def __init__(self, model, settings: PatternSettings):
        check_fits(model, settings.patterns, settings.longest)
        rng = np.random.default_rng([settings.seed, KEPT_APART])
        self.exercises = {
            name: PATTERNS[name].sample(rng, EVALUATION_ROWS, greatest_length(name, settings.longest))
            for name in settings.patterns
        }
        self.repeated = random_sequences_twice(rng, settings.longest, ROWS_OF_A_LENGTH)
        super().__init__(LanguageModel(model, PatternTokenizer()), settings)

    def draw(self):
        batches = [self.draw_rows(name) for name in self.settings.patterns]
        return batches, sum(inputs.size for inputs, _ in batches)

    def draw_rows(self, name: str):
        """Draw rows of the pattern `name`, all of one random length, and return their inputs and targets.

        The number of rows is larger for shorter rows, so that every pattern has about the same number of tokens.
        """
        pattern, settings = PATTERNS[name], self.settings
        length = int(self.batch_rng.integers(pattern.shortest, greatest_length(name, settings.longest) + 1))
        widest = max(PATTERNS[other].width(greatest_length(other, settings.longest)) for other in settings.patterns)
        return pattern.sample(self.batch_rng, settings.batch_size * widest // pattern.width(length), length)

    def evaluate(self) -> dict:
        total, answers, right = 0.0, 0, {}
        for name in self.settings.patterns:
            inputs, targets = self.exercises[name]
            logits = self.lm.model.predict(inputs)
            right[name] = accuracy(logits.argmax(axis=-1), targets)
            total += float(apply(cross_entropy, logits, targets, reduction="sum")[0])
            answers += int(np.count_nonzero(targets >= 0))
        scores = head_scores(self.lm.model, self.repeated)
        return {"val_loss": total / answers, "accuracy": right, "heads": scores.to_dict()}

    def first_ids(self):
        return self.exercises[self.settings.patterns[0]][0][0, :1]

    def describe_data(self) -> dict:
        digest = hashlib.sha256()
        for name in self.settings.patterns:
            for array in self.exercises[name]:
                digest.update(np.ascontiguousarray(array))
        names = ", ".join(self.settings.patterns)
        return {"name": f"simple patterns ({names}), up to {self.settings.longest} long", "sha256": digest.hexdigest()}


def check_fits(model, names, longest: int) -> None:
    """Raise ValueError if the model's vocabulary or context is too small for the patterns."""
    check_int("the model's vocab_size", model.config.vocab_size, minimum=VOCAB_SIZE)
    for name in (*names, "induction"):
        limits = {"minimum": PATTERNS[name].shortest, "maximum": PATTERNS[name].longest_within(model.config.context)}
        check_int(f"{name}: longest", greatest_length(name, longest), **limits)


def quiet_bar(name: str = "") -> ProgressBar:
    return ProgressBar(name=name, evaluation=lambda record, loss: "")
