"""Pretraining and fine-tuning. README.md lists the files.

from minitransformer.training import Settings, pretrain

pretrain(language_model, corpus, Settings(steps=500, lr=1e-3), out="runs/mine")
"""

from minitransformer.language_model import MODEL_FILE
from minitransformer.training.finetuning import (
    FineTuningReport,
    FineTuningSettings,
    LowRank,
    PreferenceSettings,
    RewardSettings,
    fine_tune,
    fine_tune_for_reward,
    fine_tune_for_safety,
)
from minitransformer.training.loop import fit
from minitransformer.training.loss_curve import LOSS_FILE, draw_loss_curve
from minitransformer.training.metrics import METRICS_FILE, read_metrics
from minitransformer.training.observer import Observer, ProgressBar
from minitransformer.training.pretraining import pretrain
from minitransformer.training.replicas import Replicas
from minitransformer.training.run import TrainingInterrupted
from minitransformer.training.settings import Settings
from minitransformer.training.step import TrainingDiverged, training_step

__all__ = [
    "Settings",
    "fit",
    "training_step",
    "TrainingDiverged",
    "pretrain",
    "TrainingInterrupted",
    "MODEL_FILE",
    "METRICS_FILE",
    "read_metrics",
    "Observer",
    "ProgressBar",
    "Replicas",
    "LOSS_FILE",
    "draw_loss_curve",
    "fine_tune_for_safety",
    "fine_tune_for_reward",
    "fine_tune",
    "PreferenceSettings",
    "RewardSettings",
    "FineTuningSettings",
    "LowRank",
    "FineTuningReport",
]
