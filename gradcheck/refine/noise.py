"""Detect errors that are due to rounding or to jumps of the forward pass.

Rounding errors within the forward pass may be larger than the last digit of the output: (10⁵ w)² − 10¹⁰ w² loses ten
digits, a computation in float32 changes in steps of 2⁻²⁴ ≈ 6e-8 of its value, and np.round(y, 2) changes in steps of
0.01. A derivative that is estimated with a short step may then seem precise although it is wrong.

If the output changes in steps, most of its entries stay equal when the argument changes by 2⁻³⁴ of its values. To
measure other errors, the arguments are changed by 2⁻⁴⁶, 2 · 2⁻⁴⁶, … of their values. Over so short a distance the
function is linear, so deviations from a line are rounding errors. If only an intermediate result is computed in
float32, it stays equal over this distance. Fourth differences over a longer distance show its rounding errors, since
these do not fall with the distance as the differences of a smooth function do.

The output of a solver that stops at a tolerance jumps by about this tolerance where the number of iterations changes.
Between the jumps, the derivative of the output is that of the iterations, whereas the backward pass computes that of
the exact solution. Fourth differences along a line find such a jump, and finer ones distinguish it from a kink.
"""

from contextlib import suppress
from typing import NamedTuple

import numpy as np

from gradcheck.central_differences import EPSILON, RELATIVE_STEP, displaced, estimate, step_of
from gradcheck.complex_step import NotComplexSafe
from gradcheck.judgement import CANNOT_TELL, WRONG

STEPS = 2.0**-24
NEAR = STEPS / 1024
LADDER = 16  # number of perturbations; each is four times the previous one, from NEAR to 1/16
SHORT, PLACES = 2.0**-46, 5
LONGER = 16  # factor of the step where the output changes in steps
DISTANCES, POINTS = (2.0**-18, 2.0**-21), 20  # distances and number of points that show rounding to float32
SPACING, WIDTH, MOST = 2.0**-7, 100, 3  # of the search for a jump: of the points, points on each side, outputs tried
LEVELS, FINER = 6, 8  # of the search near a point: number of spacings, and their ratio
CLEAR = 30  # ratio of a fourth difference at a jump to the median one
SMALL = 1e-4  # relative to the output: largest jump or rounding error
TIMES = 100  # relative to the jump: largest error that it explains


class _Noise(NamedTuple):
    error: float  # of the loss
    reason: str  # a sentence for the report
    is_everywhere: bool = False  # True if no entry can be judged by short steps, also if it seemed right
    is_jump: bool = False  # True if the output jumps at some places only


def withdraw_noisy(finding, first):
    """Withdraw verdicts of WRONG that noise in the forward pass may explain.

    An error e of the output causes an error of Σ|dy e| / h in a difference with step h. Therefore the gradient is
    compared with `first`, the estimates with the longest steps, or with estimates at even longer steps. The complex
    step does not include steps or jumps of the output, so NotComplexSafe is raised if they are found while it is in
    use.
    """
    if not finding.is_wrong and not np.isinf(finding.uncertainty).any():
        return
    noise, length = _step_noise(finding), 1.0
    if noise is None:
        noise = _rounding_noise(finding, first)
    elif finding.step is not None:
        raise NotComplexSafe(noise.reason)
    else:
        first, length = _with_longer_steps(finding, first, noise.error)
    uncertainty = 4 * noise.error / (RELATIVE_STEP * length * finding.scales)
    judged = (finding.verdicts == WRONG) | noise.is_everywhere
    is_open = judged & (np.abs(finding.analytic - first) <= uncertainty)
    if not noise.is_everywhere and not is_open.any():
        return
    if noise.is_jump and finding.step is not None:
        raise NotComplexSafe(noise.reason)
    finding.verdicts = np.where(is_open, CANNOT_TELL, np.where(judged, WRONG, finding.verdicts))
    finding.numeric = np.where(judged, first, finding.numeric)
    finding.uncertainty = np.where(judged, uncertainty, finding.uncertainty)
    finding.doubt = noise.reason


def _step_noise(finding):
    """Estimate the noise of an output that changes in steps, or return None."""
    run = finding.run
    steps = steps_of(moved([finding.array], lambda: run.call.evaluate()[0]))
    if steps is None:
        return None
    size = np.max(steps / np.maximum(np.abs(run.y), np.finfo(float).tiny))
    reason = f"the forward pass is step-wise: the output changes in steps of {np.max(steps):.1g}"
    if STEPS / 8 < size < 8 * STEPS:
        reason = "the output changes in steps of 6e-8 of its value, as if part of it were computed in float32"
    return _Noise(float(np.sum(np.abs(run.dy) * steps)), reason, is_everywhere=True)


def _rounding_noise(finding, first):
    """Estimate the rounding errors of the forward pass, or the size of its jumps."""
    run = finding.run
    forward = moved([argument.array for argument in run.arguments], lambda: run.call.evaluate()[0])
    outputs = np.stack([forward(k * SHORT) for k in range(PLACES)])
    error = float(np.sum(np.abs(run.dy) * np.max(np.abs(np.diff(outputs, 2, axis=0)), axis=0)))
    single, size = _float32_noise(forward, run.dy), float(np.sum(np.abs(run.dy * run.y)))
    if 100 * (error + EPSILON * size) < single < SMALL * size:
        reason = f"the loss jumps by about {single:.1g}, as if part of it were computed in float32"
        return _Noise(2 * single, reason, is_everywhere=True)
    wrong, weight = finding.verdicts == WRONG, TIMES * float(np.sum(np.abs(run.dy)))
    largest = 8 * weight * SMALL * np.max(np.abs(run.y), initial=0) / finding.scales[wrong]
    is_small = np.all(np.abs(finding.analytic - first)[wrong] <= largest)  # so that a small jump may explain it
    if is_small and (jump := _jump(forward, run.y)):
        reason = f"the forward pass is step-wise: the output jumps by {jump:.1g}, as if a solver stopped early"
        return _Noise(RELATIVE_STEP * weight * jump, reason, is_jump=True)
    return _Noise(error, f"rounding errors within the forward pass are as large as {error:.1g} in the loss")


def _with_longer_steps(finding, first, error):
    """Estimate the derivatives again with steps that are LONGER times as long.

    Longer steps reduce the effect of `error`, the amount by which the loss jumps. An estimate replaces that in `first`
    only if an estimate with a step four times longer agrees with it, because curvature would affect the latter 256
    times as much. Returns the estimates, and the length of each step relative to the usual one.
    """
    numeric, length = first.copy(), np.ones(len(first))
    for k, scale in enumerate(finding.scales):
        with suppress(Exception):  # user code may fail at perturbed inputs
            steps = step_of(scale, LONGER), step_of(scale, 4 * LONGER)
            a, b = (estimate(finding.line(k), finding.run.y, finding.run.dy, h).value for h in steps)
            if abs(a - b) <= 4 * error / (RELATIVE_STEP * LONGER * scale):
                numeric[k], length[k] = a, LONGER
    return numeric, length


def steps_of(forward):
    """Measure the steps in which the outputs change, or return None if they are smooth.

    The arguments are changed by ever larger amounts, and the first non-zero change of an output is the height of its
    steps. A smooth output already changes with the smallest amount, by about its last digit. `forward` is a function
    from `moved`.
    """
    here = forward(0.0)
    first, moved_at_once = np.zeros(here.shape), np.zeros(here.shape, bool)
    with np.errstate(all="ignore"), suppress(Exception):  # user code may fail at perturbed inputs
        for k in range(LADDER):
            change = np.abs(forward(NEAR * 4.0**k) - here)
            first = np.where((first == 0) & np.isfinite(change), change, first)
            if k == 0:
                moved_at_once = first > 0
    live = first > 0
    if not live.any():
        return None
    is_coarse = first >= 2.0**-30 * np.abs(here)
    return first if np.mean((~moved_at_once & is_coarse)[live]) > 0.5 else None


def _float32_noise(forward, dy):
    """Estimate the standard deviation of the loss's rounding errors (0 if it is smooth)."""
    errors = []
    for distance in DISTANCES:
        losses = [float(np.sum(dy * forward(k * distance))) for k in range(POINTS)]
        errors.append(float(np.sqrt(np.mean(np.diff(losses, 4) ** 2) / 70)))  # 1 + 16 + 36 + 16 + 1
    return max(errors) if errors[1] > errors[0] / 4 else 0.0


def _jump(forward, y):
    """Return the size of the largest small jump of an output nearby, or 0."""
    at, jumps = SPACING * np.arange(-WIDTH, WIDTH + 1), [0.0]
    bends = _differences(_outputs(forward, at, y.size), 4)
    with np.errstate(invalid="ignore"):  # an output that is always 0 gives 0 / 0
        clear = np.max(bends, axis=0) / (np.median(bends, axis=0) + EPSILON * np.abs(y).ravel())
    for i in (i for i in np.argsort(-clear)[:MOST] if clear[i] > CLEAR):
        center, spacing = at[np.argmax(bends[:, i]) + 2], SPACING
        for _ in range(LEVELS):
            spacing /= FINER
            near = center + spacing * np.arange(-3 * FINER, 3 * FINER + 1)
            here = _outputs(forward, near, y.size)[:, i]
            center = near[np.argmax(_differences(here, 4)) + 2]
        jump, limit = np.max(_differences(here, 2)), SMALL * (np.abs(y.flat[i]) + np.mean(np.abs(y)))
        if np.max(bends[:, i]) / 8 <= jump <= limit:  # at a kink, it shrinks with the spacing
            jumps.append(float(jump))
    return max(jumps)


def _outputs(forward, at, size):
    outputs = np.full((len(at), size), np.nan)
    for row, t in zip(outputs, at, strict=True):
        with np.errstate(all="ignore"), suppress(Exception):  # user code may fail at perturbed inputs
            row[:] = forward(t).ravel()
    return outputs


def _differences(outputs, order):
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.abs(np.diff(outputs, order, axis=0)), nan=0.0, posinf=0.0)


def moved(arrays, evaluate):
    """Return a function f(t) that evaluates the target with perturbed arrays.

    Each entry x becomes x (1 + c t), with a random factor c between 0.5 and 1.
    """
    rng = np.random.default_rng([*b"single precision"])
    by = [rng.uniform(0.5, 1.0, array.shape) for array in arrays]

    def function(t):
        with displaced(arrays, [array * (1 + t * factor) for array, factor in zip(arrays, by, strict=True)]):
            return np.array(evaluate())

    return function
