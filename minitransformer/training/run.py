"""A run in memory: a model, its text and its optimiser, and all that a step changes.

The random numbers of the batches and of dropout come from two generators of their own, and those of the samples from a
new one each time. So neither evaluating nor sampling nor saving changes what the model learns.
"""

import hashlib
import math

import numpy as np

from minitransformer.generation import stream
from minitransformer.language_model import LanguageModel, mean_loss
from minitransformer.optim import AdamW, cosine_schedule, decay_groups
from minitransformer.text import Corpus, random_batch
from minitransformer.training.settings import Settings
from minitransformer.training.step import TrainingDiverged, training_step

SAMPLE_TEMPERATURE = 0.8
POSITIONS_NAMED = 16


class Run:
    """The training of the LanguageModel `lm` on `corpus`, at `step` steps of `settings.steps`.

    Raises ValueError for a corpus that is too short for the model's context, or a sample prompt that has no ids.
    """

    def __init__(self, lm: LanguageModel, corpus: Corpus, settings: Settings):
        corpus.require_context(lm.model.config.context)
        self.lm, self.corpus, self.settings = lm, corpus, settings
        groups = decay_groups(lm.model, settings.weight_decay)
        self.optimizer = AdamW(groups, lr=settings.lr, betas=settings.betas)
        batch_seed, dropout_seed = np.random.SeedSequence(settings.seed).spawn(2)
        self.batch_rng, self.dropout_rng = np.random.default_rng(batch_seed), np.random.default_rng(dropout_seed)
        self.sample_prompt = self.prompt_ids()
        self.fingerprint = fingerprint(corpus)
        self.step = 0
        self.seconds = 0.0
        self.last = {}  # the last record (see metrics.py)
        self.best = {}  # the one with the lowest val_loss

    @property
    def tokens_per_step(self) -> int:
        """How many tokens each step trains on."""
        return self.settings.accumulate * self.settings.batch_size * self.lm.model.config.context

    def advance(self) -> dict:
        """Take one step. Returns its loss, learning rate and gradient's norm; raises TrainingDiverged."""
        settings = self.settings
        lr = cosine_schedule(
            self.step, lr=settings.lr, min_lr=settings.final_lr, warmup=settings.warmup_steps, steps=settings.steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        before = self.batch_rng.bit_generator.state
        try:
            batches = self.draw(self.corpus.train_ids)
            loss, norm = training_step(self.lm.model, self.optimizer, batches, clip=settings.clip, rng=self.dropout_rng)
        except TrainingDiverged as error:
            self.batch_rng.bit_generator.state = before
            where = self.named_positions(self.draw(Positions(len(self.corpus.train_ids))))
            raise error.with_message(
                f"step {self.step + 1}: {error}; its batch is the windows at tokens {where}"
            ) from None
        self.step += 1
        return {"loss": loss, "lr": lr, "grad_norm": norm}

    def draw(self, ids):
        """Return the next step's batches out of `ids`, a list of (inputs, targets)."""
        size, context = self.settings.batch_size, self.lm.model.config.context
        return [random_batch(ids, size, context, self.batch_rng) for _ in range(self.settings.accumulate)]

    @staticmethod
    def named_positions(batches) -> str:
        """Write where the windows of batches that were drawn out of Positions begin."""
        starts = np.concatenate([inputs[:, 0] for inputs, _ in batches]).tolist()
        more = f" and {len(starts) - POSITIONS_NAMED} more" if len(starts) > POSITIONS_NAMED else ""
        return ", ".join(map(str, starts[:POSITIONS_NAMED])) + more

    def evaluate(self) -> float | None:
        """Return the mean loss on the validation split, or its first `eval_tokens`; None if there is no such split."""
        ids = self.corpus.val_ids
        if not len(ids):
            return None
        if self.settings.eval_tokens is not None:
            ids = ids[: self.settings.eval_tokens + 1]
        with np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite says so itself
            return mean_loss(self.lm.model, ids, self.settings.batch_size)

    def sample(self) -> str:
        """Return the prompt and text that the model goes on with, the same whenever this step is reached."""
        rng = np.random.default_rng([self.settings.seed, self.step])
        new = stream(
            self.lm.model, self.sample_prompt, self.settings.sample_tokens, temperature=SAMPLE_TEMPERATURE, rng=rng
        )
        return self.lm.tokenizer.decode([*self.sample_prompt, *map(int, new)])

    def prompt_ids(self):
        """Return the ids that samples begin with."""
        prompt = self.settings.sample_prompt
        if prompt is None:
            return self.corpus.train_ids[:1].astype(np.int64)
        try:
            return self.lm.encode(prompt)
        except ValueError as error:
            raise ValueError(f"the sample prompt: {error}") from None

    def note(self, record: dict) -> None:
        """Remember a record as the last, and as the best if it is."""
        self.last = record
        if record.get("val_loss", math.inf) < self.best.get("val_loss", math.inf):
            self.best = record


class Positions:
    """Ids 0, 1, 2, … that take no memory: a batch drawn from them says which places of a text it would have had."""

    def __init__(self, length: int):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, positions):
        return positions


def fingerprint(corpus: Corpus) -> str:
    """Return a SHA-256 of the ids of both splits: equal for equal ids alone."""
    digest = hashlib.sha256(f"{len(corpus.train_ids)} {len(corpus.val_ids)}".encode())
    for ids in (corpus.train_ids, corpus.val_ids):
        digest.update(np.ascontiguousarray(ids))
    return digest.hexdigest()
