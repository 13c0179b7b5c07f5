"""Learn: the backward passes of the textbook as exercises, cut from its source, and graded line by line.

    minitransformer learn start          a folder with a file an exercise
    minitransformer learn check          what is right, and what is wrong with the rest

or in Python

    from minitransformer.learn import check, plot
    check("layer_norm")
    plot("silu")

To read how, begin with exercises.py, cutting.py (how an exercise is made of the source) and grading.py (how one is
graded: against its own forward pass, in a process of its own).
"""

from minitransformer.learn.checking import check, plot
from minitransformer.learn.workspace import exercises_in

__all__ = ["check", "plot", "exercises_in"]
