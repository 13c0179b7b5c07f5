"""Find the mistakes that explain a learner's wrong gradients."""

import functools
import inspect
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradcheck.audit import mutate
from gradcheck.mistakes import KINDS
from minitransformer.learn.naming.own import ANY, INSTEAD, OWN
from minitransformer.learn.naming.textbook import (
    INSIDE,
    DoesNotFitError,
    Textbook,
    compiled,
    name_of_dy,
    place_of,
    renamed,
    source_of,
    statements,
    with_statement,
)

DIGITS = {8: 1e-9, 4: 1e-5}  # tolerance relative to the largest entry, by the size of an entry in bytes
# A gradient that should be 0 contains rounding errors. The tolerance is at least NOISE times the one for the largest
# entry of all gradients.
NOISE = 1e-2


@dataclass(frozen=True)
class Guess:
    """A possible mistake.

    `place` is a prefix such as `(7) dx: `, and `sentence(student)` returns a sentence on the mistake. `code` is the
    code of the textbook's function with the mistake. If `inner` is given, `code` is that of the function `inner`, which
    the textbook's function calls.
    """

    place: str
    sentence: object  # a function of the Student
    code: object
    inner: str | None = None


def named(component, draws, student, *, planted):
    """Return sentences on the mistakes that explain a wrong gradient, with the best explanation first.

    `draws` is an iterable of (arguments, wrong, dy), one for each case. `arguments` maps names to inputs and options;
    for a composition, "self" is its module. `wrong` maps names such as "dx" to the gradients that backward returned,
    and the dotted names of a module's parameters to their gradients. `dy` is the upstream gradient.

    A mistake is named if it explains gradients of the first draw and agrees with all other draws. With `planted`, the
    mistakes are those of gradcheck's table, planted in the textbook's backward pass. Otherwise they are typical
    mistakes of learners. If exactly two of these are the best explanation, and have the same place, one sentence names
    both.
    """
    first, *others = (Search.on(component, *draw) for draw in draws)
    if first is None:
        return []
    others = [other for other in others if other is not None]
    guesses = (made if planted else own)(first.textbook.function, first.textbook.component)
    found = []
    for guess in guesses if first.bad else ():
        explained = first.explained(guess)
        if explained and all(other.agrees(guess, explained) for other in others):
            found.append((len(explained), guess))
    found.sort(key=lambda pair: -pair[0])
    most = [guess for n, guess in found if n == found[0][0]]
    if not planted and len(most) == 2 and most[0].place == most[1].place:
        return [f"{most[0].place}{most[0].sentence(student)}, or {most[1].sentence(student)}"]
    return list(dict.fromkeys(guess.place + guess.sentence(student) for _, guess in found))


class Search:
    """The learner's gradients of one draw, and the right ones. `bad` are the names of the wrong gradients."""

    def __init__(self, textbook, wrong):
        self.textbook, self.truth = textbook, textbook.truth
        self.given = {name: np.asarray(wrong[name]) for name in self.truth if name in wrong}
        self.largest = max((np.max(np.abs(value), initial=0.0) for value in self.truth.values()), default=0.0)
        self.bad = {name for name in self.given if self._is_wrong(name)}

    @classmethod
    def on(cls, component, arguments, wrong, dy):
        """Return the Search of a draw, or None if the textbook's function has no source or cannot be run on it."""
        try:
            return cls(Textbook(component, arguments, dy), wrong)
        except (KeyError, TypeError, OSError, DoesNotFitError):
            return None

    def explained(self, guess):
        """Return the names of the gradients that a Guess explains.

        Returns None if the Guess cannot be run, or if it gives another value than the learner's for a gradient that it
        changes.
        """
        try:
            gradients = self.textbook.run(guess.code, guess.inner)
        except DoesNotFitError:
            return None
        floor = NOISE * DIGITS[8] * self.largest
        if any(gradients[name].shape != self.truth[name].shape for name in gradients):
            return None
        changed = {n for n, g in gradients.items() if not equal(g, self.truth[n], DIGITS[8], floor)}
        return changed if all(self._same(name, gradients[name]) for name in changed & self.given.keys()) else None

    def agrees(self, guess, names):
        """Return True if a Guess explains the wrong gradients of this draw that are in `names`.

        `names` are the gradients that it explains in another draw.
        """
        explained = self.explained(guess)
        return explained is not None and names & self.bad <= explained

    def _is_wrong(self, name):
        given, truth = self.given[name], self.truth[name]
        return given.shape == truth.shape and given.size > 1 and digits_of(given) and not self._same(name, truth)

    def _same(self, name, value):
        digits = digits_of(self.given[name])
        return equal(self.given[name], value, digits, NOISE * digits * self.largest)


def own(function, component):
    """Yield a Guess for each typical mistake of learners, beginning with those of the component."""
    for name, mistakes in OWN.get(component, {}).items():
        for wrong, sentence in mistakes.items() if name in statements(function) else ():
            yield Guess(place_of(function, name), lambda _, s=sentence: s, with_statement(function, name, wrong))
    dy = name_of_dy(function)
    for name in [name for name in statements(function) if name.startswith("d") and "," not in name]:
        for wrong, sentence in ANY.items():
            code = with_statement(function, name, wrong.format(dy=dy))
            yield Guess(place_of(function, name), lambda _, s=sentence: s, code)
        for (names, wrong), sentence in INSTEAD.items():
            try:
                code = renamed(function, name, names, wrong)
            except DoesNotFitError:
                continue
            yield Guess(place_of(function, name), lambda _, s=sentence: s, code)


def made(function, component):
    """Yield a Guess for each mistake of gradcheck's table.

    The mistakes are planted in the backward pass of the function, and in that of a function that it calls.
    """
    for place, mutant, code in compiled_mutants(function):
        yield Guess(place, functools.partial(in_words, mutant), code)
    inner = INSIDE.get(function)
    for place, mutant, code in compiled_mutants(inner) if inner is not None else ():
        yield Guess(f"{inner.__name__}'s {place}", functools.partial(in_words, mutant), code, inner.__name__)


@functools.cache
def compiled_mutants(function):
    """Return [(place, Mutant, code), …] for the mutants of a function's backward pass.

    If the function has no backward pass, the mutants are those of the whole function.
    """
    text, first = source_of(function)
    backward = f"{function.__qualname__}.<locals>.backward"
    pattern = backward if "def backward" in text else function.__qualname__
    length, found = text.count("\n"), []
    for mutant in mutate(Path(inspect.getsourcefile(function)), (pattern,)):
        lines = mutant.mutated_source.splitlines(keepends=True)[first - 1 : first - 1 + length]
        found.append((place_in(mutant), mutant, compiled(textwrap.dedent("".join(lines)))))
    return found


def place_in(mutant):
    """Return a prefix that names the statement of a mutant: its equation number and variable, as in `(7) dx: `.

    For a statement without a number, the next number is given, as in `shift, on the way to (7): `. The prefix is "" if
    the statement is not an assignment.
    """
    lines = mutant.source.splitlines()
    statement = re.match(r" *([\w, ]+?) = ", lines[mutant.lines[0] - 1])
    if statement is None:
        return ""
    number = re.search(r"# (\(\d+\))", lines[mutant.lines[1] - 1])
    if number:
        return f"{number[1]} {statement[1]}: "
    later = re.search(r"# (\(\d+\))", "\n".join(lines[mutant.lines[0] :]))
    return f"{statement[1]}, on the way to {later[1]}: " if later else f"{statement[1]}: "


def in_words(mutant, student):
    """Return the sentence on a mutant for a Student.

    If that sentence would quote code that the Student does not have, return the kind of the mistake.
    """
    return mutant.edit.sentence(student, mutant.is_whole) or KINDS[mutant.kind]


def digits_of(array):
    """Return the relative tolerance for a learner's array, or 0 if it is neither float32 nor float64."""
    return DIGITS.get(array.dtype.itemsize, 0.0) if array.dtype.kind == "f" else 0.0


def equal(a, b, digits, floor=0.0):
    """Return True if two arrays have the same shape, finite entries at the same places, and equal entries.

    The tolerance is `digits` times the largest finite entry of `b`, or `floor` if that is larger.
    """
    if a.shape != np.shape(b):
        return False
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite):
        return False
    size = np.max(np.abs(b), initial=0.0, where=finite)
    return bool(np.max(np.abs(a - b), initial=0.0, where=finite) <= max(digits * size, floor))
