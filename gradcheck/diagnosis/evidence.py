"""The data that a hypothesis may use: the given and the true gradient, and the arguments of the call."""

import numpy as np

from gradcheck.complex_step import ComplexStep
from gradcheck.contract import arguments_of, gradients_of, run_backward, with_zeros
from gradcheck.judgement import CANNOT_TELL, KINK
from gradcheck.lines.report import joined

HOLDS = 1e-10  # tolerance of the adjoint identity, relative to Σ|dx v|
EXACT = 1e-9  # relative to the largest entry: far above the rounding error of the complex step, far below a mistake
APPROXIMATE = 1e-7  # as EXACT, for central differences
SMALL = 1e-4  # relative to the largest entry: most missing terms and factors are a thousand times as large
FEW = 3  # smallest number of entries that allow a conclusion
NOTHING = 1e-13  # relative to Σ|dy y|: a smaller gradient may be zero up to rounding
REPEATS = 3


class Evidence:
    """The given and the true gradient of one argument."""

    def __init__(self, run, step, findings, position, others, elsewhere):
        finding = findings[position]
        self.run, self.step, self.position = run, step, position
        # The Evidence of all arguments, and a function that returns their Evidence on another draw, or []
        self.others, self.elsewhere = others, elsewhere
        self.name, self.label, self.array = finding.argument.name, finding.argument.label, finding.argument.array
        self.is_wrong, self.given, self.dy, self.y = finding.is_wrong, finding.gradient, run.dy, run.y
        # The truth is NaN at kinks, and at entries that were not compared or are known too imprecisely.
        if finding.exact is not None:
            is_sharp = np.isfinite(finding.exact)
        else:
            largest = np.max(np.abs(finding.numeric), initial=0.0, where=np.isfinite(finding.numeric))
            is_sharp = finding.uncertainty <= 1e-6 * largest
        known = (finding.verdicts != KINK) & (finding.verdicts != CANNOT_TELL) & is_sharp
        truth = np.full(self.given.size, np.nan)
        truth[finding.entries[known]] = finding.truth[known]
        self.truth = truth.reshape(self.given.shape)
        self.known = np.isfinite(self.truth)
        # True if the truth is known at all entries, and at all compared entries
        self.is_complete, self.is_told = bool(self.known.all()), bool(known.all())
        self.size = np.max(np.abs(self.truth[self.known]), initial=0.0)
        uncertainty = finding.uncertainty[known]
        if finding.exact is not None or not len(uncertainty):
            self.resolution = EXACT
        else:
            self.resolution = max(APPROXIMATE, 10 * float(np.max(uncertainty)) / max(self.size, 1e-300))

    @property
    def twin(self):
        """Return the Evidence of the same argument on another draw of the inputs, or None."""
        return self.elsewhere()[self.position] if self.elsewhere() else None

    @property
    def error(self):
        return self.given - self.truth

    @property
    def is_wrong_where_known(self):
        """Return True if a known entry is wrong. Otherwise the kind of the mistake cannot be determined."""
        return bool(np.any(~(np.abs(self.error[self.known]) <= self.resolution * self.size)))

    @property
    def small_share(self):
        """Return the relative size of the largest error, or 0 if it is not small."""
        is_enough = np.sum(np.abs(self.truth[self.known]) > SMALL * self.size) >= FEW
        if not self.is_told or not self.is_wrong_where_known or not is_enough:
            return 0.0
        share = float(np.max(np.abs(self.error[self.known])) / self.size)
        return share if share <= SMALL else 0.0

    def same(self, a, b, where=None):
        """Return True if two arrays are equal, up to the resolution, at the known entries inside the mask `where`.

        Returns False if no known entry is wrong, because any rearrangement of zeros would then explain the mistake.
        """
        mask = self.known if where is None else self.known & where
        if not mask.any() or not self.is_wrong_where_known:
            return False
        a, b = np.broadcast_to(a, self.given.shape)[mask], np.broadcast_to(b, self.given.shape)[mask]
        gap = np.max(np.abs(a - b))
        size = max(np.max(np.abs(a)), np.max(np.abs(b)))
        return bool(gap <= self.resolution * size and gap <= 1e-2 * np.max(np.abs(self.error[mask])))

    def ratio(self, b, a, least=1):
        """Return c if b = c · a at the known entries.

        Returns None if there is no such c, if c is 0 or 1, or if fewer than `least` entries of a exceed a millionth of
        its largest entry.
        """
        known_a, known_b = np.broadcast_to(a, self.given.shape)[self.known], b[self.known]
        square = float(np.dot(known_a, known_a))
        c = float(np.dot(known_a, known_b)) / square if square else 0.0
        enough = np.sum(np.abs(known_a) > 1e-6 * np.max(np.abs(known_a), initial=0.0)) >= least
        is_one = abs(c - 1) <= 10 * self.resolution
        return c if c and np.isfinite(c) and enough and not is_one and self.same(b, c * a) else None

    def wrong(self):
        """Return a boolean array that is True for the entries that are known to be wrong."""
        return self.known & ~(np.abs(self.error) <= 100 * self.resolution * self.size)

    def arrays(self, kinds="f"):
        """Yield (name, array) for the inputs, options and parameters whose `dtype.kind` is one of `kinds`."""
        call = self.run.call
        parameters = [(a.name, a.array) for a in self.run.arguments if a.parameter is not None]
        for name, value in [*zip(call.input_names(), call.inputs, strict=True), *call.options.items(), *parameters]:
            if isinstance(value, np.ndarray) and value.dtype.kind in kinds:
                yield name, value

    def again(self, dy=None, *, array=None, values=None, in_backward_alone=False):
        """Run forward and backward again. Return the gradient, or None if that fails.

        During the run, `array`, which is an input, an option or a parameter, contains `values`. If `in_backward_alone`,
        they are written after the forward pass. A different gradient then shows that backward reads the array itself.
        """
        if array is None:
            return self.gradient_by(None, dy)
        if self.run.call.is_careful or not array.flags.writeable or np.shape(values) != array.shape:
            return None
        before = array.copy()
        try:
            backward = self.run.call.evaluate()[1] if in_backward_alone else None
            array[...] = values
            return self.gradient_by(backward, dy)
        except Exception:  # as in `gradient_by`
            return None
        finally:
            array[...] = before

    def gradient_by(self, backward, dy=None):
        """Run `backward`, by default a new one. Return the gradient, or None on failure."""
        call, arguments = self.run.call, self.run.arguments
        try:
            backward = call.evaluate()[1] if backward is None else backward
            gradients = run_backward(call, backward, (self.dy if dy is None else dy).copy(), arguments)
            return with_zeros(gradients, arguments)[self.position]
        except Exception:  # user code may fail under such a probe, and then there is no evidence
            return None

    def is_right_for(self, call, *, outputs=True, entries=True):
        """Return True if the gradient of this argument is right on another Call.

        The adjoint identity is tested with a new dy. The boolean arrays `outputs` and `entries` restrict the test to
        some entries of y and of the gradient. Returns None if the function raises an exception, or if the gradient is
        zero up to rounding.
        """
        try:
            arguments = arguments_of(call)
            y = np.array(call.evaluate()[0])
            dy = np.where(outputs, stream("dy").standard_normal(y.shape), 0.0)
            given = gradients_of(call, arguments, dy)[self.position]
            v = np.where(entries, stream("direction").standard_normal(given.shape), 0.0)
            exact = float(np.sum(dy * ComplexStep(call, arguments, y).along({self.position: v})))
        except Exception:  # as in `again`; NotComplexSafe is one of them
            return None
        size = float(np.sum(np.abs(given * v)))
        if size <= NOTHING * float(np.sum(np.abs(dy * y))):
            return None
        return bool(abs(np.vdot(given, v) - exact) <= HOLDS * size)

    def exchanged(self):
        """Return Calls with the entries of each float input permuted."""

        def permuted(value, k):
            is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
            return stream(f"exchange {k}").permutation(value.ravel()).reshape(value.shape) if is_float else value

        call = self.run.call
        return [call.on([permuted(value, k) for value in call.inputs]) for k in range(REPEATS)]


def equal(a, b):
    return bool(np.allclose(a, b, rtol=0, atol=1e-12 * np.max(np.abs(b), initial=0.0), equal_nan=True))


def stream(purpose):
    """Return a random generator that is independent of `default_rng(0)`, from which inputs are often drawn."""
    return np.random.default_rng([*b"diagnosis", *purpose.encode()])


def spread(array, shape):
    """Return an array broadcast to a shape, or None if this is impossible."""
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        return None


def listed(indices, n):
    """Describe indices of an axis of length n, as in `index 2 (the last)`, `indices 0 to 3` and `indices 0, 2`."""
    first, last = int(indices[0]), int(indices[-1])
    if len(indices) == 1:
        return f"index {first}" + (" (the last)" if first == n - 1 else " (the first)" if first == 0 else "")
    if last - first + 1 == len(indices):
        return f"indices {first} to {last}"
    return f"indices {', '.join(map(str, indices))}"


def axes_of(axes):
    """Describe axes, as in `axis 1` or `axes 0 and 2`."""
    axes = sorted(axes)
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {joined(map(str, axes))}"
