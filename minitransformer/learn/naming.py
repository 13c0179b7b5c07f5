"""Find the mistake that produces a learner's wrong gradient, from the numbers alone.

The textbook's function is run in float64 with one mistake in its backward pass. If the result equals the learner's
numbers in every gradient that the mistake changes, on every case, the learner made this mistake, however it was
written. The mistakes are the typical ones of vocabulary.py. Single edits of a line are found by gradcheck.steps.
"""

import ast
import copy
import functools
import inspect
import math
import re
import textwrap
from dataclasses import dataclass
from types import CodeType

import numpy as np

from gradcheck import to_float64
from gradcheck.mistakes import exchanged
from minitransformer.learn.vocabulary import ANY, INSTEAD, OWN
from minitransformer.module import plain

DIGITS = {8: 1e-9, 4: 1e-5}  # tolerance relative to the largest entry, by the size of an entry in bytes
# A gradient that should be 0 contains rounding errors. The tolerance is at least NOISE times the one for the largest
# entry of all gradients.
NOISE = 1e-2
ADDED = {"np": np, "math": math}  # names that a mistake may use, whatever the file imports


@dataclass(frozen=True)
class Guess:
    """A possible mistake.

    place       place of the mistake as a prefix, such as `(7) dx: `
    sentence    description of the mistake
    code        code of the function with the mistake
    """

    place: str
    sentence: str
    code: CodeType


def named(exercise, draws) -> list[str]:
    """Return sentences on the mistakes that explain a wrong gradient, the best first.

    `draws` is an iterable of (arguments, wrong, dy), one for each case. `arguments` maps names to inputs and options;
    for a composition, "self" is its module. `wrong` maps names such as "dx" to the gradients that backward returned,
    and the dotted names of a module's parameters to their gradients. `dy` is the upstream gradient.

    A mistake is named if it explains gradients of the first draw and agrees with all other draws. If exactly two
    mistakes are the best explanation, and have the same place, one sentence names both.
    """
    first, *others = (Search.on(exercise, *draw) for draw in draws)
    if first is None:
        return []
    others, found = [other for other in others if other is not None], []
    for guess in guesses(first.textbook.source, exercise.name) if first.bad else ():
        explained = first.explained(guess)
        if explained and all(other.agrees(guess, explained) for other in others):
            found.append((len(explained), guess))
    found.sort(key=lambda pair: -pair[0])
    most = [guess for n, guess in found if n == found[0][0]]
    if len(most) == 2 and most[0].place == most[1].place:
        return [f"{most[0].place}{most[0].sentence}, or {most[1].sentence}"]
    return list(dict.fromkeys(guess.place + guess.sentence for _, guess in found))


class Search:
    """The gradients of one draw.

    textbook    the function with the arguments of the draw
    truth       {name: right gradient}
    given       {name: the learner's gradient}
    bad         names of the learner's wrong gradients
    largest     largest entry of the right gradients
    """

    def __init__(self, textbook, wrong):
        self.textbook, self.truth = textbook, textbook.truth
        self.given = {name: np.asarray(wrong[name]) for name in self.truth if name in wrong}
        self.largest = max((np.max(np.abs(value), initial=0.0) for value in self.truth.values()), default=0.0)
        self.bad = {name for name in self.given if self._is_wrong(name)}

    @classmethod
    def on(cls, exercise, arguments, wrong, dy):
        try:
            return cls(Textbook(exercise, arguments, dy), wrong)
        except (TypeError, OSError, DoesNotFitError):
            return None

    def explained(self, guess):
        """Return the names of the gradients that a Guess explains.

        Returns None if the mistake cannot be made, or if one of the gradients that it changes differs from the
        learner's.
        """
        try:
            gradients = self.textbook.run(guess.code)
        except DoesNotFitError:
            return None
        floor = NOISE * DIGITS[8] * self.largest
        if any(gradients[name].shape != self.truth[name].shape for name in gradients):
            return None
        changed = {n for n, g in gradients.items() if not equal(g, self.truth[n], DIGITS[8], floor)}
        return changed if all(self._same(name, gradients[name]) for name in changed & self.given.keys()) else None

    def agrees(self, guess, names):
        """Return True if a Guess that explains another draw also explains this draw.

        `names` are the gradients that it explains in the other draw. It must explain those of them that are wrong here.
        """
        explained = self.explained(guess)
        return explained is not None and names & self.bad <= explained

    def _is_wrong(self, name):
        given, truth = self.given[name], self.truth[name]
        return given.shape == truth.shape and given.size and digits_of(given) and not self._same(name, truth)

    def _same(self, name, value):
        digits = digits_of(self.given[name])
        return equal(self.given[name], value, digits, NOISE * digits * self.largest)


def guesses(source, exercise: str):
    """Yield a Guess for each typical mistake, beginning with those of the exercise."""
    right = {name: ast.unparse(statement.value) for name, statement in source.statements.items()}

    def guess(name, wrong, sentence):
        code = re.sub(r"\bV\b", lambda _: f"({right[name]})", wrong)
        return Guess(source.place_of(name), sentence, source.with_value(name, code))

    for name, mistakes in OWN.get(exercise, {}).items():
        for wrong, sentence in mistakes.items():
            yield guess(name, wrong, sentence)
    for name in [name for name in right if name.startswith("d") and "," not in name]:
        for wrong, sentence in ANY.items():
            yield guess(name, wrong.format(dy=source.dy), sentence)
        read = {n.id for n in ast.walk(source.statements[name].value) if isinstance(n, ast.Name)}
        for (names, wrong), sentence in INSTEAD.items():
            if read & set(names):
                pattern = rf"(?<![\w.])({'|'.join(read & set(names))})(?!\w)"
                yield guess(name, re.sub(pattern, lambda m, w=wrong: f"({w.format(m[1])})", right[name]), sentence)


def digits_of(array):
    """Return the relative tolerance for a float32 or float64 array, else 0."""
    return DIGITS.get(array.dtype.itemsize, 0.0) if array.dtype.kind == "f" else 0.0


def equal(a, b, digits, floor=0.0):
    """Return True if two arrays are equal up to a tolerance.

    They must have the same shape and finite entries at the same places. `digits` is the tolerance relative to the
    largest entry of `b`, and `floor` the smallest absolute tolerance.
    """
    finite = np.isfinite(b)
    if a.shape != np.shape(b) or not np.array_equal(np.isfinite(a), finite):
        return False
    size = np.max(np.abs(b), initial=0.0, where=finite)
    return bool(np.max(np.abs(a - b), initial=0.0, where=finite) <= max(digits * size, floor))


class DoesNotFitError(Exception):
    """A mistake cannot be made with these inputs, because shapes do not match or a name is missing."""


class Textbook:
    """The function of an exercise, or the forward of its class, with the arguments of one run.

    `truth` maps names to the right gradients. `arguments` maps names to inputs and options; for a composition, "self"
    is its module. Raises TypeError if the function does not take the arguments.
    """

    def __init__(self, exercise, arguments, dy):
        arguments, reference = {name: in_float64(value) for name, value in arguments.items()}, exercise.reference
        self.dy = np.asarray(in_float64(dy))
        if isinstance(reference, type):  # a learner's class has its own forward and backward
            arguments["self"].__class__ = reference
        self.source = source_of(reference.forward if isinstance(reference, type) else reference)
        self.function = self.source.function
        signature = inspect.signature(self.function)
        has_more = any(p.kind == p.VAR_POSITIONAL for p in signature.parameters.values())  # `*steps` of residual
        self.bound = signature.bind(*arguments.values()) if has_more else signature.bind(**arguments)
        self.bound.apply_defaults()
        self.truth = self.run(self.source.code)

    def run(self, code):
        names = {**self.function.__globals__, **ADDED}
        exec(code, names)
        try:
            with plain(), np.errstate(all="ignore"):
                return self._gradients(names[self.function.__name__])
        except (ValueError, TypeError, IndexError, ArithmeticError, KeyError, AttributeError, NameError) as error:
            raise DoesNotFitError(str(error)) from error

    def _gradients(self, function):
        module = self.bound.arguments.get("self")
        parameters = dict(module.named_parameters()) if module is not None else {}
        for parameter in parameters.values():
            parameter.grad = None
        arguments = {name: copy.deepcopy(x) if name == "rng" else x for name, x in self.bound.arguments.items()}
        bound = inspect.BoundArguments(self.bound.signature, arguments)
        given = function(*bound.args, **bound.kwargs)[1](self.dy)
        given = given if isinstance(given, tuple) else (given,)
        names = [
            f"d{p.name}"
            for p in self.bound.signature.parameters.values()
            if p.kind != p.KEYWORD_ONLY and getattr(arguments.get(p.name), "dtype", None) == np.float64
        ]
        gradients = dict(zip(names, map(np.asarray, given), strict=True))
        return gradients | {name: p.grad for name, p in parameters.items() if p.grad is not None}


def in_float64(value):
    if hasattr(value, "named_parameters"):
        value = copy.deepcopy(value)
        to_float64(value)
    elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
        value = value.astype(np.float64)
    return value


@functools.cache
def compiled(text):
    return compile(text, "<a mistake>", "exec")


class Source:
    """The source of a function.

    `statements` maps names to the statements of its backward pass. The name is that of the assigned variable, "return"
    for a returned call, and the first argument for another call, such as np.add.at. `dy` is the name of the upstream
    gradient.
    """

    def __init__(self, function):
        self.function, self.text = function, textwrap.dedent(inspect.getsource(function))
        self.tree, self.statements = ast.parse(self.text), {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
                del node.body[0]  # the docstring, which would be written and compiled again for each guess
        self.code = compiled(ast.unparse(self.tree))
        self.dy = re.search(r"def backward\((\w*)|$", self.text)[1] or "dy"
        backwards = [n for n in ast.walk(self.tree) if isinstance(n, ast.FunctionDef) and n.name == "backward"]
        for statement in ast.walk(backwards[0]) if backwards else ():
            if isinstance(statement, ast.Assign):
                self.statements[ast.unparse(statement.targets[0]).strip("()")] = statement
            elif isinstance(statement, ast.Return) and isinstance(statement.value, ast.Call):
                self.statements["return"] = statement
            elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                self.statements[ast.unparse(statement.value.args[0])] = statement  # np.add.at(dweight, ids, dy)

    def with_value(self, name, code):
        tree = exchanged(self.tree, self.statements[name].value, ast.parse(code, mode="eval").body)
        return compiled(ast.unparse(tree))

    def place_of(self, name):
        """Return a prefix that says where a statement is.

        It is `(7) dx: `, or `dx: ` for a statement without a number, or "" for a return statement without a number.
        """
        found = re.search(r"# (\(\d+\))", self.text.splitlines()[self.statements[name].end_lineno - 1])
        return f"{found[1]} {name}: " if found else "" if name == "return" else f"{name}: "


source_of = functools.cache(Source)
