"""Draw a random sequence of steps, run the code, and compute the correct steps.

The inputs are drawn so that different mistakes give different results. The entries of the gradients have scales from
0.003 (or from 30 ε if that is smaller) to 10, so that the position of ε in the formula has an effect. Settings are
random, because the usual values hide mistakes. For example, λ = 0 hides a mistake in the weight decay. Several steps
show whether the state is kept, and two parameters show whether each has its own state. Gradients to be clipped have
norms around max_norm, so that only some of them are clipped.

The formula computes each step from the parameters that the code had before the step, and from a separate state, which
is 0 before the first step. Therefore a wrong step does not make the next step wrong.
"""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gradcheck.call import describe
from gradcheck.updates.formulas import FORMULAS
from gradcheck.updates.report import StepReport

SHAPES = ((2, 3), (2, 3)), ((4,), (3, 2))  # of the two parameters, in the first and in the second course
STRENGTHS = (1.0, 0.3, 2.0, 0.02, 1.0)  # factor of the gradients at each step
RANGES = {
    "lr": (0.05, 0.3),
    "momentum": (0.5, 0.9),
    "rho": (0.6, 0.95),
    "beta1": (0.6, 0.85),
    "beta2": (0.86, 0.97),
    "eps": (0.02, 0.1),
    "weight_decay": (0.1, 0.4),
    "max_norm": (0.05, 0.1),
}
ANOTHER = (0.1, 0.9)
EXACT, ROUNDING = 1e-9, 1e-13  # largest error allowed, relative to the step and to θ


@dataclass(frozen=True)
class Formula:
    """An update formula, as a function formula(theta, g, *state, **settings) of arrays."""

    function: Callable
    name: str
    state: tuple  # the names of the positional arguments after θ and g
    settings: dict  # {name: default} of the keyword-only arguments except t, or inspect's `empty`
    counts: bool  # True if there is a keyword-only argument t


def read_formula(function):
    """Return the Formula for a name in FORMULAS, or for a function of scalars."""
    if isinstance(function, str):
        if function not in FORMULAS:
            raise ValueError(f"there is no formula {function!r}; known are {', '.join(FORMULAS)}")
        function = FORMULAS[function]
    if not callable(function):
        raise TypeError(f"the formula is {describe(function)}; it must be a name or a function of scalars")
    parameters = inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    settings = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    counts, state = settings.pop("t", None) is not None, positional[2:]
    name = getattr(function, "__name__", "the formula")

    def checked(*scalars, **settings):
        returned = function(*scalars, **settings)
        count = len(returned) if isinstance(returned, tuple) else 1
        if count != 1 + len(state):
            expected = ", ".join(["θ′", *(f"the new {each}" for each in state)])
            raise TypeError(f"{name} returned {count} values; expected {1 + len(state)}: {expected}")
        return returned

    is_built_in = function in FORMULAS.values()
    of_arrays = function if is_built_in else np.vectorize(checked, otypes="d" * (1 + len(state)))
    return Formula(of_arrays, name, state, settings, counts)


@dataclass(frozen=True)
class Course:
    """The inputs of a sequence of steps, and the parameters that the code computed."""

    starts: list  # the initial parameters
    gradients: list  # for each step, a list of the gradients of all parameters
    settings: dict  # {name: value}, without max_norm
    max_norm: float | None = None  # the norm to which gradients are clipped, or None without clipping
    jointly: bool = False  # True if the gradients are clipped by their common norm
    thetas: list = field(default_factory=list)  # the parameters at first and after each step


def draw_course(shapes, settings, jointly, rng):
    smallest = min(0.003, 30 * settings.get("eps", 1.0))
    starts = [rng.standard_normal(shape) for shape in shapes]
    sizes = [rng.permutation(np.geomspace(smallest, 10, start.size)).reshape(start.shape) for start in starts]
    gradients = [[strength * size * rng.standard_normal(size.shape) for size in sizes] for strength in STRENGTHS]
    settings = dict(settings)
    max_norm = settings.pop("max_norm", None)
    if max_norm is not None:
        norms = [np.linalg.norm(np.concatenate(g, axis=None) if jointly else g[0]) for g in gradients]
        scale = 2 * max_norm / np.median(norms)
        gradients = [[scale * g for g in step] for step in gradients]
    return Course(starts, gradients, settings, max_norm, jointly)


def walk(code, course, options):
    """Run the code and append its parameters after each step to `course.thetas`.

    Returns a sentence if the shape or dtype of a parameter changes, and "" otherwise. Raises TypeError if the number of
    parameters or of steps is wrong.
    """
    course.thetas.append(course.starts)
    parameters, gradients = copy.deepcopy((course.starts, course.gradients))
    with np.errstate(all="ignore"):
        for step, values in enumerate(code.steps(parameters, gradients, **options), start=1):
            course.thetas.append([np.asarray(value).copy() for value in (parameters if values is None else values)])
            if len(course.thetas[-1]) != len(parameters):
                raise TypeError(f"{code.name} yielded {len(course.thetas[-1])} parameters; expected {len(parameters)}")
            for i, (start, value) in enumerate(zip(course.starts, course.thetas[-1], strict=True)):
                if value.shape != start.shape:
                    return f"step {step}: parameter {i} changes from shape {start.shape} to {value.shape}"
                if value.dtype != np.float64:
                    return f"step {step}: parameter {i} changes from float64 to {value.dtype}"
    if len(course.thetas) != 1 + len(gradients):
        count = f"{len(course.thetas) - 1} times; expected once after each of {len(gradients)} steps"
        raise TypeError(f"{code.name} yielded {count}")
    return ""


def clip_factors(gradients, max_norm, largest=1.0):
    """Return the factors that scale gradients to the norm max_norm, at most `largest`."""
    norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
    return [np.full(g.shape, min(largest, max_norm / norm)) for g in gradients]


def follow(formula, course, *, lost=(), ones=(), shared=False, count=lambda step, i: step, clip=clip_factors):
    """Compute the correct steps, and yield three lists of arrays for each step.

    The lists contain the parameters before the step, those that the code computed, and the correct ones.

    Each option inserts a mistake in the code around the formula. The state arrays with the indices `lost` are not kept
    for the next step, and those with the indices `ones` begin at 1. With `shared`, all parameters use one state, one
    after the other. `count(step, i)` is the value of t for parameter i. The gradients are multiplied by
    `clip(gradients, max_norm)`.
    """
    positions = range(len(formula.state))
    first = [[np.full(start.shape, float(k in ones)) for k in positions] for start in course.starts]
    states = list(first)
    steps = zip(course.thetas, course.thetas[1:], course.gradients, strict=False)
    for step, (before, after, gradients) in enumerate(steps, start=1):
        if course.max_norm is not None:
            together = [gradients] if course.jointly else [[g] for g in gradients]
            scales = [scale for group in together for scale in clip(group, course.max_norm)]
            gradients = [scale * g for scale, g in zip(scales, gradients, strict=True)]
        right = []
        for i, (theta, g) in enumerate(zip(before, gradients, strict=True)):
            options, keeper = course.settings | ({"t": count(step, i)} if formula.counts else {}), 0 if shared else i
            returned = formula.function(theta, g, *states[keeper], **options)
            new, *state = returned if isinstance(returned, tuple) else (returned,)
            right.append(np.broadcast_to(new, theta.shape))
            states[keeper] = [first[i][k] if k in lost else kept for k, kept in enumerate(state)]
        yield before, after, right


def compare(formula, course):
    reports = []
    with np.errstate(all="ignore"):
        for number, (before, after, expected) in enumerate(follow(formula, course), start=1):
            errors = [_errors(*three) for three in zip(before, after, expected, strict=True)]
            flat = np.concatenate(errors, axis=None)
            worst = max(range(len(errors)), key=lambda i: np.max(errors[i]))
            index = np.unravel_index(np.argmax(errors[worst]), errors[worst].shape)
            moved, right = (float(array[worst][index] - before[worst][index]) for array in (after, expected))
            place = (worst, tuple(map(int, index)), moved, right)
            reports.append(StepReport(number, flat.size, int(np.sum(flat > EXACT)), float(np.max(flat)), place))
    return reports


def agrees(formula, course, **around):
    """Return True if a formula reproduces the results of the code at every step.

    `around` are options of `follow`, which insert mistakes around the formula. Entries for which both results are not
    finite are ignored, but at least four entries must remain.
    """
    finite = 0
    with np.errstate(all="ignore"):
        for step in follow(formula, course, **around):
            for theta, given, right in zip(*step, strict=True):
                known = np.isfinite(theta) & (np.isfinite(given) | np.isfinite(right))
                if np.any(_errors(theta, given, right)[known] > EXACT):
                    return False
                finite += np.sum(known)
    return finite >= 4


def _errors(theta, given, right):
    """Return the relative error of each entry.

    Errors are relative to |θ′ − θ| + 1e-4 max(|θ|, |θ′|), where θ′ is the result of the formula. With the bound EXACT,
    the second term allows a rounding error of ROUNDING relative to θ. An error that is not finite counts as infinite if
    θ is finite, and as 0 otherwise.
    """
    size = np.maximum(np.abs(theta), np.abs(right))
    errors = np.abs(given - right) / (np.abs(right - theta) + ROUNDING / EXACT * size)
    return np.where(np.isfinite(errors), errors, np.where(np.isfinite(theta), np.inf, 0.0))
