"""What a fine-tuning run is asked to do, beside the settings that all runs have."""

import math
import numbers
from dataclasses import dataclass

from minitransformer.training.finetuning.objectives import OBJECTIVES
from minitransformer.training.finetuning.trainable import LowRank, Trainable, checked
from minitransformer.training.settings import Settings

DEFAULT_LR, ADAPTERS_LR = 2e-4, 1e-3


@dataclass(frozen=True)
class FineTuningSettings(Settings):
    """Settings of fine-tuning on a text: fewer steps than pretraining takes, smaller but for adapters, and no decay.

    trainable         what may move: the last n blocks, names of parameters, or a LowRank (see trainable.py)
    lr                None: 2e-4, or for adapters, which begin by adding nothing, 1e-3

    Weight decay pulls towards zero, which is not where a trained model came from.
    """

    kind = "fine-tuning on a text"

    steps: int = 200
    lr: float | None = None
    weight_decay: float = 0.0
    eval_every: int = 20
    checkpoint_every: int = 50
    trainable: Trainable = 2

    def __post_init__(self):
        object.__setattr__(self, "trainable", checked(self.trainable))
        if self.lr is None:
            object.__setattr__(self, "lr", ADAPTERS_LR if isinstance(self.trainable, LowRank) else DEFAULT_LR)
        super().__post_init__()


@dataclass(frozen=True)
class PreferenceSettings(FineTuningSettings):
    """Settings of fine-tuning on pairs of responses.

    batch_size        pairs per batch, or all where there are fewer
    eval_tokens       how many tokens of the general text to evaluate on, from its beginning
    objective         "dpo", "unlikelihood" or "difference" (see objectives/)
    beta              of "dpo": the price of leaving the starting model
    perplexity_limit  the run is stopped, as diverged, once the perplexity on general text has grown by this factor
    """

    kind = "fine-tuning on pairs of responses"

    batch_size: int = 8
    eval_tokens: int | None = 10_000
    objective: str = "dpo"
    beta: float = 0.1
    perplexity_limit: float = 2.0

    def __post_init__(self):
        super().__post_init__()
        if self.objective not in OBJECTIVES:
            raise ValueError(f"unknown objective {self.objective!r}; known are {', '.join(OBJECTIVES)}")
        for name in ("beta", "perplexity_limit"):
            if not isinstance(getattr(self, name), numbers.Real):
                raise TypeError(f"Settings: {name} must be a number, not {getattr(self, name)!r}")
        if not 0 < self.beta < math.inf:
            raise ValueError(f"Settings: beta must be positive, not {self.beta}")
        if not self.perplexity_limit > 1:
            raise ValueError(f"Settings: perplexity_limit must be more than 1, not {self.perplexity_limit}")
