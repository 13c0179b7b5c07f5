"""The kinds of mistakes.

Each kind has a sentence that quotes no code, and a question that leads a student to the mistake. A sentence and its
kind are passed on together, so that no other code has to recognize a sentence by its words.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    sentence: str
    question: str


class Explanation(NamedTuple):
    """A sentence about a wrong gradient, and the kind of mistake (a key of KINDS)."""

    sentence: str = ""
    kind: str = ""
    argument: str = ""  # the name of the argument whose true gradient is given instead, or ""


QUESTIONS = {  # of several kinds
    "PATH": "which line reads the value, but has no term in your sum?",
    "TWICE": "which term is no path from the value to the output, or is counted twice?",
    "FACTOR": "does forward multiply or divide by this number or array, and how often?",
    "NUMBER": "try one number: how far does the output move for a step of 0.001?",
    "SIGN": "does the output grow or fall when the value whose gradient this is grows by a little?",
    "ENTRIES": "which entries of the output read an entry of this value, and with which weight?",
    "AXES": "write the axes below each factor: do they come in the order that you need?",
    "CALLS": "in which order did forward call its functions, and what does each get?",
    "SLOPE": "of which value is this the slope, and at which value is it taken?",
    "UPSTREAM": "how much does the loss change with the output, and which name tells that?",
    "ARRAY": "what is in the array before this line, and what has to remain of it?",
    "PLACE": "which entries of the array does forward read at this place?",
}

# kind | sentence | question
TABLE = """
# Sums and signs
term dropped | a term is missing | PATH
term added | a term is too much | TWICE
path dropped | a path from the value to the output is missing | PATH
sign flipped | a sign is wrong | SIGN
sum and difference exchanged | + stands in the place of −, or − in the place of + | SIGN
difference reversed | a difference is taken in the wrong order | SIGN
# Products and powers
factor dropped | a factor is missing | NUMBER
factor added | a factor is too much | FACTOR
factor changed | a factor is wrong | NUMBER
division dropped | a division is missing | NUMBER
matrix dropped | a matrix product is missing | by which matrix does forward multiply this value?
product and quotient exchanged | · stands in the place of /, or / in the place of · | NUMBER
quotient inverted | a quotient is inverted | NUMBER
power changed | a power is wrong | NUMBER
constant changed | a constant is wrong |
    which constant does forward have here, and what does the derivative make of it?
operator exchanged | one of + − · / stands in the place of another |
    do two paths add up here, or does one value scale another?
brackets misplaced | brackets are missing or misplaced | in the equation, which of these operations comes first?
# Axes, sums over entries, matrix products
sum dropped | a sum is missing | ENTRIES
sum and mean exchanged | a sum stands in the place of a mean, or a mean in the place of a sum | ENTRIES
axis changed | a sum or mean runs over the wrong axis | ENTRIES
keepdims lost | an axis is lost that should be kept, and other entries meet | ENTRIES
entries dropped | some entries are not counted | ENTRIES
transpose lost | a transpose is missing | AXES
transpose added | there is a transpose too many | AXES
operands exchanged | two operands are exchanged | AXES
# Names and values
name replaced | one array stands in the place of another |
    which value belongs at this place, by the line of forward that this line mirrors?
gradient replaced | the gradient of another value is used |
    which value belongs at this place: a value of forward, or the gradient of one, and of which one?
names exchanged | two names are exchanged | which of the two names does the equation have at this place?
gradients exchanged | two gradients are exchanged |
    which gradient is whose, and in which order does forward take its arguments? The gradients have this order
slope replaced | another value stands in the place of a slope | SLOPE
slope dropped | a slope is missing | SLOPE
diagonal alone | only the diagonal of the Jacobian is there |
    which outputs besides its own does an entry of the input reach?
gradient replaced by zeros | it is zero |
    for which entries is the gradient not zero, and which of them does your line keep?
gradient replaced by dy | it is the upstream gradient itself | CALLS
dy ignored | the upstream gradient is taken for ones | UPSTREAM
name overwritten | a name is overwritten before it is read | ARRAY
accumulation lost | entries are overwritten where they should be added | ARRAY
# Masks, conditions and loops
mask forgotten | a mask is forgotten | which entries does forward pass on, and what do the others get?
layout changed | entries are read in one layout and written in another | PLACE
index dropped | an array is taken whole where a part of it belongs | PLACE
index shifted | an entry beside the right one is read | PLACE
condition changed | a condition is wrong | for which values does forward take each of its branches?
range changed | a loop runs over the wrong range | over which indices does the loop of forward run?
order reversed | an order is reversed | CALLS
# Calls and statements
backward call dropped | the backward pass of a layer is skipped | CALLS
call dropped | a function is not applied | CALLS
call added | a function is too much | does forward apply this function here?
calls added | two functions are added, not applied one after the other | CALLS
statement dropped | a statement is missing | which line of forward has no counterpart in yours?
exception raised | it raises an exception | which shape or value of the line is not what you expect?
mistake within a call | a function that the line calls is wrong |
    is the function that this line calls right by itself?
update changed | the update is wrong | which symbol of the equation is not in this line?
# The number and the shapes of the returned gradients; the questions contain the data of a Problem
no gradients | nothing is returned |
    does backward end with return? A call that works in place, such as np.add.at, returns None
parts of a gradient | several arrays are returned for one argument |
    backward returned {given}: how do they become one array of the shape of {names}?
gradients added | too many gradients are returned |
    backward returned {given}: which of them belongs neither to {neither}?
gradients dropped | too few gradients are returned | backward returned {given}: which of {names} lacks its gradient?
not returned | its value is right, but it is not returned in its place |
    does backward end with return, and are its gradients in the order of forward's arguments?
not an array | a list stands in the place of an array |
    does this line need a list? If so, which function of NumPy makes an array of it?
gradient transposed | the gradient of a value is transposed |
    which index comes first in {name}, and which factor of the product has that index?
gradient not summed | the gradient of a value is not summed |
    which entries of y does one entry of {name} reach? Their contributions add
axis of length 1 | an axis of length 1 is kept or lost |
    which sum keeps its axis, with length 1, and which of the arguments has such an axis?
# Seen in the numbers alone
not finite | it is not finite | which division, root or logarithm of the line has no finite value?
some entries wrong | it is wrong at some entries only | what do the wrong entries have in common?
not linear | it is not linear in dy | dy is a factor of each term once: which term has it twice, or not?
off by little | it is off by little | are all digits of each constant the same as in forward?
"""


def _kinds(table):
    rows = [line.split(" | ") for line in table.replace(" |\n    ", " | ").strip().split("\n") if line[0] != "#"]
    return {name: Kind(sentence, QUESTIONS.get(question, question)) for name, sentence, question in rows}


KINDS = _kinds(TABLE)
