"""The true gradient at a name: the derivative of L = ⟨dy, y⟩ with respect to its value.

It is computed by the complex step if the forward pass is complex-safe, which central differences verify, and otherwise
by central differences. The inputs are not changed. The value of the name is perturbed, and everything computed from it
changes accordingly. Other names may be held constant; the result is then the gradient along the paths that avoid them.
"""

import numpy as np

from gradcheck.central_differences import estimate, line_along, scales_of, step_of
from gradcheck.complex_step import STEP, ComplexStep, NotComplexSafe
from gradcheck.lines.probe import close

MOST = 3000  # entries, each of which is perturbed separately
EXACT, APPROXIMATE = 1e-9, 2e-6  # relative errors of a gradient that counts as true
DIRECTIONS = 2
SMOOTH = 1e-4  # bound on the relative difference of the one-sided derivatives of a smooth function


class Truth:
    """The true gradients at the names of a Run's forward pass, under a Probe."""

    def __init__(self, run, probe, forward, rng):
        self.run, self.probe, self.rng = run, probe, rng
        self.step = ComplexStep(run.call, run.arguments, run.y)
        self.known = {}
        if not self._is_complex_safe({event.key for event in forward}):
            self.step = None

    @property
    def resolution(self):
        """Return the relative error of the true gradients."""
        return EXACT if self.step else APPROXIMATE

    def floor(self, array):
        """Return the largest rounding error of a gradient of this array."""
        size = np.min(scales_of(finite(array))) if np.size(array) else 1.0
        return (1 if self.step else 100) * self.run.rounding / size

    def is_gradient(self, value, at, array, held=None):
        """Return True if a value is the true gradient, along random directions.

        `at` and `held` are those of `along`.
        """
        original, array = array, finite(array)
        if np.shape(value) != array.shape or not np.all(np.isfinite(value)):
            return False
        for _ in range(DIRECTIONS):
            v = self.rng.standard_normal(array.shape) * (np.min(scales_of(array)) if array.size else 1.0)
            v = np.where(np.isfinite(original), v, 0.0)
            exact, doubt = self.along(at, v, held)
            size = float(np.sum(np.abs(value * v))) + abs(exact)
            if not abs(float(np.sum(value * v)) - exact) <= self.resolution * size + doubt + self._drowned(v, array):
                return False
        return True

    def along(self, at, v, held=None):
        """Return (derivative along v at a place, its uncertainty).

        `at` is the key of an Event of forward, or the position of an argument; `held` is {key: constant value}.
        """
        holding = {key: _holding(value) for key, value in (held or {}).items()}
        if self.step is not None:
            try:
                return self._by_complex_step(at, v, holding), 0.0
            except NotComplexSafe:  # for example at log(0)
                self.step = None
        here = estimate(self._line(at, v, holding), self.run.y, self.run.dy, step_of(1.0))
        return here.value, 10 * here.uncertainty

    def is_plain(self, at, array):
        """Return True if the gradient is known exactly and there is no kink.

        Then only the true gradient can be right.
        """
        if self.step is None:
            return False
        v = self.rng.standard_normal(np.shape(array)) * np.min(scales_of(finite(array)), initial=1.0)
        here = estimate(self._line(at, v, {}), self.run.y, self.run.dy, step_of(1.0))
        size = abs(here.left) + abs(here.right) + here.noise + self.run.rounding
        return bool(abs(here.right - here.left) <= SMOOTH * size + 4 * here.noise)

    def entries(self, at, array, held=None):
        """Return the true gradient, entry by entry, or None if there are too many."""
        original, array = np.asarray(array), finite(array)
        if array.size > MOST:
            return None
        key = at, tuple(sorted(held or {}))
        if key not in self.known:
            gradient, scales = np.zeros(array.shape), scales_of(array)
            for index in map(tuple, np.argwhere(np.isfinite(original))):
                v = np.zeros(array.shape)
                v[index] = scales[index]
                gradient[index] = self.along(at, v, held)[0] / scales[index]
            self.known[key] = gradient
        return self.known[key]

    def same(self, a, b, array):
        """Return True if two gradients of an array are equal up to their errors."""
        return close(a, b, self.resolution, self.floor(array))

    def _by_complex_step(self, at, v, holding):
        """Return the derivative along v. Raises NotComplexSafe."""
        if isinstance(at, int):
            with self.probe.changing(holding):
                return float(np.sum(self.run.dy * self.step.along({at: v})))
        with self.probe.changing(holding | {at: lambda value: value + 1j * STEP * v}):
            return float(np.sum(self.run.dy * self.step.along({})))

    def _drowned(self, v, array):
        return self.floor(array) * float(np.sum(np.abs(v)))

    def _line(self, at, v, holding):
        if isinstance(at, int):
            moving = line_along(self.run.call, self.run.arguments[at].array, v)

            def line(t):
                with self.probe.changing(holding):
                    return moving(t)

            return line

        def line(t):
            with self.probe.changing(holding | {at: lambda value: value + t * v}):
                return np.array(self.run.call.evaluate()[0], np.float64)

        return line

    def _is_complex_safe(self, keys):
        """Return True if the complex step applies and agrees with central differences.

        Its forward pass must also call the same probes.
        """
        try:
            with self.probe.recording({}) as events:
                self.step.along({})
            if {event.key for event in events} != keys:
                return False
            for i, argument in enumerate(self.run.arguments):
                if argument.array.size:
                    v = self.rng.standard_normal(argument.array.shape) * np.min(scales_of(argument.array))
                    exact = float(np.sum(self.run.dy * self.step.along({i: v})))
                    by_differences = estimate(self._line(i, v, {}), self.run.y, self.run.dy, step_of(1.0))
                    if np.isfinite(by_differences.uncertainty) and not by_differences.allows(exact):
                        return False
        except NotComplexSafe:
            return False
        return True


def finite(array):
    """Return an array with zeros in place of infinite values, such as masked scores."""
    array = np.asarray(array, np.float64)
    return np.where(np.isfinite(array), array, 0.0)


def _holding(value):
    """Return a function that holds a name at a value.

    The result is complex if the name's value would be, so that later results are complex too.
    """
    return lambda now: value.astype(np.complex128) if np.iscomplexobj(now) and isinstance(now, np.ndarray) else value
