"""Fine-tuning: continue training on a text, towards preferred responses, or on a reward. README.md has the files."""

from minitransformer.training.finetuning.evaluation import Evaluation
from minitransformer.training.finetuning.picture import FINE_TUNING_FILE, draw_fine_tuning
from minitransformer.training.finetuning.preference_run import fine_tune_for_safety
from minitransformer.training.finetuning.preferences import POLITENESS, PreferenceRow, read_preferences
from minitransformer.training.finetuning.report import REPORT_FILE, FineTuningReport
from minitransformer.training.finetuning.reward_report import RewardReport
from minitransformer.training.finetuning.reward_run import fine_tune_for_reward
from minitransformer.training.finetuning.rewards import REWARDS, Reward
from minitransformer.training.finetuning.settings import FineTuningSettings, PreferenceSettings, RewardSettings
from minitransformer.training.finetuning.supervised import fine_tune
from minitransformer.training.finetuning.trainable import LowRank, training_only

__all__ = [
    "fine_tune_for_safety",
    "fine_tune_for_reward",
    "fine_tune",
    "Reward",
    "REWARDS",
    "RewardReport",
    "RewardSettings",
    "PreferenceSettings",
    "FineTuningSettings",
    "LowRank",
    "training_only",
    "FineTuningReport",
    "Evaluation",
    "PreferenceRow",
    "read_preferences",
    "POLITENESS",
    "draw_fine_tuning",
    "FINE_TUNING_FILE",
    "REPORT_FILE",
]
