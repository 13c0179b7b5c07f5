"""The settings of fine-tuning runs, which extend those of all runs."""

from dataclasses import dataclass

from minitransformer.system.validation import check_int, documented, number, one_of, positive, setting
from minitransformer.training.finetuning.objectives import OBJECTIVES
from minitransformer.training.finetuning.trainable import LowRank, Trainable, checked
from minitransformer.training.settings import HUGE_BATCH, Settings

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


@documented
@dataclass(frozen=True)
class RewardSettings(FineTuningSettings):
    """The settings of fine-tuning on a reward. batch_size is the number of prompts of a step."""

    kind = "fine-tuning on a reward"

    batch_size: int = 8
    lr: float | None = 1e-3
    eval_every: int = 10
    objective: str = setting("grpo", "maximised objective: grpo (see layers/modern/grpo.py)", one_of, known=("grpo",))
    responses: int = setting(
        8, "responses to each prompt, compared with each other", check_int, minimum=2, maximum=HUGE_BATCH
    )
    updates: int = setting(2, "steps on the same responses", check_int, minimum=1)
    ratio_range: float = setting(
        0.2, "change of a token's probability, as a share, beyond which it has no gradient", positive
    )
    beta: float = setting(0.04, "weight of the divergence from the starting model", number, minimum=0)
