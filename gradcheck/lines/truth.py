"""Compute the true gradient of a local variable.

This is the derivative of L = ⟨dy, y⟩ with respect to the variable, which is perturbed during the forward pass. The
complex step is used if a test shows that the forward pass is complex-safe, and central differences otherwise. If other
values are held constant, the result is the gradient along the paths that do not pass through them.
"""

import numpy as np

from gradcheck.central_differences import estimate, line_along, scales_of, step_of
from gradcheck.complex_step import ComplexStep, NotComplexSafe, perturbed, slope
from gradcheck.lines.instrument import OUTPUT, close, is_real_array

MOST = 3000  # largest number of entries; each is perturbed separately
EXACT, APPROXIMATE = 1e-9, 2e-6  # allowed relative error if the complex step applies, and if not
DIRECTIONS = 2


class Truth:
    """Derivatives of L = ⟨dy, y⟩ with respect to inputs and to values of the forward pass.

    In the methods, `at` identifies a value, by the position of an argument or the key of an Event (instrument.py).
    `array` is this value. `held` maps the keys of other values to the values at which they are held constant.
    """

    def __init__(self, run, probe, forward, rng):
        self.run, self.probe, self.rng, self.known = run, probe, rng, {}
        self.step = ComplexStep(run.call, run.arguments, run.y)
        if not self._is_complex_safe({event.key for event in forward}):
            self.step = None

    def same(self, a, b, array):
        return close(a, b, EXACT if self.step else APPROXIMATE, self._floor(array))

    def _floor(self, array):
        return (1 if self.step else 100) * self.run.rounding / _scale(array)

    def is_gradient(self, value, at, array, held=None):
        """Return True if `value` agrees with the true gradient along random directions."""
        if not is_real_array(value) or np.shape(value) != np.shape(array) or not np.all(np.isfinite(value)):
            return False
        for _ in range(DIRECTIONS):
            v = np.where(np.isfinite(array), self.rng.standard_normal(np.shape(array)), 0.0)
            exact, doubt = self.along(at, array, v, held)
            size = float(np.sum(np.abs(value * v))) + abs(exact)
            allowed = (EXACT if self.step else APPROXIMATE) * size + self._floor(array) * float(np.sum(np.abs(v)))
            if not abs(float(np.sum(value * v)) - exact) <= allowed + doubt:
                return False
        return True

    def entries(self, at, array):
        """Compute the true gradient entry by entry. Return None if the array has too many entries."""
        if np.size(array) <= MOST and at not in self.known:
            self.known[at] = np.zeros(np.shape(array))
            for index in map(tuple, np.argwhere(np.isfinite(array))):
                v = np.zeros(np.shape(array))
                v[index] = 1.0
                self.known[at][index] = self.along(at, array, v)[0]
        return self.known.get(at)

    def along(self, at, array, v, held=None):
        """Return the derivative of L in the direction `v`, and its uncertainty."""
        try:
            return self.slopes(at, array, v, held, is_recorded=False)[:2]
        except NotComplexSafe:  # for example at log(0)
            self.step = None
            return self.slopes(at, array, v, held)[:2]

    def slopes(self, at, array, v, held=None, is_recorded=True):
        """Return the derivatives of L and of all recorded values in the direction `v`.

        The result is (derivative of L, its uncertainty, {key of an Event: derivative}).
        """
        self.run.call.keep_to_time()
        changes = {key: _holding(value) for key, value in (held or {}).items()}
        if self.step is None:
            return self._by_differences(at, array, v, changes)
        if not isinstance(at, int):
            changes[at] = lambda value: perturbed(value, v)
        with self.probe.running(changes, is_recorded=is_recorded) as events:
            y = self.step.along({at: v} if isinstance(at, int) else {})
        numbers = [e for e in events or () if isinstance(e.value, (np.ndarray, np.inexact, float, complex))]
        slopes = {e.key: slope(e.value) for e in numbers} | {(OUTPUT, 0): y}
        return float(np.sum(self.run.dy * y)), 0.0, slopes

    def _by_differences(self, at, array, v, changes=()):
        h, points = step_of(_scale(array)), {}
        if isinstance(at, int):
            output = line_along(self.run.call, self.run.arguments[at].array, v)

        def line(t):
            moved = {} if isinstance(at, int) else {at: lambda value: value + t * v}
            with self.probe.running({**dict(changes), **moved}) as events:
                y = output(t) if isinstance(at, int) else np.array(self.run.call.evaluate()[0], np.float64)
            points[t] = {e.key: np.asarray(e.value) for e in events if is_real_array(e.value)} | {(OUTPUT, 0): y}
            return y

        here = estimate(line, self.run.y, self.run.dy, h)
        slopes = {}
        for key, value in points[h].items():
            others = [points[t].get(key) for t in (-h, 2 * h, -2 * h)]
            if all(np.shape(other) == value.shape for other in others):
                with np.errstate(all="ignore"):
                    slopes[key] = (8 * (value - others[0]) - (others[1] - others[2])) / (12 * h)
        return here.value, 10 * here.uncertainty, slopes

    def _is_complex_safe(self, keys):
        """Return True if the complex step is reliable for this forward pass.

        A run with complex numbers must record the same `keys` as a real one, and its derivatives must agree with
        differences.
        """
        try:
            with self.probe.running({}) as events:
                self.step.along({})
            if {event.key for event in events} != keys:
                return False
            for i, argument in enumerate(self.run.arguments):
                v = self.rng.standard_normal(argument.array.shape)
                value, doubt, _ = self._by_differences(i, argument.array, v)
                gap = abs(value - self.slopes(i, argument.array, v)[0])
                if np.isfinite(doubt) and gap > doubt + APPROXIMATE * abs(value) + self.run.rounding:
                    return False
        except NotComplexSafe:
            return False
        return True


def _scale(array):
    """Return the smallest scale of the finite entries of an array."""
    array = np.asarray(array, np.float64)
    return np.min(scales_of(np.where(np.isfinite(array), array, 0.0))) if array.size else 1.0


def _holding(value):
    return lambda now: value.astype(np.complex128) if np.iscomplexobj(now) and isinstance(now, np.ndarray) else value
