"""The settings of fine-tuning runs, which extend those of all runs."""

from dataclasses import dataclass

from minitransformer.system.validation import documented, number, one_of, positive, setting
from minitransformer.training.finetuning.objectives import OBJECTIVES
from minitransformer.training.finetuning.trainable import LowRank, Trainable, checked
from minitransformer.training.settings import Settings

DEFAULT_LR, ADAPTERS_LR = 2e-4, 1e-3


@documented
@dataclass(frozen=True)
class FineTuningSettings(Settings):
    """The settings of fine-tuning: fewer steps and a lower learning rate than pretraining, and no weight decay.

    Weight decay would pull the weights towards zero and away from the trained model. Adapters allow a higher learning
    rate, because they have no effect at the start.
    """

    kind = "fine-tuning on a text"

    steps: int = 200
    lr: float | None = setting(
        None, "the highest learning rate", positive, optional=f"{DEFAULT_LR:g}; for adapters {ADAPTERS_LR:g}"
    )
    weight_decay: float = 0.0
    eval_every: int = 20
    checkpoint_every: int = 50
    trainable: Trainable = setting(2, "trained parameters: the last n blocks, or a LowRank (see trainable.py)", checked)

    def __post_init__(self):
        object.__setattr__(self, "trainable", checked("trainable", self.trainable))
        if self.lr is None:
            object.__setattr__(self, "lr", ADAPTERS_LR if isinstance(self.trainable, LowRank) else DEFAULT_LR)
        super().__post_init__()


@documented
@dataclass(frozen=True)
class PreferenceSettings(FineTuningSettings):
    """The settings of fine-tuning on pairs of responses.

    If there are fewer pairs than batch_size, each batch contains all of them.
    """

    kind = "fine-tuning on pairs of responses"

    batch_size: int = 8
    eval_tokens: int | None = 10_000
    objective: str = setting(
        "dpo", "minimised objective (see objectives/): dpo and unlikelihood are bounded", one_of, known=OBJECTIVES
    )
    beta: float = setting(0.1, "penalty for the distance to the starting model (dpo only)", positive)
    perplexity_limit: float = setting(
        2.0, "growth factor of the perplexity on general text at which the run stops", number, above=1
    )
