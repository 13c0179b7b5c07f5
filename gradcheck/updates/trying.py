"""Run an update for a random course of steps, and compare the parameters after each step with a formula.

The random inputs are chosen to distinguish the mistakes. The scales of the gradients' entries are spread geometrically
from 0.003 (or from 30 ε if that is smaller) to 10, so that the position of ε in the formula has an effect. The code's
settings are random unless the caller gives them, because the usual values hide mistakes: λ = 0 hides those in the
decay, and ε = 1e-8 hides those in the use of ε. Several steps show whether the state is kept. Two parameters, at first
of the same shape, show whether each has a separate state. If gradients are clipped, their norms are scaled to values
around max_norm, so that some are clipped and some are not.
"""

import numpy as np

from gradcheck.updates.following import Course, follow
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


def draw_settings(names, given, rng):
    """Return {name: value} of the settings: the given value, or a random one if there is none."""
    return {name: given[name] if name in given else rng.uniform(*RANGES.get(name, ANOTHER)) for name in names}


def draw_course(shapes, settings, jointly, rng):
    """Draw a random Course for parameters of these shapes."""
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


def walk(shape, course, options):
    """Run the code for the course. Returns (thetas, fault).

    `thetas` contains the list of parameters before the first step and after each step. `fault` describes a change of
    shape or dtype, which ends the run, and is empty if there is none.
    """
    thetas = [course.starts]
    with np.errstate(all="ignore"):
        for step, values in enumerate(shape.take(course, options), start=1):
            thetas.append([np.asarray(value).copy() for value in values])
            for i, (start, value) in enumerate(zip(course.starts, thetas[-1], strict=True)):
                if value.shape != start.shape:
                    return thetas, f"step {step}: parameter {i} becomes {value.shape}, and was {start.shape}"
                if value.dtype != np.float64:
                    return thetas, f"step {step}: parameter {i} becomes {value.dtype}, and was float64"
    return thetas, ""


def compare(formula, course, thetas):
    """Compare the parameters after each step with a Formula. Returns a list of StepReports."""
    with np.errstate(all="ignore"):
        predicted = list(follow(formula, course, thetas))
        return [
            _compared(step, *three)
            for step, three in enumerate(zip(thetas, thetas[1:], predicted, strict=False), start=1)
        ]


def agrees(formula, habits, course, thetas):
    """Return True if a Formula with these habits gives the numbers of the update at every step.

    An entry that was finite before the step must be finite after it in both, or in neither. At least four entries must
    be finite, because entries that are not finite are little evidence.
    """
    finite = 0
    with np.errstate(all="ignore"):
        for before, after, expected in zip(thetas, thetas[1:], follow(formula, course, thetas, habits), strict=False):
            for theta, given, right in zip(before, after, expected, strict=True):
                known = np.isfinite(theta)
                if not np.array_equal(np.isfinite(given)[known], np.isfinite(right)[known]):
                    return False
                known &= np.isfinite(given)
                if np.any(_errors(theta, given, right)[known] > EXACT):
                    return False
                finite += np.sum(known)
    return finite >= 4


def _compared(step, before, after, expected):
    errors = [_errors(*three) for three in zip(before, after, expected, strict=True)]
    flat = np.concatenate(errors, axis=None)
    worst = max(range(len(errors)), key=lambda i: np.max(errors[i]))
    index = np.unravel_index(np.argmax(errors[worst]), errors[worst].shape)
    moved, right = (float(array[worst][index] - before[worst][index]) for array in (after, expected))
    place = (worst, tuple(map(int, index)), moved, right)
    return StepReport(step, flat.size, int(np.sum(flat > EXACT)), float(np.max(flat)), place)


def _errors(theta, given, right):
    """Return the error of each entry, divided by |θ′ − θ| + 1e-4 max(|θ|, |θ′|) with the formula's θ′.

    With the bound EXACT on this quotient, the second term allows a rounding error of ROUNDING relative to θ. An error
    that is not finite counts as infinite if θ is finite, and as 0 if it is not.
    """
    size = np.maximum(np.abs(theta), np.abs(right))
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.abs(given - right) / (np.abs(right - theta) + ROUNDING / EXACT * size)
    return np.where(np.isfinite(errors), errors, np.where(np.isfinite(theta), np.inf, 0.0))
