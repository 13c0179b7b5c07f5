"""Learn: the backward passes of the textbook as exercises, cut from its source, and graded line by line.

    minitransformer learn start          a folder with a file an exercise
    minitransformer learn check          what is right, and what is wrong with the rest

or in Python

    from minitransformer.learn import check, plot
    check("layer_norm")
    plot("silu")

In reading order:

    exercises.py    which there are, and what they are graded on
    cutting.py      an exercise, cut from the source
    workspace.py    the learner's folder
    refusing.py     the function and what it calls, examined before anything runs
    loading.py      a learner's file, run as a module
    answers.py      does it call the package's own function?
    looking.py      are its gradients right?
    attempt.py      its function, on each case
    failing.py      what is said where it is wrong, and where that comes from:
    equations.py    the lines, and
    naming/         mistakes whose numbers are the learner's
    updates.py      a step of the optimiser, which has no backward pass
    grading.py      all of this, in a process of its own (bounded.py), and
    checking.py     who asks it, for a
    verdict.py      which is what a learner reads
    hints.py        the place, the paths, the equation
    reading.py      files that others wrote, read without risk
    notebooks.py    the source of an exercise in a notebook
    submitted.py    the files of a student's submission
    collecting.py   the submissions of a class, graded side by side
    marks.py        their marks: tables, other graders' formats, feedback
    watching.py, running.py, own.py, pictures.py    the other verbs of `minitransformer learn`
"""

from minitransformer.learn.checking import check, plot
from minitransformer.learn.workspace import exercises_in

__all__ = ["check", "plot", "exercises_in"]
