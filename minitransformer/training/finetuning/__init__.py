"""Fine-tuning: a trained model, changed a little, towards something.

    report = fine_tune_for_safety(lm, "politeness", objective="dpo", trainable=LowRank(rank=4), out="runs/polite")
    print(report)

    fine_tune(lm, TextFiles(["letters.txt"]), FineTuningSettings(steps=300, trainable=2))

In reading order:

    objectives/        what is minimised, each with its derivation           direct_preference, unlikelihood, …
    preferences.py     a prompt, a safe response and an unsafe one           read_preferences
    politeness.jsonl   a small dataset of these
    trainable.py       what of the model may move                            LowRank, training_only
    settings.py        what a run is asked to do                             FineTuningSettings, PreferenceSettings
    evaluation.py      what is measured, before and after                    Evaluation
    preference_run.py  the run: a step, an evaluation, a checkpoint's needs  PreferenceRun
    picture.py         likelihoods, margin and perplexity over the steps     draw_fine_tuning
    report.py          before and after, side by side                        FineTuningReport
    safety.py          all of it together                                    fine_tune_for_safety
    supervised.py      plain fine-tuning on a text                           fine_tune
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
