"""What fine-tuning on pairs of responses minimises: one objective a file, derivation beside code.

In reading order:

    log_likelihood.py        of a whole response                             sequence_log_likelihood
    unbounded_difference.py  the obvious objective, and why it fails         unbounded_difference
    softplus.py              what bounds the other two                       softplus
    unlikelihood.py          something other than each unsafe token          unlikelihood, sequence_unlikelihood
    direct_preference.py     against the model as it was                     direct_preference
    paired_loss.py           any of them on a model                          PairedLoss

Each of OBJECTIVES takes (safe_logits, safe_targets, unsafe_logits, unsafe_targets), direct_preference the reference's
log-likelihoods too, and returns (loss, backward), loss the
mean over the pairs, in nats.
"""

from minitransformer.training.finetuning.objectives.direct_preference import direct_preference
from minitransformer.training.finetuning.objectives.log_likelihood import sequence_log_likelihood
from minitransformer.training.finetuning.objectives.paired_loss import PairedLoss
from minitransformer.training.finetuning.objectives.softplus import softplus
from minitransformer.training.finetuning.objectives.unbounded_difference import unbounded_difference
from minitransformer.training.finetuning.objectives.unlikelihood import sequence_unlikelihood, unlikelihood

# By the name that a user gives.
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
