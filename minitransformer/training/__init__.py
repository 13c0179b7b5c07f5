"""Training: from random weights to a model of a text, and from there, fine-tuned, to one of another.

    from minitransformer.training import Settings, pretrain

    pretrain(language_model, corpus, Settings(steps=500, lr=1e-3), out="runs/mine")

In reading order:

    settings.py       what a run is asked to do                   Settings
    step.py           one update of the weights                   training_step, TrainingDiverged
    state.py          what every run has in common
    loop.py           a run from beginning to end                 TrainingInterrupted
    pretraining.py    a run on a text                             pretrain
    checkpoints.py    a run on disk, to go on from exactly there
    checked_state.py  what that must be, if it comes from a file
    remembered.py     what a model's file says of the command that made it, and of its text
    metrics.py        what happened, as JSON lines                read_metrics
    interruption.py   the first Ctrl-C waits for the step
    environment.py    what the bits of a result depend on
    replicas.py       every core for one step: replicas of the model that share a batch   Replicas
    replica_process.py  one of them at work
    ranks.py          more than one machine: MPI
    observer.py       who watches: nobody, or a progress bar      Observer, ProgressBar
    loss_curve.py     the picture                                 draw_loss_curve
    finetuning/       a trained model, changed a little           fine_tune_for_safety, fine_tune
"""

from minitransformer.language_model import MODEL_FILE
from minitransformer.training.finetuning import (
    FineTuningReport,
    FineTuningSettings,
    LowRank,
    PreferenceSettings,
    fine_tune,
    fine_tune_for_safety,
)
from minitransformer.training.loop import TrainingInterrupted
from minitransformer.training.loss_curve import LOSS_FILE, draw_loss_curve
from minitransformer.training.metrics import METRICS_FILE, read_metrics
from minitransformer.training.observer import Observer, ProgressBar
from minitransformer.training.pretraining import pretrain
from minitransformer.training.replicas import Replicas
from minitransformer.training.settings import Settings
from minitransformer.training.step import TrainingDiverged, training_step

__all__ = [
    "Settings",
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
    "fine_tune",
    "PreferenceSettings",
    "FineTuningSettings",
    "LowRank",
    "FineTuningReport",
]
