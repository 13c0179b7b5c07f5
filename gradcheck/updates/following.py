"""Apply a formula to a course of steps: compute the correct θ′ of each step from the update's own θ before it.

The formula keeps a separate state, which is 0 before the first step and is updated with the gradients. A wrong step
does not make the next one wrong, so the first wrong step can be identified.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np


def by_the_common_norm(gradients, max_norm):
    """Return an array of factors for each gradient that scale their common norm down to at most max_norm."""
    norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
    return [np.full(g.shape, min(1.0, max_norm / norm)) for g in gradients]


def each_by_its_norm(gradients, max_norm):
    """Return factors that scale the norm of each gradient down to at most max_norm."""
    return [by_the_common_norm([g], max_norm)[0] for g in gradients]


def each_entry(gradients, max_norm):
    """Return factors that scale the absolute value of each entry down to at most max_norm."""
    return [np.minimum(1.0, max_norm / np.abs(g)) for g in gradients]


def not_at_all(gradients, _):
    """Return factors of 1, which clip nothing."""
    return [np.ones(g.shape) for g in gradients]


def small_ones_too(gradients, max_norm):
    """Return factors that scale the common norm to max_norm, even if it is smaller."""
    norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
    return [np.full(g.shape, max_norm / norm) for g in gradients]


@dataclass(frozen=True)
class Formula:
    """A function of scalars, `formula(theta, g, *state, **settings)`, and the properties of its signature.

    `state` contains the names of the positional arguments after θ and g. `settings` is {name: default, or inspect's
    `empty`} of the keyword-only arguments, without t. `counts` is True if there is a keyword-only argument t. `clips`
    is True for a formula with a mistake in its clipping: it receives the unclipped gradient and the arguments `_scale`
    and `_max_norm`, and clips another quantity.
    """

    function: Callable
    name: str
    state: tuple
    settings: dict
    counts: bool
    clips: bool


def read_formula(function):
    """Return the Formula of a function."""
    parameters = inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    settings = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    counts = settings.pop("t", None) is not None
    clips = settings.pop("_scale", None) is not None
    settings.pop("_max_norm", None)
    return Formula(
        function, getattr(function, "__name__", "the formula"), tuple(positional[2:]), settings, counts, clips
    )


@dataclass(frozen=True)
class Course:
    """The inputs of a trial: the initial parameters, their gradients at each step, and the settings by name.

    `max_norm` is the norm to which gradients are clipped, or None without clipping. `jointly` is True if they are
    clipped by the common norm of all gradients.
    """

    starts: list
    gradients: list
    settings: dict
    max_norm: float | None = None
    jointly: bool = False


@dataclass(frozen=True)
class Habits:
    """The treatment of state, step counter and clipping around a formula. Any value but the default is a mistake.

    `lost` contains the positions in the state of the arrays that are not kept for the next step, `ones` the positions
    of those that begin at 1. With `shared`, all parameters use one state, one after the other. `count` is "steps",
    "parameters" (t increases with each parameter) or "nothing" (t stays 1). `clip` is one of the functions above.
    """

    lost: tuple = ()
    ones: tuple = ()
    shared: bool = False
    count: str = "steps"
    clip: Callable = by_the_common_norm


def follow(formula, course, thetas, habits=Habits()):
    """Yield for each step the list of θ′ that a Formula computes from `thetas[step]`, the θ before that step."""
    positions = range(len(formula.state))
    first = [[np.full(start.shape, float(k in habits.ones)) for k in positions] for start in course.starts]
    states, count, parameters = [list(state) for state in first], 0, len(course.starts)
    for before, gradients in zip(thetas, course.gradients, strict=False):
        clip = not_at_all if course.max_norm is None else habits.clip
        together = [gradients] if course.jointly else [[g] for g in gradients]
        scales = [scale for group in together for scale in clip(group, course.max_norm)]
        after = []
        for i, (theta, g, scale) in enumerate(zip(before, gradients, scales, strict=True)):
            count += 1
            t = {"steps": -(-count // parameters), "parameters": count, "nothing": 1}[habits.count]
            options = course.settings | ({"t": t} if formula.counts else {})
            if formula.clips:
                options |= {"_scale": scale, "_max_norm": course.max_norm}
            keeper = 0 if habits.shared else i
            returned = formula.function(theta, g if formula.clips else scale * g, *states[keeper], **options)
            new, *state = returned if isinstance(returned, tuple) else (returned,)
            after.append(new)
            states[keeper] = [first[i][k] if k in habits.lost else kept for k, kept in enumerate(state)]
        yield after


def entry_by_entry(formula):
    """Return a Formula whose function takes arrays and calls the function of `formula` for each entry."""

    def of_arrays(theta, *others, **settings):
        entries = zip(theta.flat, *(array.flat for array in others), strict=True)
        returned = [formula.function(*scalars, **settings) for scalars in entries]
        rows = [row if isinstance(row, tuple) else (row,) for row in returned]
        if any(len(row) != len(others) for row in rows):
            expected = ", ".join(["θ′", *(f"the new {name}" for name in formula.state)])
            raise TypeError(f"{formula.name} returned {len(rows[0])} values; expected {len(others)}: {expected}")
        return tuple(np.array(column, float).reshape(theta.shape) for column in zip(*rows, strict=True))

    return replace(formula, function=of_arrays)
