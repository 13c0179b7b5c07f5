"""Find the mistake in a learner's backward pass from the wrong gradients alone.

The textbook's function is run in float64 with one mistake from vocabulary.py in its backward pass. If every gradient
that the mistake changes then equals the learner's gradient on every case, the learner made this mistake, however the
code is written. Single edits of a line are found by gradcheck.steps.
"""

import ast
import copy
import functools
import inspect
import math
import re
import textwrap
from collections import namedtuple

import numpy as np

from gradcheck import clear_gradients, parameters_of
from gradcheck.mistakes import exchanged
from minitransformer.learn.vocabulary import INSTEAD, OWN
from minitransformer.module import plain

DIGITS = {8: 1e-9, 4: 1e-5}  # tolerance relative to the largest entry, by the size of an entry in bytes
NOISE = 1e-2  # a gradient that should be 0 may deviate by NOISE · tolerance · (largest entry of all gradients)
FAILURES = (ValueError, TypeError, IndexError, ArithmeticError, KeyError, AttributeError, NameError)


Guess = namedtuple("Guess", "sentence code")  # a sentence that names the place, and the code with the mistake


def named(exercise, draws) -> list[str]:
    """Return sentences on the mistakes that explain a wrong gradient, the best first.

    `draws` contains one Draw per case.
    """
    first, *others = draws
    found = []
    for guess in guesses(first.source, exercise.name) if first.bad else ():
        explained = first.explained(guess)
        if explained and all(explained & other.bad <= (other.explained(guess) or set()) for other in others):
            found.append((len(explained), guess.sentence))
    found.sort(key=lambda pair: -pair[0])
    best = [sentence.partition(": ") for sentence in dict.fromkeys(s for n, s in found if n == found[0][0])]
    if len(best) == 2 and best[0][0] == best[1][0]:  # the numbers do not distinguish the two
        return ["".join((*best[0], ", or ", best[1][2]))]
    return list(dict.fromkeys(sentence for _, sentence in found))


class Draw:
    """The textbook's gradients of one case, and the learner's.

    `call` calls the textbook's function, and `wrong` is {name: the learner's gradient}. The attribute `truth` is {name:
    the textbook's gradient}, and `bad` contains the names of the learner's gradients that differ from it.
    """

    def __init__(self, reference, call, wrong, dy):
        self.reference, self.call, self.dy, self.given = reference, call, np.asarray(dy, np.float64), wrong
        self.source = source_of(getattr(reference, "forward", reference))
        self.truth = self.run(self.source.code)
        self.given = {name: np.asarray(wrong[name]) for name in self.truth if name in wrong}
        self.largest = max((np.max(np.abs(value), initial=0.0) for value in self.truth.values()), default=0.0)
        self.bad = {name for name, given in self.given.items() if tolerance(given) and not self.is_near(name)}

    def run(self, code) -> dict:
        names = {**self.source.function.__globals__, "np": np, "math": math}
        exec(code, names)
        function = names[self.source.function.__name__]
        if isinstance(self.reference, type):
            self.call.target.__class__ = type(self.reference.__name__, (self.reference,), {"forward": function})
        else:
            self.call.target = function
        with plain(), np.errstate(all="ignore"):
            return gradients_of(self.call.on(self.call.inputs, copy.deepcopy(self.call.options)), self.dy)

    def explained(self, guess):
        """Return the names of the gradients that the mistake of a Guess changes.

        Returns None if one of these gradients differs from the learner's, or if the code raises an exception.
        """
        try:
            gradients = self.run(guess.code)
        except FAILURES:  # the mistake cannot be made with these inputs
            return None
        floor = NOISE * DIGITS[8] * self.largest
        changed = {name for name, g in gradients.items() if not near(g, self.truth[name], DIGITS[8], floor)}
        return changed if all(self.is_near(name, gradients[name]) for name in changed & self.given.keys()) else None

    def is_near(self, name, value=None):
        """Return True if the learner's gradient equals a value (default: the right one)."""
        digits = tolerance(self.given[name])
        value = self.truth[name] if value is None else value
        return near(self.given[name], value, digits, NOISE * digits * self.largest)


def gradients_of(call, dy) -> dict:
    """Run a Call, and return {name: gradient} for its arrays and parameters."""
    parameters = parameters_of(call.target)
    clear_gradients(call.target)
    *_, backward = call.evaluate()
    gradients = backward(dy)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    arrays = [isinstance(value, np.ndarray) and value.dtype.kind == "f" for value in call.inputs]
    labels = [f"d{name}" for name, is_float in zip(call.input_names(), arrays, strict=True) if is_float]
    found = dict(zip(labels, map(np.asarray, gradients))) | {name: p.grad for name, p in parameters.items()}  # noqa: B905
    return {name: value for name, value in found.items() if value is not None and np.isfinite(value).all()}


def guesses(source, exercise: str):
    """Yield a Guess for each typical mistake, those specific to the exercise first."""
    right = {name: ast.unparse(value) for name, value in source.values.items()}
    for name, mistakes in OWN.get(exercise, {}).items():
        for wrong, sentence in mistakes.items():
            yield source.guess(name, re.sub(r"\bV\b", lambda _, name=name: f"({right[name]})", wrong), sentence)
    for name in (name for name in right if "," not in name):
        for (pattern, wrong), sentence in INSTEAD.items():
            code = re.sub(pattern, wrong, right[name])
            if code != right[name]:
                yield source.guess(name, code, sentence)


def tolerance(array):
    """Return the relative tolerance for a float32 or float64 array, else 0."""
    return DIGITS.get(array.dtype.itemsize, 0.0) if array.dtype.kind == "f" else 0.0


def near(a, b, digits, floor):
    """Compare a with b up to `digits` times the largest entry of b, or up to `floor`.

    The arrays must have the same shape and finite entries at the same places.
    """
    finite = np.isfinite(b)
    if a.shape != np.shape(b) or not np.array_equal(np.isfinite(a), finite):
        return False
    size = np.max(np.abs(b), initial=0.0, where=finite)
    return bool(np.max(np.abs(a - b), initial=0.0, where=finite) <= max(digits * size, floor))


@functools.cache
def compiled(text):
    return compile(text, "<a mistake>", "exec")


class Source:
    """The source of a function.

    `values` maps names to code of the backward pass. The value of an assignment has the name of its target, a returned
    call is "return", any other call, such as np.add.at, has the name of its first argument, and the iterable of a loop
    is "for".
    """

    def __init__(self, function):
        self.function, text = function, textwrap.dedent(inspect.getsource(function))
        self.lines, self.tree, self.values = text.splitlines(), ast.parse(text), {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
                del node.body[0]  # the docstring, which would be written and compiled again for each guess
        self.code = compiled(ast.unparse(self.tree))
        for node in ast.walk(next(node for node in ast.walk(self.tree) if getattr(node, "name", "") == "backward")):
            if isinstance(node, ast.Assign):
                self.values[ast.unparse(node.targets[0]).strip("()")] = node.value
            elif isinstance(node, ast.For):
                self.values["for"] = node.iter
            elif isinstance(node, (ast.Return, ast.Expr)) and isinstance(node.value, ast.Call):
                name = "return" if isinstance(node, ast.Return) else ast.unparse(node.value.args[0])
                self.values[name] = node.value

    def guess(self, name, wrong: str, sentence):
        """Return the Guess in which `wrong` replaces the value `name`.

        The sentence gets a prefix that names the place: `(7) dx: ` or, for a line without a number, `dx: `.
        """
        node = self.values[name]
        tree = exchanged(self.tree, node, ast.parse(wrong, mode="eval").body)
        found = re.search(r"# (\(\d+\))", self.lines[node.end_lineno - 1])
        place = f"{found[1]} {name}: " if found else "" if name in ("return", "for") else f"{name}: "
        return Guess(place + sentence, compiled(ast.unparse(tree)))


source_of = functools.cache(Source)
