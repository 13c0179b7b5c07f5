"""The true gradient at a name: what L = ⟨dy, y⟩ changes by as what the name holds is moved.

By the complex step where the forward pass is complex-safe, and there central differences vouch for it; otherwise by
central differences. The inputs stay where they are; it is the name that moves, and whatever is computed from it
afterwards follows. Names may besides be held: what is then measured is the path past them.
"""

import numpy as np

from gradcheck.central_differences import estimate, line_along, scales_of, step_of
from gradcheck.complex_step import STEP, ComplexStep, NotComplexSafe
from gradcheck.line_by_line.probe import close

MOST = 3000  # entries of which each is moved by itself
EXACT, APPROXIMATE = 1e-9, 2e-6  # to which a gradient is the truth, relative
DIRECTIONS = 2
SMOOTH = 1e-4  # relative: the one-sided derivatives of a smooth function differ by less, as far apart as they are taken


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
        """To what the truth is known, relative."""
        return EXACT if self.step else APPROXIMATE

    def floor(self, array):
        """How large the rounding errors of a gradient of this array may be."""
        size = np.min(scales_of(finite(array))) if np.size(array) else 1.0
        return (1 if self.step else 100) * self.run.rounding / size

    def is_gradient(self, value, at, array, held=None):
        """Whether a value is the true gradient, along random directions; `at` is what `moved` takes."""
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
        """Return (derivative along v at a place, how far it may be from the truth).

        `at` is the key of an Event of forward, or the position of an argument; `held` is {key: what is held there}.
        """
        holding = {key: _holding(value) for key, value in (held or {}).items()}
        if self.step is not None:
            try:
                return self._by_complex_step(at, v, holding), 0.0
            except NotComplexSafe:  # as at a logarithm of what is 0
                self.step = None
        here = estimate(self._line(at, v, holding), self.run.y, self.run.dy, step_of(1.0))
        return here.value, 10 * here.uncertainty

    def is_plain(self, at, array):
        """Whether nothing but the true gradient can be right here: it is known exactly, and there is no kink."""
        if self.step is None:
            return False
        v = self.rng.standard_normal(np.shape(array)) * np.min(scales_of(finite(array)), initial=1.0)
        here = estimate(self._line(at, v, {}), self.run.y, self.run.dy, step_of(1.0))
        size = abs(here.left) + abs(here.right) + here.noise + self.run.rounding
        return bool(abs(here.right - here.left) <= SMOOTH * size + 4 * here.noise)

    def entries(self, at, array, held=None):
        """Return the true gradient, entry by entry; None if there are too many."""
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
        """Whether two gradients of an array are the same."""
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
        """Whether the complex step applies, comes past the same probes, and says what central differences say."""
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
    """Return an array with zeros where it is not finite: a masked score of −∞ stays where it is."""
    array = np.asarray(array, np.float64)
    return np.where(np.isfinite(array), array, 0.0)


def _holding(value):
    """Return what lets a name hold a value, complex where it would be: then so is all that is computed from it."""
    return lambda now: value.astype(np.complex128) if np.iscomplexobj(now) and isinstance(now, np.ndarray) else value
