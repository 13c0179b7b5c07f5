"""Naming a wrong gradient: whose numbers are these?"""

from dataclasses import dataclass

import numpy as np

from minitransformer.learn.catalogue import attention, compositions, elementwise, maps, norms, softmaxes, updates
from minitransformer.learn.catalogue.textbook import DoesNotFitError, Textbook, equations

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
    sentences = []
    for guesses in (in_the_catalogue,):
        found = list(guesses(textbook))
        for name in list(bad):
            sentence = in_words([guess.sentence for guess in found if explains(guess, name, given)])
            if sentence:
                bad.remove(name)
                sentences.append(sentence)
    return "; ".join(list(dict.fromkeys(sentences))[:2]) or None


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
    value = np.asarray(value)
    if given.shape != value.shape or given.dtype.itemsize not in DIGITS:
        return False
    if not (np.isfinite(given) == np.isfinite(value)).all():
        return False
    size = np.max(np.abs(value), initial=0.0, where=np.isfinite(value))
    return bool(np.allclose(given, value, rtol=0, atol=DIGITS[given.dtype.itemsize] * size, equal_nan=True))


def in_the_catalogue(textbook):
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
