"""Find the mistake in a wrong update: the first with which the formula gives the numbers of the update.

The numbers must be the same to nine digits of the step, for every finite entry and at every step. Combinations of two
mistakes are tried last. Parameters that never move, steps that are the same multiple of the correct ones, errors as
small as those of float32 and non-finite results are recognised separately. No mistake is named if none fits.
"""

import itertools

import numpy as np

from gradcheck.updates.following import Habits, follow
from gradcheck.updates.formulas import FORMULAS
from gradcheck.updates.mistakes import T_FROM_0, around, mistaken, mistakes_in, planted_in
from gradcheck.updates.trying import EXACT, agrees

SMALL = 1e-5  # relative error of a step: larger than rounding in float32, smaller than the effect of a mistake


def name_the_mistake(formula, course, thetas, largest):
    """Return a sentence that names the mistake in a wrong update, or an empty string if none is found.

    `formula` is a Formula of arrays. `thetas` contains the update's parameters before the first step and after each
    step. `largest` is the largest relative error of a step.
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
    """Return the sentence of the first (sentence, Formula, Habits) that gives the numbers of the update, or ""."""
    return next((sentence for sentence, *mistake in candidates if agrees(*mistake, course, thetas)), "")


def _alone(formula, mistakes, habits):
    """Yield (sentence, Formula, Habits) for each single mistake.

    Mistakes that clip a quantity other than the gradient come last, because that quantity may be too small to be
    clipped. The numbers are then those of an update without clipping.
    """
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
    """Return a sentence if a parameter has its initial value after every step, or an empty string."""
    still = [i for i, start in enumerate(thetas[0]) if all(np.array_equal(theta[i], start) for theta in thetas)]
    if len(still) == len(thetas[0]):
        return "no parameter ever moves: a new θ is neither returned nor put in the place of the old one"
    return f"parameter {still[0]} never moves" if still else ""


def _in_proportion(formula, course, thetas):
    """Return a sentence if each step is the same multiple of the correct step, or an empty string."""
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
    """Return a sentence if no entry is finite after the first step, as with 1 − β⁰ = 0, or an empty string."""
    divides = any(sentence == T_FROM_0 for sentence, *_ in mistakes)
    if not divides or np.isfinite(np.concatenate(thetas[1], axis=None)).any():
        return ""
    return "nothing is finite, as it would be if the bias were corrected with t − 1: at the first step 1 − β⁰ is 0"
