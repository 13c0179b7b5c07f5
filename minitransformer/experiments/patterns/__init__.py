"""Simple patterns: exercises with known answers, and the attention heads that a model uses for them."""

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
