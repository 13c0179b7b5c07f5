"""Compute a derivative with three methods and many steps, and with backward.

Perturb all inputs (and parameters) of a function by t along a random direction v, and let L(t) = ⟨dy, y(x + t v)⟩. The
backward pass gives L′(0) = ⟨dx, v⟩. Three numerical methods give L′(0) with different errors:

    forward differences    (L(h) − L(0)) / h           = L′ + h/2 · L″ + …           (1)
    central differences    (L(h) − L(−h)) / 2h         = L′ + h²/6 · L‴ + …          (2)
    the complex step       Im L(x + i h v) / h         = L′ − h²/6 · L‴ + …          (3)
"""

import difflib
import math
from dataclasses import dataclass

import numpy as np

from gradcheck.call import prepared
from gradcheck.central_differences import displaced
from gradcheck.complex_step import ComplexStep, NotComplexSafe
from gradcheck.contract import run_under_watch
from gradcheck.judgement import KINK, RIGHT, WRONG
from gradcheck.refine.one_derivative import estimates, judge
from gradcheck.report import fault

STEPS = np.logspace(-1, -16, 61)
AGREES = 1e-6  # the relative error that is allowed, as in gradcheck.check
FORWARD, CENTRAL, COMPLEX = "forward differences", "central differences", "complex step"


@dataclass(frozen=True)
class Curve:
    """Numerical derivatives along one direction, for each method and each of STEPS."""

    name: str
    argument: str  # the name of the perturbed argument, or "all arguments"
    derivatives: dict  # {method: array of the derivatives at each of STEPS}
    analytic: float  # the derivative ⟨dx, v⟩ of backward
    verdict: str  # "right", "wrong", "at a kink" or "cannot tell" (gradcheck/refine/one_derivative.py)
    numeric: float  # the derivative that the verdict is based on
    slopes: tuple  # the derivatives to the left and to the right
    obstacle: str | None = None  # the reason why the complex step is missing, or None

    @property
    def size(self):
        """The magnitude of the derivative, to which errors are relative."""
        return max(np.finfo(np.float64).tiny, *(abs(v) for v in (self.analytic, self.numeric) if math.isfinite(v)))

    def error(self, method):
        return np.abs(self.derivatives[method] - self.analytic) / self.size

    def best(self, method):
        """Return the smallest error of a method, and the step at which it occurs."""
        error = self.error(method)
        i = int(np.argmin(np.where(np.isfinite(error), error, np.inf)))
        return float(error[i]), float(STEPS[i])

    @property
    def height(self):
        """The relative difference between backward and the numerical derivative."""
        return abs(self.numeric - self.analytic) / self.size

    @property
    def notes(self):
        """The verdict in words, after the reason why there is no complex step, if there is none."""
        both = f"backward gives {self.analytic:.6g}, central differences {self.numeric:.6g}"
        if self.verdict == RIGHT:
            lowest, step = self.best(CENTRAL)
            words = f"Right along this direction: central differences come as close as {lowest:.0e}, at h = {step:.0e}."
        elif self.verdict == WRONG and math.isfinite(self.analytic):
            words = f"Wrong: a flat line at {self.height:.1e}, whatever the method and the step: {both}."
        elif self.verdict == WRONG:
            words = f"Wrong: {both}."
        elif self.verdict == KINK:
            left, right = self.slopes
            words = (
                f"At a kink: the slope is {left:.6g} to the left, {right:.6g} to the right, and backward gives "
                f"{self.analytic:.6g}. One direction cannot decide; gradcheck.check examines each entry."
            )
        else:
            words = f"Cannot tell: rounding errors hide both the valley and the flat line: {both}."
        obstacle = [f"No complex step: the forward pass is not complex-safe ({self.obstacle})."]
        return [*(obstacle if self.obstacle else ()), words]

    def slope(self, method):
        """Return the exponent p of a method's truncation error ∝ hᵖ, or None."""
        window = (STEPS <= 0.03) & (STEPS >= 1e-3)
        best = self.derivatives[COMPLEX][-1] if COMPLEX in self.derivatives else self.numeric
        distance = np.abs(self.derivatives[method] - best)[window]
        if self.verdict == KINK or not np.all(distance > 0):
            return None
        x, y = np.log10(STEPS[window]), np.log10(distance)
        power, height = np.polyfit(x, y, 1)
        is_straight = np.max(np.abs(y - power * x - height)) < 0.2  # otherwise it is rounding, or a kink is near
        return float(power) if is_straight and power > 0.5 else None


def measure(call, argument=None, seed=0):
    """Return the Curve of a Call along a random direction.

    The direction goes through the argument of the given name, or through all arguments. Raises ValueError for an
    unknown argument, and the same exceptions as `gradcheck.check`.
    """
    call, rng = call.copy(), np.random.default_rng([seed, 1])
    with prepared(call), np.errstate(all="ignore"):
        run = run_under_watch(call, None, rng)
        if run.problem:
            raise fault(call.name, run.problem)
        names = [a.name for a in run.arguments]
        if argument is not None and argument not in names:
            near = difflib.get_close_matches(argument, names, n=1, cutoff=0.0)[0]
            raise ValueError(f"{call.name} has no argument {argument!r}; the nearest is {near!r}")
        chosen = [i for i, name in enumerate(names) if argument in (None, name)]
        drawn = {i: rng.standard_normal(run.arguments[i].array.shape) for i in chosen}
        length = math.sqrt(sum(np.vdot(v, v) for v in drawn.values()))
        direction = {i: v / length for i, v in drawn.items()}
        claim = float(sum(np.vdot(run.gradients[i], v) for i, v in direction.items()))
        arrays = [run.arguments[i].array for i in direction]

        def line(t):
            with displaced(arrays, [array + t * v for array, v in zip(arrays, direction.values(), strict=True)]):
                return np.array(call.evaluate()[0])

        seen = list(estimates(line, run.y, run.dy, 1.0))
        verdict, numeric, uncertainty = judge(claim, seen, AGREES, run.rounding, is_one_entry=False)
        slopes = seen[1].left, seen[1].right
        ahead, behind = (np.array([np.sum(run.dy * line(side * h)) for h in STEPS]) for side in (1, -1))
        forward, central = (ahead - np.sum(run.dy * run.y)) / STEPS, (ahead - behind) / (2 * STEPS)  # (1) (2)
        derivatives = {FORWARD: forward, CENTRAL: central}
        obstacle, step = None, ComplexStep(call, run.arguments, run.y)
        try:
            by_complex = np.array([np.sum(run.dy * step.output(direction, h).imag) for h in STEPS]) / STEPS  # (3)
            exact, gap = by_complex[-1], np.min(np.abs(by_complex[-1] - np.array([numeric, *slopes])))
            if gap <= 1e-5 * max(abs(exact), abs(numeric)) + 10 * uncertainty:  # at a kink it gives one of the slopes
                derivatives[COMPLEX] = by_complex
            else:
                obstacle = f"complex numbers give {exact:.6g}, central differences {numeric:.6g}"
        except NotComplexSafe as reason:
            obstacle = str(reason)
    return Curve(call.name, argument or "all arguments", derivatives, claim, verdict, numeric, slopes, obstacle)
