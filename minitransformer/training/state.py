"""What every run has in common: a model, its optimiser and generators, and how far it is.

What a step does, what an evaluation measures and on which data, a subclass says: Pretraining in pretraining.py for a
text, PreferenceRun in finetuning/ for pairs of responses. Checkpoints, metrics, interruption and resuming know only
what stands here.

The random numbers of the batches and of dropout come from two generators of their own, and those of the samples from a
new one each time. So neither evaluating nor sampling nor saving changes what the model learns.
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
    """The training of the LanguageModel `lm`, at `step` steps of `settings.steps`.

    Raises ValueError for a sample prompt that has no ids, or settings that this kind of run cannot follow.
    """

    picture = ""  # the file name of what `draw_picture` draws
    report = None  # that of a report, if one is written when the run is over
    shares_batches = False  # whether `settings.replicas` may be more than 1
    ranks = Alone()  # the processes that train together (see ranks.py)

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
        self.best = {}  # the one with the lowest val_loss

    def advance(self) -> dict:
        """Take one step. Returns its metrics; raises TrainingDiverged."""
        raise NotImplementedError(f"{type(self).__name__} does not define advance")

    def evaluate(self) -> dict:
        """Return the metrics of an evaluation, which changes nothing of what a step depends on."""
        raise NotImplementedError(f"{type(self).__name__} does not define evaluate")

    def first_ids(self):
        """Return the ids that samples begin with where no prompt is given."""
        raise NotImplementedError(f"{type(self).__name__} does not define first_ids")

    def describe_data(self) -> dict:
        """Return what tells the data of this run from others: a "name", a "sha256", and what else is worth knowing."""
        raise NotImplementedError(f"{type(self).__name__} does not define describe_data")

    @staticmethod
    def data_in_words(described: dict) -> str:
        """Return what describe_data returned, in words."""
        return described["name"]

    def draw_picture(self, records, path) -> None:
        """Draw the metrics' records as a picture at `path`."""
        raise NotImplementedError(f"{type(self).__name__} does not define draw_picture")

    def own_state(self) -> tuple[dict, dict]:
        """Return (arrays by name, what JSON can hold): what else a checkpoint must keep of this run."""
        return {}, {}

    def restore_own_state(self, arrays: dict, state: dict) -> None:
        """Take back what own_state returned.

        Raises KeyError, TypeError or ValueError for what cannot be that, before anything is changed.
        """

    @property
    def tokens(self) -> int:
        """How many tokens it has trained on."""
        raise NotImplementedError(f"{type(self).__name__} does not define tokens")

    @property
    def finished(self) -> bool:
        """Whether there is no step left to take."""
        return self.step == self.settings.steps

    def set_learning_rate(self) -> float:
        """Give the optimiser the learning rate of the coming step, and return it."""
        settings = self.settings
        lr = cosine_schedule(
            self.step, lr=settings.lr, min_lr=settings.final_lr, warmup=settings.warmup_steps, steps=settings.steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

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
            return self.first_ids()
        try:
            return self.lm.encode(prompt)
        except ValueError as error:
            raise ValueError(f"the sample prompt: {error}") from None

    def note(self, record: dict) -> None:
        """Remember a record as the last, and as the best if it is."""
        self.last = record
        if record.get("val_loss", math.inf) < self.best.get("val_loss", math.inf):
            self.best = record
