"""What a training run is asked to do."""

import dataclasses
import math
import numbers
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Settings:
    """The settings of a run. The defaults are nanoGPT's numbers for a small model on a CPU.

    Unlike nanoGPT's, embeddings do not decay unless asked to, and validation is on a fixed stretch of text.
    Raises TypeError for a number or a flag of the wrong type, ValueError for a setting out of range.

    steps             updates of the weights
    batch_size        windows of the text per batch
    accumulate        batches per step, whose gradients are averaged: two of 6 windows do what one of 12 does, with
                      half the memory for activations
    replicas          processes that share each batch, every one with a replica of the model (see replicas.py); the
                      last bits of the result depend on their number
    lr                the highest learning rate
    min_lr            the last one; None: lr / 10
    warmup            steps of linear warm-up; None: a twentieth of `steps`
    betas             AdamW's two averaging rates
    weight_decay      AdamW's decay of the matrices
    decay_embeddings  whether the embeddings, of positions too, decay with them
    clip              the largest norm of the whole gradient; None: no limit
    eval_every        steps between evaluations on the validation split; 0: only before the first and after the last
    eval_tokens       how many of its tokens, from its beginning, to evaluate on; None: all
    checkpoint_every  steps between checkpoints; 0: only before the first and after the last
    sample_every      steps between samples of generated text; 0: none
    sample_prompt     what they begin with; None: the first token of the training text
    sample_tokens     how many tokens follow
    seed              of the batches, dropout and the samples
    """

    kind = "pretraining"  # what a checkpoint calls a run with such settings

    steps: int = 2000
    batch_size: int = 12
    accumulate: int = 1
    replicas: int = 1
    lr: float = 1e-3
    min_lr: float | None = None
    warmup: int | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.1
    decay_embeddings: bool = False
    clip: float | None = 1.0
    eval_every: int = 250
    eval_tokens: int | None = 250_000
    checkpoint_every: int = 250
    sample_every: int = 0
    sample_prompt: str | None = None
    sample_tokens: int = 200
    seed: int = 0

    def __post_init__(self):
        if not isinstance(self.betas, (tuple, list)):
            raise TypeError(f"Settings: betas must be two numbers, not {self.betas!r}")
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON, which stores them, has only lists
        at_least_one = ("steps", "batch_size", "accumulate", "replicas", "eval_tokens", "sample_tokens")
        for name in (*at_least_one, "warmup", "eval_every", "checkpoint_every", "sample_every", "seed"):
            value, least = getattr(self, name), int(name in at_least_one)
            if value is None and name in ("warmup", "eval_tokens"):
                continue
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
                raise TypeError(f"Settings: {name} must be an integer, not {value!r}")
            if value < least:
                raise ValueError(f"Settings: {name} must be at least {least}, not {value}")
        if self.replicas > self.batch_size:
            most = self.batch_size
            raise ValueError(f"Settings: replicas must not exceed batch_size ({most}) and is {self.replicas}")
        for name in ("lr", "min_lr", "weight_decay", "clip"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) and not (value is None and name in ("min_lr", "clip")):
                raise TypeError(f"Settings: {name} must be a number, not {value!r}")
        if not isinstance(self.decay_embeddings, bool):
            raise TypeError(f"Settings: decay_embeddings must be True or False, not {self.decay_embeddings!r}")
        if self.warmup_steps >= self.steps:
            raise ValueError(f"Settings: warmup must be less than steps, {self.steps}, not {self.warmup}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"Settings: lr must be positive, not {self.lr}")
        if not 0 <= self.final_lr <= self.lr:
            raise ValueError(f"Settings: min_lr must be between 0 and lr, {self.lr}, not {self.min_lr}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"Settings: betas must be two numbers from 0 up to but not including 1, not {self.betas}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"Settings: weight_decay must not be negative, and is {self.weight_decay}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"Settings: clip must be positive, or None for no limit, not {self.clip}")

    @property
    def final_lr(self) -> float:
        """min_lr, or its default."""
        return self.lr / 10 if self.min_lr is None else self.min_lr

    @property
    def warmup_steps(self) -> int:
        """warmup, or its default."""
        return self.steps // 20 if self.warmup is None else self.warmup

    def to_dict(self) -> dict:
        """Return the fields as a dictionary that JSON can hold; Settings(**dictionary) restores them."""
        return dataclasses.asdict(self)


def settings_of_kind(kind: str, fields: dict) -> Settings:
    """Return the Settings, or those of a subclass, that `kind` and to_dict describe.

    Raises ValueError for another kind, or one whose class has not been imported.
    """
    classes = [Settings]
    for cls in classes:  # the list grows by what it finds
        classes += cls.__subclasses__()
    by_kind = {cls.kind: cls for cls in classes}
    if kind not in by_kind:
        raise ValueError(f"nothing that has been imported knows the settings of a run of {kind}")
    return by_kind[kind](**fields)
