"""Training influence: whether a model has likely seen a text, and which passages made its answer.

In reading order:

    passages.py       pieces of text, and what a model is asked about them       Passage, Example
    familiarity.py    perplexity, and confidence in an answer
    separation.py     how well a score tells two groups apart                    Separation, separation
    calibration.py    what score is so high that a text was likely seen          Calibration
    tracin.py         the inner product of per-example gradients                 influences
    retraining.py     its test: training again without the passages              PassageTraining, retrain_without
    report.py         what was found, as numbers and for people                  TrainingInfluence, PromptInfluence
    analysis.py       all of it                                                  analyze_training_influence
"""

from minitransformer.experiments.influence.analysis import analyze_training_influence
from minitransformer.experiments.influence.calibration import Calibration
from minitransformer.experiments.influence.passages import Passage, answer_after, as_passages
from minitransformer.experiments.influence.report import PromptInfluence, TrainingInfluence
from minitransformer.experiments.influence.retraining import PassageTraining, Retraining, retrain_without
from minitransformer.experiments.influence.separation import Separation, separation

__all__ = [
    "analyze_training_influence",
    "TrainingInfluence",
    "PromptInfluence",
    "Calibration",
    "Separation",
    "separation",
    "Passage",
    "as_passages",
    "answer_after",
    "PassageTraining",
    "retrain_without",
    "Retraining",
]
