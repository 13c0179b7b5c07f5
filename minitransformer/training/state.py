"""The common state of all kinds of runs: a model, its optimiser, its random generators, and its progress.

A subclass defines the data, a step, and an evaluation: Pretraining (pretraining.py) for a text, PreferenceRun
(finetuning/) for pairs of responses. Checkpoints, metrics and the loop use only the members defined here.

Batches and dropout have separate random generators, and every sample has a new one. Evaluations, samples and
checkpoints therefore do not affect the training.
"""

import math

import numpy as np

from minitransformer.generation import stream
from minitransformer.language_model import LanguageModel
from minitransformer.optim import AdamW, cosine_schedule, decay_groups
from minitransformer.training.ranks import Alone
from minitransformer.training.settings import Settings

SAMPLE_TEMPERATURE = 0.8


class TrainingState:
    """The training of the LanguageModel `lm`, after `step` of `settings.steps` steps.

    Raises ValueError for a sample prompt without ids, or settings that this kind of run does not support.
    """

    picture = ""  # name of the file that `draw_picture` writes
    report = None  # name of the file of a final report, if there is one
    shares_batches = False  # True if `settings.replicas` may exceed 1
    ranks = Alone()  # the ranks that train together (see ranks.py)

    def __init__(self, lm: LanguageModel, settings: Settings):
        if settings.replicas > 1 and not self.shares_batches:
            raise ValueError(f"Settings: replicas must be 1 for {settings.kind}, not {settings.replicas}")
        self.lm, self.settings = lm, settings
        groups = decay_groups(lm.model, settings.weight_decay, embeddings=settings.decay_embeddings)
        self.optimizer = AdamW(groups, lr=settings.lr, betas=settings.betas)
        batch_seed, dropout_seed = np.random.SeedSequence(settings.seed).spawn(2)
        self.batch_rng, self.dropout_rng = np.random.default_rng(batch_seed), np.random.default_rng(dropout_seed)
        self.sample_prompt = self.prompt_ids()
        self.step = 0
        self.seconds = 0.0
        self.last = {}  # the last record (see metrics.py)
        self.best = {}  # the record with the lowest val_loss

    def advance(self) -> dict:
        """Take one step and return its metrics, or raise TrainingDiverged."""
        raise NotImplementedError(f"{type(self).__name__} does not define advance")

    def evaluate(self) -> dict:
        """Return the metrics of an evaluation, without any effect on later steps."""
        raise NotImplementedError(f"{type(self).__name__} does not define evaluate")

    def first_ids(self):
        """Return the ids at the beginning of samples without a prompt."""
        raise NotImplementedError(f"{type(self).__name__} does not define first_ids")

    def describe_data(self) -> dict:
        """Return a description of the data, with at least a "name" and a "sha256"."""
        raise NotImplementedError(f"{type(self).__name__} does not define describe_data")

    @staticmethod
    def data_in_words(described: dict) -> str:
        """Return the result of describe_data in words."""
        return described["name"]

    def draw_picture(self, records, path) -> None:
        """Draw the metrics' records as a picture at `path`."""
        raise NotImplementedError(f"{type(self).__name__} does not define draw_picture")

    def own_state(self) -> tuple[dict, dict]:
        """Return the additional state for a checkpoint.

        The result is a pair ({name: array}, dictionary that JSON can represent).
        """
        return {}, {}

    def restore_own_state(self, arrays: dict, state: dict) -> None:
        """Restore the result of own_state.

        Raises KeyError, TypeError or ValueError for an invalid state, before anything is changed.
        """

    @property
    def tokens(self) -> int:
        """Return the number of tokens trained on so far."""
        raise NotImplementedError(f"{type(self).__name__} does not define tokens")

    @property
    def finished(self) -> bool:
        """Return True after the last step."""
        return self.step == self.settings.steps

    def set_learning_rate(self) -> float:
        """Set the learning rate of the next step, and return it."""
        settings = self.settings
        lr = cosine_schedule(
            self.step, lr=settings.lr, min_lr=settings.final_lr, warmup=settings.warmup_steps, steps=settings.steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def sample(self) -> str:
        """Return the prompt and its continuation; weights, seed and step determine it."""
        rng = np.random.default_rng([self.settings.seed, self.step])
        new = stream(
            self.lm.model, self.sample_prompt, self.settings.sample_tokens, temperature=SAMPLE_TEMPERATURE, rng=rng
        )
        return self.lm.tokenizer.decode([*self.sample_prompt, *map(int, new)])

    def prompt_ids(self):
        """Return the ids at the beginning of samples."""
        prompt = self.settings.sample_prompt
        if prompt is None:
            return self.first_ids()
        try:
            return self.lm.encode(prompt)
        except ValueError as error:
            raise ValueError(f"the sample prompt: {error}") from None

    def note(self, record: dict) -> None:
        """Store a record as the last one, and as the best one if it is."""
        self.last = record
        if record.get("val_loss", math.inf) < self.best.get("val_loss", math.inf):
            self.best = record
