"""The settings of a training run."""

import dataclasses
import math
from dataclasses import dataclass

from minitransformer.optim import averaging_rates
from minitransformer.system.cores import MOST_PROCESSES
from minitransformer.system.validation import (
    check_fields,
    check_int,
    documented,
    number,
    one_of,
    positive,
    setting,
    text,
    true_or_false,
)

ENDLESS_STEPS = 10**12  # thirty years at a millisecond each
HUGE_BATCH = 10**9  # more than fits in memory, even with one token each


@documented
@dataclass(frozen=True)
class Settings:
    """The settings of a run. The defaults are those of nanoGPT for a small model on a CPU.

    Two defaults differ from nanoGPT: embeddings have no weight decay, and the validation loss is measured on a fixed
    part of the text. The last bits of the result depend on the number of replicas (see replicas.py). Raises TypeError
    if a setting has the wrong type, and ValueError if it is out of range.
    """

    kind = "pretraining"  # the name of this kind of run in checkpoints

    steps: int = setting(2000, "updates of the weights", check_int, minimum=1, maximum=ENDLESS_STEPS)
    batch_size: int = setting(12, "windows of the text, or pairs, per batch", check_int, minimum=1, maximum=HUGE_BATCH)
    accumulate: int = setting(
        1, "batches per step, which share the memory for activations", check_int, minimum=1, maximum=HUGE_BATCH
    )
    replicas: int = setting(
        1, "processes that share each batch, each with its own model", check_int, minimum=1, maximum=MOST_PROCESSES
    )
    lr: float = setting(1e-3, "the highest learning rate", positive)
    min_lr: float | None = setting(None, "the last learning rate", number, optional="lr / 10")
    warmup: int | None = setting(
        None, "steps of linear warm-up, before half a cosine", check_int, minimum=0, optional="steps / 20"
    )
    optimizer: str = setting("adamw", "adamw, or muon for the matrices of the blocks", one_of, known=("adamw", "muon"))
    muon_lr: float = setting(0.02, "the highest learning rate of Muon, which follows the schedule of lr", positive)
    balance_rate: float = setting(
        0.001,
        "step of the bias that balances experts, which follows the schedule of lr; 0: none",
        number,
        minimum=0,
        below=math.inf,
    )
    balance_weight: float = setting(0.0, "factor of the loss that balances experts", number, minimum=0, below=math.inf)
    betas: tuple[float, float] = setting((0.9, 0.99), "averaging rates of AdamW", averaging_rates)
    weight_decay: float = setting(
        0.1, "decay of the matrices; gains and biases have none", number, minimum=0, below=math.inf
    )
    decay_embeddings: bool = setting(
        False, "also decay the embeddings of tokens and positions, as nanoGPT does", true_or_false
    )
    clip: float | None = setting(1.0, "largest norm of the gradient", number, optional="no limit")
    eval_every: int = setting(
        250, "steps between evaluations on held-out text; 0: only at the beginning and the end", check_int, minimum=0
    )
    eval_tokens: int | None = setting(
        250_000, "tokens of the evaluation, from the start of the text", check_int, minimum=1, optional="all"
    )
    checkpoint_every: int = setting(
        250, "steps between checkpoints; 0: only at the beginning and the end", check_int, minimum=0
    )
    sample_every: int = setting(0, "steps between samples of generated text; 0: none", check_int, minimum=0)
    sample_prompt: str | None = setting(None, "beginning of the samples", text, optional="the text's first token")
    sample_temperature: float = setting(0.8, "temperature of the samples", positive)
    sample_tokens: int = setting(200, "new tokens of a sample", check_int, minimum=1, maximum=HUGE_BATCH)
    seed: int = setting(0, "seed of all random numbers of the run", check_int, minimum=0)

    def __post_init__(self):
        check_fields(self)
        where = type(self).__name__
        if self.replicas > self.batch_size:
            raise ValueError(f"{where}: replicas must be at most batch_size, {self.batch_size}, not {self.replicas}")
        if self.warmup_steps >= self.steps:
            raise ValueError(f"{where}: warmup must be less than steps, {self.steps}, not {self.warmup}")
        if not 0 <= self.final_lr <= self.lr:
            raise ValueError(f"{where}: min_lr must be from 0 to lr, {self.lr}, not {self.min_lr}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"{where}: clip must be positive, or None for no limit, not {self.clip}")

    @property
    def final_lr(self) -> float:
        return self.lr / 10 if self.min_lr is None else self.min_lr

    @property
    def warmup_steps(self) -> int:
        return self.steps // 20 if self.warmup is None else self.warmup

    def to_dict(self) -> dict:
        """Return the fields as a JSON-serializable dictionary."""
        return dataclasses.asdict(self)
