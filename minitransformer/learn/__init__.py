"""Learn: write the textbook's backward passes yourself, and have each line graded. README.md lists the files."""

from minitransformer.learn.grading_client import check, plot, points
from minitransformer.learn.workspace import exercises_in

__all__ = ["check", "plot", "points", "exercises_in"]
