"""Naming a mistake by its numbers: the learner's gradients are those of the textbook with one mistake in it.

The textbook's function is run with a mistake in its backward pass. If that gives the learner's numbers in every
gradient that it changes, on every case, the learner made this mistake, however it was written. The mistakes are those
of gradcheck/mistakes and the learners' own (own.py).

    textbook.py    a textbook function, and its gradients with another statement
    own.py         the learners' own mistakes: wrong code for a statement, and a sentence
    glossary.py    noun phrases for the names of each component
    search.py      which of these mistakes the numbers are those of
"""

from minitransformer.learn.naming.search import named

__all__ = ["named"]
