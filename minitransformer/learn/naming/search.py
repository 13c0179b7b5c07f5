"""Which mistake a learner's numbers are those of."""

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

DIGITS = {8: 1e-9, 4: 1e-5}  # of the largest entry, by the size of an entry in bytes
NOISE = 1e-2  # of these digits, of the largest entry of all gradients: one that should be zero has but its rounding


@dataclass(frozen=True)
class Guess:
    """A mistake: its place, such as `(7) dx: `, its sentence for a student, and how the textbook is run with it."""

    place: str
    sentence: object  # a function of the Student
    code: object
    inner: str | None = None


def named(component, draws, student, *, planted):
    """Return [sentence on a mistake that explains a wrong gradient], the one that explains the most first.

    `draws` are (arguments, wrong, dy) of several cases: {name: value} of the inputs and options, of a composition with
    its module as "self"; {"dx": array, ...}, all that backward returned, and a module's parameters under their dotted
    names; the upstream gradient. A mistake is named if it explains the first draw and contradicts none; of two that
    explain as much, both are. With `planted` the mistakes are those of gradcheck's table, made in the textbook's
    backward, otherwise the learners' own.
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
    """A learner's gradients and the right ones; `bad` are the names of the wrong ones."""

    def __init__(self, textbook, wrong):
        self.textbook, self.truth = textbook, textbook.truth
        self.given = {name: np.asarray(wrong[name]) for name in self.truth if name in wrong}
        self.largest = max((np.max(np.abs(value), initial=0.0) for value in self.truth.values()), default=0.0)
        self.bad = {name for name in self.given if self._is_wrong(name)}

    @classmethod
    def on(cls, component, arguments, wrong, dy):
        """Return the Search of a draw; None where the textbook's function cannot be run on it, or has no source."""
        try:
            return cls(Textbook(component, arguments, dy), wrong)
        except (KeyError, TypeError, OSError, DoesNotFitError):
            return None

    def explained(self, guess):
        """Return the gradients that a Guess explains; None if it changes another one differently from the learner."""
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
        """Return True if a Guess that explains some gradients of another draw explains those of this one as well."""
        explained = self.explained(guess)
        return explained is not None and names & self.bad <= explained

    def _is_wrong(self, name):
        given, truth = self.given[name], self.truth[name]
        return given.shape == truth.shape and given.size > 1 and digits_of(given) and not self._same(name, truth)

    def _same(self, name, value):
        digits = digits_of(self.given[name])
        return equal(self.given[name], value, digits, NOISE * digits * self.largest)


def own(function, component):
    """Yield a Guess for each of the learners' own mistakes, those of the component first."""
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
    """Yield a Guess for each mistake of gradcheck's table in the backward pass of a function, and of one it calls."""
    for place, mutant, code in compiled_mutants(function):
        yield Guess(place, functools.partial(in_words, mutant), code)
    inner = INSIDE.get(function)
    for place, mutant, code in compiled_mutants(inner) if inner is not None else ():
        yield Guess(f"{inner.__name__}'s {place}", functools.partial(in_words, mutant), code, inner.__name__)


@functools.cache
def compiled_mutants(function):
    """Return (place, Mutant, code) for each mutant of a function's backward, or of all of it if it has none."""
    text, first = source_of(function)
    backward = f"{function.__qualname__}.<locals>.backward"
    pattern = backward if "def backward" in text else function.__qualname__
    length, found = text.count("\n"), []
    for mutant in mutate(Path(inspect.getsourcefile(function)), (pattern,)):
        lines = mutant.mutated_source.splitlines(keepends=True)[first - 1 : first - 1 + length]
        found.append((place_in(mutant), mutant, compiled(textwrap.dedent("".join(lines)))))
    return found


def place_in(mutant):
    """Return `(7) dx: ` for the statement of a mutant; of one without a number, `on the way to (7), shift: `."""
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
    """Return the sentence on a mutant for a Student; the kind of the mistake if that would quote code he has not."""
    return mutant.edit.sentence(student, mutant.is_whole) or KINDS[mutant.kind]


def digits_of(array):
    """Return the share of its largest entry to which a learner's array is compared; 0 if it cannot be."""
    return DIGITS.get(array.dtype.itemsize, 0.0) if array.dtype.kind == "f" else 0.0


def equal(a, b, digits, floor=0.0):
    """Return True if two arrays are equal at all entries, to `digits` of the largest of the second, or to `floor`."""
    if a.shape != np.shape(b):
        return False
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite):
        return False
    size = np.max(np.abs(b), initial=0.0, where=finite)
    return bool(np.max(np.abs(a - b), initial=0.0, where=finite) <= max(digits * size, floor))
