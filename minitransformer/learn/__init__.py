"""Learn: write the textbook's backward passes yourself, and have each line graded.

    minitransformer learn start          write a folder with one file for each exercise
    minitransformer learn check          grade every line of the exercises

or in Python

    from minitransformer.learn import check, plot
    check("layer_norm")
    plot("silu")

In reading order:

    exercises.py    the list of exercises and the cases they are graded on
    cutting.py      cuts an exercise from the source
    workspace.py    writes the learner's folder
    refusing.py     examines the source of an exercise before it runs
    loading.py      runs a learner's file as a module
    answers.py      detects calls of the package's own function
    looking.py      compares the gradients of one call with the true ones
    attempt.py      tests the learner's function on each case
    failing.py      describes the mistake in a failing case, with
    equations.py    a verdict on each line, and
    naming/         the names of known mistakes, found by their numbers
    updates.py      grades a step of the optimiser, which has no backward pass
    grading.py      grades a file, in a separate process (bounded.py)
    checking.py     sends requests to that process
    verdict.py      the result, as a learner reads it
    hints.py        hints: the place, the paths, the equation
    reading.py      reads untrusted files safely
    notebooks.py    extracts an exercise from a notebook
    submitted.py    finds the files of a student's submission
    collecting.py   grades the submissions of a class in parallel
    marks.py        writes the marks: tables, other graders' formats, feedback
    watching.py, running.py, own.py, pictures.py    the other verbs of `minitransformer learn`
"""

from minitransformer.learn.checking import check, plot
from minitransformer.learn.workspace import exercises_in

__all__ = ["check", "plot", "exercises_in"]
