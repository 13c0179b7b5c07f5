"""Which mistake it is: the first whose numbers, by the formula with the mistake in it, are those of the update.

They must be the same to nine digits of the step, for every entry and at every step. Where no mistake alone fits, two at
once are tried. What does not fit is not named.
"""

import itertools

import numpy as np

from gradcheck.updates.following import Habits, follow
from gradcheck.updates.formulas import FORMULAS
from gradcheck.updates.mistakes import T_FROM_0, around, mistaken, mistakes_in, planted_in
from gradcheck.updates.trying import EXACT, agrees

SMALL = 1e-5  # of a step: more than float32 leaves, and less than a mistake does


def name_the_mistake(formula, course, thetas, largest):
    """Return a sentence on an update that is wrong by up to `largest` of its steps, or an empty one.

    `formula` is a Formula of arrays, `thetas` where the update was before the first step and after each.
    """
    is_known = FORMULAS.get(formula.name) is formula.function
    every = mistakes_in(formula.function) if is_known else ()
    mistakes = [mistake for mistake in every if course.max_norm is not None or not mistake[-1].clips]
    habits = list(around(formula, course))
    sentence = (
        _still(thetas)
        or _first(_alone(formula, mistakes, habits), course, thetas)
        or _first(((sentence, wrong, Habits()) for sentence, wrong in _planted(formula, is_known)), course, thetas)
        or _in_proportion(formula, course, thetas)
        or _small(largest)
        or _nowhere_finite(mistakes, thetas)
        or _first(_together(formula, mistakes, habits), course, thetas)
    )
    return sentence[0].upper() + sentence[1:] if sentence.startswith("the ") else sentence


def _first(candidates, course, thetas):
    """Return the sentence of the first of (sentence, Formula, Habits) that gives the numbers of the update."""
    return next((sentence for sentence, *mistake in candidates if agrees(*mistake, course, thetas)), "")


def _alone(formula, mistakes, habits):
    """Yield one mistake at a time; those of clipping something else last, which may be too small to be clipped."""
    yield from ((sentence, wrong, Habits()) for sentence, _, wrong in mistakes if not wrong.clips)
    yield from ((sentence, formula, habit) for sentence, habit in habits)
    yield from ((sentence, wrong, Habits()) for sentence, _, wrong in mistakes if wrong.clips)


def _planted(formula, is_known):
    return planted_in(formula.function) if is_known else ()


def _together(formula, mistakes, habits):
    for (one, first, _), (other, second, _) in itertools.combinations(mistakes, 2):
        both = mistaken(formula.function, first + second)
        if both is not None:
            yield f"Two mistakes: {one}; and {other}", both, Habits()
    for (one, _, wrong), (other, habit) in itertools.product(mistakes, habits):
        yield f"Two mistakes: {one}; and {other}", wrong, habit


def _still(thetas):
    """A parameter is where it began, after every step."""
    still = [i for i, start in enumerate(thetas[0]) if all(np.array_equal(theta[i], start) for theta in thetas)]
    if len(still) == len(thetas[0]):
        return "no parameter ever moves: a new θ is neither returned nor put in the place of the old one"
    return f"parameter {still[0]} never moves" if still else ""


def _in_proportion(formula, course, thetas):
    """Each step is the same multiple of what it should be."""
    with np.errstate(all="ignore"):
        pairs = list(zip(thetas, thetas[1:], follow(formula, course, thetas), strict=False))
        given, right = (
            np.concatenate([a - theta for triple in pairs for theta, a in zip(triple[0], triple[k], strict=True)], None)
            for k in (1, 2)
        )
        ratio = float(np.vdot(given, right) / np.vdot(right, right))
        fits = np.all(np.abs(given - ratio * right) <= 100 * EXACT * np.abs(given))
    return f"each step is {ratio:.6g} × what it should be" if fits and np.isfinite(ratio) and ratio else ""


def _small(largest):
    if largest > SMALL:
        return ""
    return "so little may come of float32 within, or of a constant that is rounded"


def _nowhere_finite(mistakes, thetas):
    """After the first step nothing is finite, as 1 − β⁰ would have it."""
    divides = any(sentence == T_FROM_0 for sentence, *_ in mistakes)
    if not divides or np.isfinite(np.concatenate(thetas[1], axis=None)).any():
        return ""
    return "nothing is finite, as it would be if the bias were corrected with t − 1: at the first step 1 − β⁰ is 0"
