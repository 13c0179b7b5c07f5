"""What a formula says of a course of steps: from where the update itself was before each, where it should be after.

The formula keeps a state of its own, which begins at 0 and follows the gradients. So a wrong step does not make the
next one wrong, and what the first wrong one is, is seen.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np


def by_the_common_norm(gradients, max_norm):
    """Return for each gradient what it is multiplied by, so that their common norm is at most max_norm."""
    norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
    return [np.full(g.shape, min(1.0, max_norm / norm)) for g in gradients]


def each_by_its_norm(gradients, max_norm):
    """Likewise, but each by its own norm."""
    return [by_the_common_norm([g], max_norm)[0] for g in gradients]


def each_entry(gradients, max_norm):
    """Likewise, but each entry by its own size."""
    return [np.minimum(1.0, max_norm / np.abs(g)) for g in gradients]


def not_at_all(gradients, _):
    """Likewise, but nothing is clipped."""
    return [np.ones(g.shape) for g in gradients]


def small_ones_too(gradients, max_norm):
    """Likewise, but a common norm that is smaller becomes max_norm too."""
    norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
    return [np.full(g.shape, max_norm / norm) for g in gradients]


@dataclass(frozen=True)
class Formula:
    """A function of scalars, `formula(theta, g, *state, **settings)`, and what its signature says of it.

    `state` are the names of its positional arguments after θ and g, `settings` {name: default, or inspect's `empty`}
    of its keyword-only ones, but t. `counts`: whether it has an argument t. `clips`: whether it clips for itself, which
    is a mistake; it is given the gradient as it is, and the arguments `_scale` and `_max_norm`.
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
    """What an update is tried on: parameters to start from, their gradients at each step, and settings by name.

    `max_norm` is what gradients are clipped to, None where they are not; `jointly`, whether by the norm of all
    parameters together.
    """

    starts: list
    gradients: list
    settings: dict
    max_norm: float | None = None
    jointly: bool = False


@dataclass(frozen=True)
class Habits:
    """What goes on around a formula. Those by default are right: all else is a mistake.

    `lost` are positions in the state of what is not kept for the next step, `ones` of what begins at 1. `shared`: the
    parameters, one after the other, use one state. `count` says what t counts: "steps", "parameters" or "nothing".
    `clip` is one of the functions above.
    """

    lost: tuple = ()
    ones: tuple = ()
    shared: bool = False
    count: str = "steps"
    clip: Callable = by_the_common_norm


def follow(formula, course, thetas, habits=Habits()):
    """Yield for each step the list of θ′ that a Formula makes of `thetas[step]`, where the update was before it."""
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
    """Return a Formula whose function takes arrays, and calls that of another for each of their entries."""

    def of_arrays(theta, *others, **settings):
        entries = zip(theta.flat, *(array.flat for array in others), strict=True)
        returned = [formula.function(*scalars, **settings) for scalars in entries]
        rows = [row if isinstance(row, tuple) else (row,) for row in returned]
        if any(len(row) != len(others) for row in rows):
            expected = ", ".join(["θ′", *(f"the new {name}" for name in formula.state)])
            raise TypeError(f"{formula.name} returned {len(rows[0])} values; expected {len(others)}: {expected}")
        return tuple(np.array(column, float).reshape(theta.shape) for column in zip(*rows, strict=True))

    return replace(formula, function=of_arrays)
