"""Fine-tuning: continue the training of a model, on a text or towards preferred responses.

    report = fine_tune_for_safety(lm, "politeness", objective="dpo", trainable=LowRank(rank=4), out="runs/polite")
    print(report)

    fine_tune(lm, TextFiles(["letters.txt"]), FineTuningSettings(steps=300, trainable=2))

The files in reading order:

    objectives/        the objectives, each with its derivation                direct_preference, unlikelihood, …
    preferences.py     prompts, each with a safe and an unsafe response        read_preferences
    politeness.jsonl   a small dataset of these
    trainable.py       the parameters that are trained                         LowRank, training_only
    settings.py        the settings of a run                                   FineTuningSettings, PreferenceSettings
    evaluation.py      measurements before and after                           Evaluation
    preference_run.py  the run: a step, an evaluation, state of a checkpoint   PreferenceRun
    picture.py         likelihoods, margin and perplexity over the steps       draw_fine_tuning
    report.py          the measurements before and after, side by side         FineTuningReport
    safety.py          all of these together                                   fine_tune_for_safety
    supervised.py      fine-tuning on a text                                   fine_tune
"""

from minitransformer.training.finetuning.evaluation import Evaluation
from minitransformer.training.finetuning.picture import FINE_TUNING_FILE, draw_fine_tuning
from minitransformer.training.finetuning.preferences import POLITENESS, PreferenceRow, read_preferences
from minitransformer.training.finetuning.report import REPORT_FILE, FineTuningReport
from minitransformer.training.finetuning.safety import fine_tune_for_safety
from minitransformer.training.finetuning.settings import FineTuningSettings, PreferenceSettings
from minitransformer.training.finetuning.supervised import fine_tune
from minitransformer.training.finetuning.trainable import LowRank, training_only

__all__ = [
    "fine_tune_for_safety",
    "fine_tune",
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
