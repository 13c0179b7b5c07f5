"""A catalogue of known wrong answers: what a wrong gradient was made of, found by its numbers and said in words.

A learner's gradient is an array. What it should have been is known, and what comes of each usual mistake can be worked
out: the path through the mean forgotten, a mean for a sum, the gain outside. If one of them gives the learner's numbers
at every entry, to nine digits, that is what was done, however it was written.

**To add a mistake**, add a line to the table of its component:

    LAYER_NORM = {
        "dx": {
            "the path through the mean is missing": lambda r, dx_hat, x_hat, scale: r * (dx_hat - x_hat * scale),

It says which statement of the textbook's function is wrong (its name there), how (words that complete
`(7) dx: …`, without the right formula), and what the statement then gives. The arguments of the rule are names of the
textbook's function: its arguments, and what its statements assign, forward and backward, `dy` among them. What follows
from the statement, in other gradients too, is worked out by the textbook itself.

What no line knows is tried in turn as the right answer with a usual change (a sign, a factor, two exchanged), as a
mutant of the textbook's backward (the mistakes of gradcheck/audit, made one at a time), as two lines at once, and as a
product of what the function has at hand.
"""

from minitransformer.learn.catalogue.naming import listed, named

__all__ = ["listed", "named"]
