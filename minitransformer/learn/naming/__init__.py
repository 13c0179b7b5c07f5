"""Explain wrong gradients by running the textbook's code with planted mistakes.

The textbook's function is run with one mistake in its backward pass. If the result equals the learner's numbers in
every gradient that the mistake changes, on every case, the learner made this mistake, even if the code looks different.
The mistakes are those of gradcheck/mistakes and typical mistakes of learners (own.py).

    textbook.py    a textbook function, and its gradients when a statement is replaced
    own.py         typical mistakes of learners: the wrong code for a statement, and a sentence
    glossary.py    noun phrases for the names of each component
    search.py      the search for the mistakes that explain the numbers
"""

from minitransformer.learn.naming.search import named

__all__ = ["named"]
