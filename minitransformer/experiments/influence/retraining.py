"""A test of a ranking of passages: train again without the highest-ranked passages.

Three models are trained from the same initial weights: on all passages, without the first passages of the ranking, and
without the same number of random others. If the removed passages taught the answer, its loss is higher without them
than without the random others. The test does not identify the important passages among the removed ones.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import numpy as np

from gradcheck.front.tables import table
from minitransformer.config import Config
from minitransformer.experiments.influence.passages import Passage, answer_loss, next_tokens
from minitransformer.language_model import LanguageModel
from minitransformer.optim import AdamW, cosine_schedule, decay_groups
from minitransformer.system.data import Data
from minitransformer.system.validation import check_int
from minitransformer.text import Tokenizer
from minitransformer.training import fit
from minitransformer.transformer import Transformer


@dataclass(frozen=True)
class PassageTraining:
    """A training recipe. Calling it trains a new model on passages, one per row of a batch.

    The seed determines the initial weights and the batches. A cosine schedule of the learning rate ends at lr / 10.
    """

    config: Config
    tokenizer: Tokenizer
    steps: int = 500
    batch_size: int = 16
    lr: float = 3e-3
    weight_decay: float = 0.1
    clip: float = 1.0

    def __call__(self, passages: list[Passage], seed: int) -> LanguageModel:
        """Train a new LanguageModel on `passages`. Raises TrainingDiverged if a loss is not finite."""
        return self.checkpoints(passages, seed, 1)[0][0]

    def checkpoints(self, passages: list[Passage], seed: int, number: int) -> list[tuple[LanguageModel, float]]:
        """Train a new model. Return `number` evenly spaced checkpoints of it as pairs (model, learning rate)."""
        check_int("PassageTraining: number", number, minimum=1, maximum=self.steps)
        kept, found = {self.steps * (i + 1) // number for i in range(number)}, []

        def keep(step, loss, norm):
            if step in kept:
                found.append((LanguageModel(deepcopy(model), self.tokenizer), optimizer.param_groups[0]["lr"]))

        model = Transformer(self.config, seed)
        optimizer = AdamW(decay_groups(model, self.weight_decay), betas=(0.9, 0.99))
        batch_rng, dropout_rng = (np.random.default_rng([seed, stream]) for stream in range(2))
        inputs, targets = next_tokens(*passages)
        draws = (batch_rng.integers(len(passages), size=self.batch_size) for _ in range(self.steps))
        batches = ([(inputs[chosen], targets[chosen])] for chosen in draws)
        schedule = {"lr": self.lr, "min_lr": self.lr / 10, "warmup": self.steps // 20, "steps": self.steps}
        lr = partial(cosine_schedule, **schedule)
        fit(model, batches, optimizer, self.steps, keep, lr=lr, clip=self.clip, rng=dropout_rng)
        return found


@dataclass(frozen=True, eq=False)
class Retraining(Data):
    """The loss of an answer after each retraining, in nats per token of the answer."""

    removed: list[int]  # indices of passages
    seeds: list[int]
    all_passages: np.ndarray  # (S,) losses after training on all passages
    without: np.ndarray  # (S,) without the removed passages
    without_random: np.ndarray  # (S,) without the same number of random others

    @property
    def difference(self) -> float:
        return float((self.without - self.without_random).mean())

    @property
    def standard_error(self) -> float:
        """Return the standard error of the difference, or NaN if there is only one seed."""
        n = len(self.seeds)
        return float((self.without - self.without_random).std(ddof=1) / n**0.5) if n > 1 else float("nan")

    def __str__(self):
        n, seeds = len(self.removed), len(self.seeds)
        rows = [
            ("on all passages", f"{self.all_passages.mean():.3f}"),
            (f"without the {n} most influential", f"{self.without.mean():.3f}"),
            (f"without {n} others at random", f"{self.without_random.mean():.3f}"),
        ]
        heading = f"the answer's loss, nats, trained again (mean, {seeds} seed{'s' * (seeds > 1)})"
        uncertain = f" ± {self.standard_error:.3f} (standard error)" if seeds > 1 else ""
        worse = f"the first is higher for {(self.without > self.without_random).sum()} of {seeds} seeds"
        return "\n".join([heading, *table(rows), f"the last two differ by {self.difference:+.3f}{uncertain}; {worse}"])


def retrain_without(
    train: Callable[[list[Passage], int], LanguageModel],
    passages: list[Passage],
    removed,
    answer,
    seeds=(0, 1, 2),
) -> Retraining:
    """Compare the loss of an answer after training with and without some passages.

    train     deterministic function train(passages, seed) that returns a LanguageModel, such as a PassageTraining
    removed   indices of the passages to remove
    answer    the exercise of predicting the answer, see answer_after in passages.py
    seeds     each seed is used for three trainings (on all passages, without `removed`, without as many random others)
              and to draw the random others

    Raises ValueError if `removed` is empty, has repeated or invalid indices or at least half of the passages, or if
    there is no seed.
    """
    removed, seeds, n = [int(i) for i in removed], [int(seed) for seed in seeds], len(passages)
    if not removed or len(set(removed)) < len(removed) or not all(0 <= i < n for i in removed):
        raise ValueError(f"retrain_without: removed must be different indices of the {n} passages, not {removed}")
    check_retraining(n, len(removed), seeds)
    others = np.setdiff1d(np.arange(n), removed)

    def loss_without(left_out, seed):
        kept = [passage for i, passage in enumerate(passages) if i not in left_out]
        return answer_loss(train(kept, seed).model, answer)

    losses = []
    for seed in seeds:
        at_random = np.random.default_rng([seed, 2]).choice(others, len(removed), replace=False)
        losses.append([loss_without(set(left_out), seed) for left_out in ((), removed, at_random.tolist())])
    return Retraining(removed, seeds, *np.array(losses).T)


def check_retraining(passages: int, removed: int, seeds) -> None:
    check_int(f"number of passages to retrain without {removed} of them", passages, minimum=2 * removed + 1)
    check_int("number of seeds", len(seeds), minimum=1)
