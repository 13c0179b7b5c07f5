"""The vocabulary that every model of a family shares: letters, numbers, brackets, and the names of tasks.

A model of a thousand parameters is too small for the thousand ids of text/patterns.py, because at width 4 the embedding
alone would have four thousand parameters. This vocabulary has 64 ids:

    0          PAD, fills a row on the right; never a target
    1          ANSWER, "=": the answer follows
    2 … 6      the task, which is the first token of a row: COPY, REVERSE, INDUCTION, ADD, BRACKETS
    7 … 10     free
    11 … 37    the space and the letters a … z, the characters of the text and the symbols of the tasks
    38 … 57    NUMBERS: 38 + n stands for the number n
    58 … 63    brackets of three kinds: ( [ { and then ) ] }
"""

import numpy as np

PAD, ANSWER, COPY, REVERSE, INDUCTION, ADD, BRACKETS = range(7)
SPACE = 11
LETTERS = np.arange(12, 38)
NUMBERS = np.arange(38, 58)
OPENING, CLOSING = np.arange(58, 61), np.arange(61, 64)
VOCAB_SIZE = 64
CONTEXT = 18  # positions of a text window; the longest task takes 17
