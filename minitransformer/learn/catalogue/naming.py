"""Naming a wrong gradient: whose numbers are these?"""

import itertools
from dataclasses import dataclass

import numpy as np

from minitransformer.learn.catalogue import attention, compositions, elementwise, maps, norms, softmaxes
from minitransformer.learn.catalogue.mutants import mutants_of
from minitransformer.learn.catalogue.numbers import DIGITS, digits_of, equal
from minitransformer.learn.catalogue.textbook import DoesNotFitError, Textbook, equations
from minitransformer.learn.catalogue.whole import as_a_product, as_a_whole

MISTAKES = maps.MISTAKES | norms.MISTAKES | softmaxes.MISTAKES | attention.MISTAKES | elementwise.MISTAKES
MISTAKES |= compositions.MISTAKES
NOISE = 1e-2  # of these digits, of the largest entry of all gradients: one that should be zero has but its rounding
LONGEST = 159  # characters in a sentence
TRIES = 1000  # pairs of mistakes


@dataclass(frozen=True)
class Guess:
    """A mistake, or two, and what comes of it: the gradients {name: value} that it changes."""

    sentence: str
    changed: dict
    planted: dict


def named(component, arguments, wrong, dy):
    """Return one sentence about what made a learner's gradients wrong, or None where nothing is known.

    `component` is the name of a textbook function ("layer_norm"; of a composition "block" and the like), `arguments`
    are {name: value} of that run's inputs and options, of a composition with its module as "self", `wrong` are
    {"dx": array, ...}, all that backward returned (a module's parameters under their dotted names), and `dy` is what it
    was called with. A random generator among the arguments must be as it was before the run.

    The sentence says in which statement the mistake is, `(7) dx: the path through the mean is missing`; of two
    mistakes both are said. It is true of the numbers: they are those that come of this mistake, to nine digits (five
    in float32). Where two mistakes would give them, both are said, with `or`. It never holds the right formula.
    Nothing is raised for arrays that are no gradients at all: about them nothing is known.
    """
    search = searched(component, arguments, wrong, dy)
    if search is None:
        return None
    search.by_numbers(as_a_whole)
    search.among_mutants()
    search.among_pairs()
    search.by_numbers(as_a_product)
    return search.said()


def listed(component, arguments, wrong, dy):
    """Return what `named` does where it is a mistake that the catalogue lists; else None."""
    search = searched(component, arguments, wrong, dy)
    return None if search is None else search.said()


def searched(component, arguments, wrong, dy):
    """Return a Search that has gone through the catalogue, None where there is nothing to look for, or no source."""
    try:
        textbook = Textbook(component, arguments, dy)
    except (KeyError, TypeError, OSError, DoesNotFitError):  # OSError: there is no source to read
        return None
    search = Search(textbook, wrong)
    if not search.bad:
        return None
    search.in_the_catalogue()
    return search


class Search:
    """What is known of a learner's wrong gradients: `bad` are their names, `sentences` {name: what is wrong}."""

    def __init__(self, textbook, wrong):
        self.textbook, self.truth = textbook, textbook.truth
        self.given = {name: np.asarray(wrong[name]) for name in self.truth if name in wrong}
        self.largest = max((np.max(np.abs(value), initial=0.0) for value in self.truth.values()), default=0.0)
        self.bad = [name for name in self.given if self.is_wrong(name)]
        self.sentences = {}

    def said(self):
        """Return what is known of the wrong gradients in one sentence, or None."""
        sentences = [self.sentences[name] for name in self.bad if name in self.sentences]
        return "; ".join(list(dict.fromkeys(sentences))[:2]) or None

    @property
    def unknown(self):
        """The wrong gradients of which nothing is known yet."""
        return [name for name in self.bad if name not in self.sentences]

    def is_wrong(self, name):
        """Whether an array can be a gradient at all, of more than one number, and is another than the right one."""
        given, truth = self.given[name], self.truth[name]
        return given.shape == truth.shape and given.size > 1 and digits_of(given) and not self.same(name, truth)

    def same(self, name, value):
        """Whether the learner's gradient has these numbers, to as many digits as it can have."""
        digits = digits_of(self.given[name])
        return equal(self.given[name], value, digits, NOISE * digits * self.largest)

    def what_changes(self, **how):
        """Return {gradient: value} of those that a mistake changes; nothing where it cannot be made."""
        try:
            gradients = self.textbook.run(**how)
        except DoesNotFitError:
            return {}
        if any(gradients[name].shape != self.truth[name].shape for name in gradients):
            return {}
        floor = NOISE * DIGITS[8] * self.largest
        return {name: g for name, g in gradients.items() if not equal(g, self.truth[name], DIGITS[8], floor)}

    def explains(self, guess, name):
        """Whether a guess gives the learner's numbers in a gradient, and in all others that it changes."""
        return name in guess.changed and all(
            self.same(other, value) for other, value in guess.changed.items() if other in self.given
        )

    def catalogued(self):
        """Yield a Guess for each mistake of the catalogue that can be made here."""
        for statement, rules in MISTAKES.get(self.textbook.component, {}).items():
            number = equations(self.textbook.function).get(statement, "")
            place = "" if statement in ("return", "several") else f"{number} {statement}: ".lstrip()
            for words, rule in rules.items():
                planted = rule if isinstance(rule, dict) else {statement: rule}
                changed = self.what_changes(planted=planted)
                if changed:
                    yield Guess(place + words, changed, planted)

    def in_the_catalogue(self):
        """Name what mistakes of the catalogue account for: one that accounts for the most gradients."""
        self.guesses = list(self.catalogued())
        for name in self.bad:
            fitting = [guess for guess in self.guesses if self.explains(guess, name)]
            most = max((len(guess.changed) for guess in fitting), default=0)
            self.say(name, [guess.sentence for guess in fitting if len(guess.changed) == most])

    def by_numbers(self, words_on):
        """Name what the numbers of one gradient alone say."""
        for name in self.unknown:
            words = words_on(self, name)
            if words and len(name) + len(words) < LONGEST:
                self.sentences[name] = f"{name}: {words}"

    def among_mutants(self):
        """Name what a mutant of the textbook accounts for: the first that does."""
        for sentence, how in mutants_of(self.textbook.function) if self.unknown else ():
            guess = Guess(sentence, self.what_changes(**how), {})
            for name in self.unknown:
                if self.explains(guess, name):
                    self.sentences[name] = sentence
            if not self.unknown:
                break

    def among_pairs(self):
        """Name what two mistakes of the catalogue in two statements, one made after the other, account for."""
        found = {}
        for one, other in itertools.islice(self.pairs(), TRIES if self.unknown else 0):
            pair = Guess(
                f"{one.sentence}; {other.sentence}", self.what_changes(planted=one.planted | other.planted), {}
            )
            for name in self.unknown:
                if self.explains(pair, name):
                    found.setdefault(name, []).append(pair.sentence)
        for name, sentences in found.items():
            if len(sentences) == 1:
                self.sentences[name] = sentences[0]

    def pairs(self):
        """Yield pairs of guesses about two statements: first those of which one gives a gradient right already."""
        likely = {
            id(guess)
            for guess in self.guesses
            if any(self.same(n, guess.changed[n]) for n in guess.changed if n in self.bad)
        }
        pairs = [
            (one, other)
            for one, other in itertools.combinations(self.guesses, 2)
            if not one.planted.keys() & other.planted.keys() and one.changed.keys() & other.changed.keys()
        ]
        yield from sorted(pairs, key=lambda pair: not any(id(guess) in likely for guess in pair))

    def say(self, name, sentences):
        """Keep the sentence about a gradient, or both of two; none where there are more, or they are too long."""
        if len(sentences) == 2:
            place = f"{sentences[0].split(': ')[0]}: "
            sentences = [f"{sentences[0]}, or {sentences[1].removeprefix(place)}"]
        if len(sentences) == 1 and len(sentences[0]) <= LONGEST:
            self.sentences[name] = sentences[0]
