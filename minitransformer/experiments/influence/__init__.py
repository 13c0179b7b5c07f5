"""Training influence: texts that a model has likely seen, and passages that taught it an answer."""

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
