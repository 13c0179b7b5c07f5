"""The kinds of mistakes: for each kind, a sentence that quotes no code, and a question that leads a student to it.

A sentence and its kind travel together through reports, so that no reader has to recognize a sentence by its words.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    sentence: str
    question: str


class Explanation(NamedTuple):
    """A sentence on a wrong gradient, with its kind: a key of KINDS, or "" if the mistake is not named."""

    sentence: str = ""
    kind: str = ""
    argument: str = ""  # the name of the argument whose true gradient is given instead, or ""


PATH = "which line reads the value, but has no term in your sum?"
TWICE = "which contribution is counted twice? Follow the gradient from the last line"
NUMBER = "try one number: how far does the output move for a step of 0.001?"
SIGN = "does the output grow or fall when this value grows by a little?"
ENTRIES = "which entries of the output read an entry of this value? Compare shapes"
AXES = "write the axes below each factor: do they come in the order that you need?"
CALLS = "in which order did forward call its functions, and what does each get?"
SLOPE = "of which value is this the slope, and at which value is it taken?"
UPSTREAM = "how much does the loss change with the output, and which name tells that?"
ARRAY = "what is in the array before this line, and what has to remain of it?"
PLACE = "which entries of the array does forward read at this place?"

KINDS = {
    # Sums and signs
    "term dropped": Kind("a term is missing", PATH),
    "term added": Kind("a term is too much", TWICE),
    "path dropped": Kind("a path from the value to the output is missing", PATH),
    "sign flipped": Kind("a sign is wrong", SIGN),
    "sum and difference exchanged": Kind("+ stands in the place of −, or − in the place of +", SIGN),
    "difference reversed": Kind("a difference is taken in the wrong order", SIGN),
    # Products and powers
    "factor dropped": Kind("a factor is missing", NUMBER),
    "factor added": Kind("a factor is too much", TWICE),
    "factor changed": Kind("a factor is wrong", NUMBER),
    "division dropped": Kind("a division is missing", NUMBER),
    "matrix dropped": Kind("a matrix product is missing", "by which matrix does forward multiply this value?"),
    "product and quotient exchanged": Kind("· stands in the place of /, or / in the place of ·", NUMBER),
    "quotient inverted": Kind("a quotient is inverted", NUMBER),
    "power changed": Kind("a power is wrong", NUMBER),
    "constant changed": Kind(
        "a constant is wrong", "which constant does forward have here, and what does the derivative make of it?"
    ),
    "operator exchanged": Kind(
        "one of + − · / stands in the place of another", "do two paths add up here, or does one value scale another?"
    ),
    "brackets misplaced": Kind(
        "brackets are missing or misplaced", "in the equation, which of these operations comes first?"
    ),
    # Axes, sums over entries, matrix products
    "sum dropped": Kind("a sum is missing", ENTRIES),
    "sum and mean exchanged": Kind("a sum stands in the place of a mean, or a mean in the place of a sum", ENTRIES),
    "axis changed": Kind("a sum or mean runs over the wrong axis", ENTRIES),
    "keepdims lost": Kind("an axis is lost that should be kept, and other entries meet", ENTRIES),
    "entries dropped": Kind("some entries are not counted", ENTRIES),
    "transpose lost": Kind("a transpose is missing", AXES),
    "transpose added": Kind("there is a transpose too many", AXES),
    "operands exchanged": Kind("two operands are exchanged", AXES),
    # Names and values
    "name replaced": Kind("one array stands in the place of another", SLOPE),
    "gradient replaced": Kind(
        "the gradient of another value is used",
        "which value does this step return in forward, and what is the name of that value's gradient?",
    ),
    "names exchanged": Kind("two names are exchanged", "which of the two names does the equation have at this place?"),
    "gradients exchanged": Kind(
        "two gradients are exchanged",
        "in which order does forward take its arguments? The gradients are returned in that order",
    ),
    "slope replaced": Kind("another value stands in the place of a slope", SLOPE),
    "slope dropped": Kind("a slope is missing", SLOPE),
    "diagonal alone": Kind(
        "only the diagonal of the Jacobian is there", "which outputs besides its own does an entry of the input reach?"
    ),
    "gradient replaced by zeros": Kind("it is zero", PATH),
    "gradient replaced by dy": Kind("it is the upstream gradient itself", CALLS),
    "dy ignored": Kind("the upstream gradient is taken for ones", UPSTREAM),
    "name overwritten": Kind("a name is overwritten before it is read", ARRAY),
    "accumulation lost": Kind("entries are overwritten where they should be added", ARRAY),
    # Masks, conditions and loops
    "mask forgotten": Kind("a mask is forgotten", "which entries does forward pass on, and what do the others get?"),
    "layout changed": Kind("entries are read in one layout and written in another", PLACE),
    "index dropped": Kind("an array is taken whole where a part of it belongs", PLACE),
    "index shifted": Kind("an entry beside the right one is read", PLACE),
    "condition changed": Kind("a condition is wrong", "for which values does forward take each of its branches?"),
    "range changed": Kind("a loop runs over the wrong range", "over which indices does the loop of forward run?"),
    "order reversed": Kind("an order is reversed", CALLS),
    # Calls and statements
    "backward call dropped": Kind("the backward pass of a layer is skipped", CALLS),
    "call dropped": Kind("a function is not applied", CALLS),
    "call added": Kind("a function is too much", "does forward apply this function here?"),
    "calls added": Kind("two functions are added, not applied one after the other", CALLS),
    "statement dropped": Kind("a statement is missing", "which line of forward has no counterpart in yours?"),
    "exception raised": Kind("it raises an exception", "which shape or value of the line is not what you expect?"),
    "mistake within a call": Kind(
        "a function that the line calls is wrong", "is the function that this line calls right by itself?"
    ),
    "update changed": Kind("the update is wrong", "which symbol of the equation is not in this line?"),
    # The number and the shapes of the returned gradients; the questions contain the data of a Problem
    "no gradients": Kind(
        "nothing is returned",
        "does backward end with return? A call that works in place, such as np.add.at, returns None",
    ),
    "parts of a gradient": Kind(
        "several arrays are returned for one argument",
        "backward returned {given}: how do they become one array of the shape of {names}?",
    ),
    "gradients added": Kind(
        "too many gradients are returned", "backward returned {given}: which of them belongs neither to {neither}?"
    ),
    "gradients dropped": Kind(
        "too few gradients are returned", "backward returned {given}: which of {names} lacks its gradient?"
    ),
    "gradient transposed": Kind(
        "the gradient of a value is transposed",
        "which index comes first in {name}, and which factor of the product has that index?",
    ),
    "gradient not summed": Kind(
        "the gradient of a value is not summed",
        "which entries of y does one entry of {name} reach? Their contributions add",
    ),
    "axis of length 1": Kind(
        "an axis of length 1 is kept or lost",
        "which sum keeps its axis, with length 1, and which of the arguments has such an axis?",
    ),
    # Seen in the numbers alone
    "not finite": Kind("it is not finite", "which division, root or logarithm of the line has no finite value?"),
    "some entries wrong": Kind("it is wrong at some entries only", "what do the wrong entries have in common?"),
    "not linear": Kind("it is not linear in dy", "dy is a factor of each term once: which term has it twice, or not?"),
    "off by little": Kind("it is off by little", "are all digits of each constant the same as in forward?"),
}
