"""The simple patterns: exercises whose answers are known, and how a model that learns them comes to do it.

In reading order:

    starting_attention.py  where attention begins
    training.py            exercises in the place of a text                      train_on_simple_patterns
    learned.py             what the heads of the trained model do, and prove to  analyze_learned_patterns
    pictures.py            pictures of that
"""

from minitransformer.experiments.patterns.learned import (
    InductionCircuit,
    LearnedPatterns,
    PatternAccuracy,
    analyze_learned_patterns,
    moment_of_induction,
)
from minitransformer.experiments.patterns.training import PatternSettings, train_on_simple_patterns

__all__ = [
    "train_on_simple_patterns",
    "PatternSettings",
    "analyze_learned_patterns",
    "LearnedPatterns",
    "PatternAccuracy",
    "InductionCircuit",
    "moment_of_induction",
]
