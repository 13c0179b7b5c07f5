"""Objectives of fine-tuning on pairs of responses, one per file, with their derivations.

In reading order:

    log_likelihood.py        the log-likelihood of a whole response             sequence_log_likelihood
    unbounded_difference.py  the obvious objective, and why it fails            unbounded_difference
    softplus.py              the function that bounds the other two             softplus
    unlikelihood.py          the probability of anything but an unsafe token    unlikelihood, sequence_unlikelihood
    direct_preference.py     preference relative to the starting model          direct_preference
    paired_loss.py           an objective applied to a model                    PairedLoss

Each function in OBJECTIVES takes (safe_logits, safe_targets, unsafe_logits, unsafe_targets). direct_preference also
takes the log-likelihoods of the reference. Each returns (loss, backward), where loss is the mean over the pairs, in
nats.
"""

from minitransformer.training.finetuning.objectives.direct_preference import direct_preference
from minitransformer.training.finetuning.objectives.log_likelihood import sequence_log_likelihood
from minitransformer.training.finetuning.objectives.paired_loss import PairedLoss
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
    "OBJECTIVES",
]
