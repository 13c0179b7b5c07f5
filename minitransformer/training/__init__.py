"""Training: from random weights to a model of a text.

    from minitransformer.training import Settings, pretrain

    pretrain(language_model, corpus, Settings(steps=500, lr=1e-3), out="runs/mine")

In reading order:

    settings.py       what a run is asked to do                   Settings
    step.py           one update of the weights                   training_step, TrainingDiverged
    pretraining.py    the run: batches, validation, samples       pretrain, TrainingInterrupted
    checkpoints.py    a run on disk, to go on from exactly there
    metrics.py        what happened, as JSON lines                read_metrics
    interruption.py   the first Ctrl-C waits for the step
    environment.py    what the bits of a result depend on
    observer.py       who watches: nobody, or a progress bar      Observer, ProgressBar
    loss_curve.py     the picture                                 draw_loss_curve
"""

from minitransformer.language_model import MODEL_FILE
from minitransformer.training.loss_curve import LOSS_FILE, draw_loss_curve
from minitransformer.training.metrics import METRICS_FILE, read_metrics
from minitransformer.training.observer import Observer, ProgressBar
from minitransformer.training.pretraining import TrainingInterrupted, pretrain
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
    "LOSS_FILE",
    "draw_loss_curve",
]
