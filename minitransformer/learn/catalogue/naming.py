"""Naming a wrong gradient: whose numbers are these?"""

from dataclasses import dataclass

import numpy as np

from minitransformer.learn.catalogue import attention, compositions, elementwise, maps, norms, softmaxes, updates
from minitransformer.learn.catalogue.mutants import mutants_of
from minitransformer.learn.catalogue.textbook import DoesNotFitError, Textbook, equations
from minitransformer.learn.catalogue.whole import about_the_whole

MISTAKES = maps.MISTAKES | norms.MISTAKES | softmaxes.MISTAKES | attention.MISTAKES | elementwise.MISTAKES
MISTAKES |= compositions.MISTAKES | updates.MISTAKES
DIGITS = {8: 1e-9, 4: 1e-5}  # of the largest entry, by the size of the learner's numbers in bytes


@dataclass(frozen=True)
class Guess:
    """One mistake and what comes of it: the gradients {name: value} that it changes."""

    sentence: str
    changed: dict


def named(component, arguments, wrong, dy):
    """Return one sentence about what made a learner's gradients wrong, or None where nothing is known.

    `component` is the name of a textbook function ("layer_norm"; of a composition "block" and the like), `arguments`
    are {name: value} of that run's inputs and options, of a composition with its module as "self", `wrong` are
    {"dx": array, ...}, all that backward returned, and `dy` is what it was called with.

    The sentence says in which statement the mistake is, `(7) dx: the path through the mean is missing`; of two
    mistakes both are said. It is true of the numbers: they are those that come of this mistake, to nine digits (five
    in float32). Where two mistakes would give them, both are said, with `or`. It never holds the right formula.
    Nothing is raised for arrays that are no gradients at all: about them nothing is known.
    """
    try:
        textbook = Textbook(component, arguments, dy)
    except (KeyError, DoesNotFitError):
        return None
    given = {name: np.asarray(wrong[name]) for name in textbook.truth if name in wrong}
    truth = textbook.truth
    bad = [name for name in given if comparable(given[name], truth[name]) and not same(given[name], truth[name])]
    if not bad:
        return None
    sentences = {}
    for find in (in_the_catalogue, as_a_whole, among_mutants):
        for name, sentence in find(textbook, given, [name for name in bad if name not in sentences]).items():
            sentences[name] = sentence
    return "; ".join(list(dict.fromkeys(sentences[name] for name in bad if name in sentences))[:2]) or None


def in_the_catalogue(textbook, given, bad):
    """Return {gradient: sentence} for those that mistakes of the catalogue account for."""
    found = list(catalogued(textbook))
    sentences = {name: in_words([guess.sentence for guess in found if explains(guess, name, given)]) for name in bad}
    return {name: sentence for name, sentence in sentences.items() if sentence}


def as_a_whole(textbook, given, bad):
    """Return {gradient: sentence} for those of which the numbers alone say something."""
    words = {
        name: about_the_whole(name, given[name].astype(np.float64), textbook, same_as(given[name])) for name in bad
    }
    return {name: f"{name}: {text}" for name, text in words.items() if text}


def among_mutants(textbook, given, bad):
    """Return {gradient: sentence} for those that a mutant of the textbook accounts for: the first that does."""
    sentences = {}
    for sentence, how in mutants_of(textbook.function) if bad else ():
        guess = Guess(sentence, what_changes(textbook, **how))
        for name in bad:
            if name not in sentences and explains(guess, name, given):
                sentences[name] = guess.sentence
        if len(sentences) == len(bad):
            break
    return sentences


def explains(guess, name, given):
    """Whether a guess gives the learner's numbers in a gradient, and in all others that it changes."""
    return name in guess.changed and all(
        same(given[other], value) for other, value in guess.changed.items() if other in given
    )


def in_words(sentences):
    """Return the sentence, or both of two; None where there are more, or they are too long together."""
    if len(sentences) == 2:
        place = f"{sentences[0].split(': ')[0]}: "
        sentences = [" or ".join([sentences[0], sentences[1].removeprefix(place)])]
    return sentences[0] if len(sentences) == 1 and len(sentences[0]) < 160 else None


def comparable(given, truth):
    """Whether an array can be a gradient at all: numbers, of the right shape, more than one."""
    return given.shape == truth.shape and given.dtype.kind == "f" and given.size > 1


def same(given, value):
    """Whether two arrays are equal at all entries, to as many digits as the learner's numbers have."""
    return given.dtype.itemsize in DIGITS and equal(given, value, DIGITS[given.dtype.itemsize])


def same_as(given):
    """Return `same` for arrays worked out from the learner's numbers, which have no more digits than those."""
    return lambda a, b: equal(a, b, DIGITS.get(given.dtype.itemsize, 0))


def equal(a, b, digits):
    """Whether two arrays are equal at all entries, beside the largest of the second."""
    b = np.asarray(b)
    if a.shape != b.shape or not (np.isfinite(a) == np.isfinite(b)).all():
        return False
    size = np.max(np.abs(b), initial=0.0, where=np.isfinite(b))
    return bool(np.allclose(a, b, rtol=0, atol=digits * size, equal_nan=True))


def catalogued(textbook):
    """Yield a Guess for each mistake of the tables."""
    for statement, rules in MISTAKES.get(textbook.component, {}).items():
        place = (
            ""
            if statement == "return"
            else f"{equations(textbook.function).get(statement, '')} {statement}: ".strip() + " "
        )
        for words, rule in rules.items():
            changed = what_changes(textbook, planted={statement: rule})
            if changed:
                yield Guess(place + words, changed)


def what_changes(textbook, **how):
    """Return {gradient: value} of those that a mistake changes; nothing where it cannot be made."""
    try:
        gradients = textbook.run(**how)
    except DoesNotFitError:
        return {}
    return {name: value for name, value in gradients.items() if not same(value, textbook.truth[name])}
