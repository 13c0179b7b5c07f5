"""Objectives of fine-tuning on pairs of responses, one per file, with their derivations. README.md lists the files.

Each function in OBJECTIVES takes (safe_logits, safe_targets, unsafe_logits, unsafe_targets) and returns (loss,
backward), where loss is the mean over the pairs, in nats. direct_preference also takes the log-likelihoods of the
reference model.
"""

from minitransformer.training.finetuning.objectives.direct_preference import direct_preference
from minitransformer.training.finetuning.objectives.log_likelihood import sequence_log_likelihood
from minitransformer.training.finetuning.objectives.paired_loss import PairedLoss
from minitransformer.training.finetuning.objectives.rewarded_loss import RewardedLoss
from minitransformer.training.finetuning.objectives.softplus import softplus
from minitransformer.training.finetuning.objectives.unbounded_difference import unbounded_difference
from minitransformer.training.finetuning.objectives.unlikelihood import sequence_unlikelihood, unlikelihood

# The objective for each value of the option --objective.
OBJECTIVES = {"dpo": direct_preference, "unlikelihood": unlikelihood, "difference": unbounded_difference}

__all__ = [
    "sequence_log_likelihood",
    "unbounded_difference",
    "softplus",
    "unlikelihood",
    "sequence_unlikelihood",
    "direct_preference",
    "PairedLoss",
    "RewardedLoss",
    "OBJECTIVES",
]
