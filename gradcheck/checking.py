"""Compare every gradient that a backward pass returns with central differences: `check` and `check_module`.

The order is: refuse what cannot be checked; run forward and backward under watch (contract.py); differentiate
L = ⟨dy, y⟩ along one entry after the other (central_differences.py), and judge (judgement.py). Bad use raises TypeError
or ValueError; a wrong gradient, or a backward pass that is at fault in another way, raises GradientError.
"""

import math

import numpy as np

from gradcheck.call import Call, is_module
from gradcheck.central_differences import estimates
from gradcheck.contract import arguments_of, run
from gradcheck.judgement import KINK, WRONG, judge
from gradcheck.parameters import borrowed, randomize_parameters, to_float64
from gradcheck.report import ArgumentReport, GradientError, Report

MAX_ENTRIES = 2000


def check(function, /, *inputs, dy=None, rtol=1e-6, atol=1e-8, seed=0, max_entries=MAX_ENTRIES, **options):
    """Check the gradients of a differentiable function. Returns a Report; raises GradientError if any is wrong.

    `function(*inputs, **options)` returns (y, backward), y a float64 array or number, and backward(dy) returns one
    gradient for each floating-point array among `inputs`, in order; a single one bare. Each entry a of each gradient
    is compared with the central difference n of L = ⟨dy, y⟩, and is right if |a − n| ≤ atol + rtol |n|.

    `dy`, of y's shape, is drawn from the standard normal distribution unless given. `seed` decides all that is random.
    Of an input with more than `max_entries` entries, that many are sampled, and the rest checked together by one
    random direction through all of them.

    An option of the function that has one of these names is bound beforehand: `functools.partial(function, seed=3)`.
    A random generator among inputs or options is copied before each evaluation, so that dropout repeats itself.

    Raises TypeError or ValueError where a check would mean nothing: float32 inputs, constant `dy`, nothing to
    differentiate, a function that does not repeat itself.
    """
    call = Call(function, *inputs, **options)
    if is_module(function):
        raise TypeError(f"{call.name} has parameters, whose gradients check() would not see: use check_module()")
    return check_call(call, dy=dy, rtol=rtol, atol=atol, seed=seed, max_entries=max_entries)


def check_module(
    module, /, *inputs, dy=None, rtol=1e-6, atol=1e-8, seed=0, max_entries=MAX_ENTRIES, randomize=True, **options
):
    """Check the gradients of a module: those of every input and of every parameter. Otherwise like `check`.

    `module(*inputs, **options)` returns (y, backward), and `module.named_parameters()` yields (name, parameter) with
    `parameter.data`, `parameter.grad` and, if it can be frozen, `parameter.requires_grad`. backward(dy) returns the
    inputs' gradients (None if no input has one) and leaves the parameters' in `.grad`. A method of
    a module will do too.

    During the check every parameter is float64 and requires its gradient. Its values are random, as by
    `randomize_parameters`, since those that it starts from hide bugs (at γ = 1 a layer norm with γ in the wrong place
    looks right); `randomize=False` checks at the module's own. Afterwards, also after an exception, data, gradients
    and flags are what they were.
    """
    call = Call(module, *inputs, **options)
    if not is_module(module):
        raise TypeError(f"{call.name} has no named_parameters(), so it is not a module: use check()")
    return check_call(call, dy=dy, rtol=rtol, atol=atol, seed=seed, max_entries=max_entries, randomize=randomize)


def check_call(call, *, dy=None, rtol=1e-6, atol=1e-8, seed=0, max_entries=MAX_ENTRIES, randomize=False):
    """Check a Call, of a function or of a module alike: what `check` and `check_module` share."""
    if not (rtol >= 0 and atol >= 0):
        raise ValueError(f"rtol and atol must not be negative: {rtol}, {atol}")
    if max_entries < 1:
        raise ValueError(f"max_entries must be at least 1, not {max_entries}")
    call = call.copy()
    with borrowed(call.target):
        to_float64(call.target)
        if randomize:
            randomize_parameters(call.target, _stream(seed, "parameters"))
        arguments = arguments_of(call)
        y, dy, gradients = run(call, arguments, dy, _stream(seed, "dy"))
        comparison = _Comparison(call, y, dy, rtol, atol, max_entries, _stream(seed, "entries"))
        report = Report(call.name, tuple(map(comparison.report, arguments, gradients)))
    if not report.is_right:
        raise GradientError(report)
    return report


class _Comparison:
    """Backward's gradients against central differences, for one run of a call."""

    def __init__(self, call, y, dy, rtol, atol, max_entries, rng):
        self.call = call
        self.y = y
        self.dy = dy
        self.rtol = rtol
        self.atol = atol
        self.max_entries = max_entries
        self.rng = rng

    def report(self, argument, gradient):
        """Compare one gradient, entry by entry, and return its ArgumentReport."""
        array = argument.array
        missing = gradient is None
        if missing:
            gradient = np.zeros(array.shape)
        scales = _scales(array)
        complete = array.size <= self.max_entries
        if complete:
            entries = np.arange(array.size)
        else:
            entries = np.sort(self.rng.choice(array.size, self.max_entries, replace=False))
        analytic = gradient.ravel()[entries]
        verdicts, numeric = self._judge_entries(array, entries, analytic, scales.ravel()[entries])
        direction, direction_disagrees = None, False
        if not complete:
            direction, direction_disagrees = self._judge_direction(array, gradient, scales)
        return ArgumentReport(
            name=argument.name,
            label=argument.label,
            shape=array.shape,
            entries=len(entries),
            disagree=verdicts.count(WRONG),
            at_kink=verdicts.count(KINK),
            direction=direction,
            direction_disagrees=direction_disagrees,
            missing=missing,
            **self._worst(array.shape, entries, analytic, numeric, verdicts),
        )

    def _judge_entries(self, array, entries, analytic, scales):
        verdicts, numeric = [], []
        for i, a, scale in zip(entries.tolist(), analytic.tolist(), scales.tolist(), strict=True):
            line = self._along_entry(array, np.unravel_index(i, array.shape))
            verdict, n = judge(a, estimates(line, self.y, self.dy, scale), self.rtol, self.atol)
            verdicts.append(verdict)
            numeric.append(n)
        return verdicts, np.array(numeric)

    def _judge_direction(self, array, gradient, scales):
        """Compare the derivative along one random direction v through the whole argument.

        The entries' tolerances add up in quadrature, as independent errors do: ‖(atol + rtol |dx|) v‖.
        """
        v = scales * self.rng.standard_normal(array.shape)
        analytic = float(np.vdot(gradient, v))
        tolerance = float(np.linalg.norm((self.atol + self.rtol * np.abs(gradient)) * v))
        line = self._along_direction(array, v)
        verdict, numeric = judge(analytic, estimates(line, self.y, self.dy, 1.0), 0.0, tolerance)
        return (analytic, numeric), verdict == WRONG

    def _along_entry(self, array, index):
        """Return the output as a function of a move t of one entry."""
        here = float(array[index])

        def line(t):
            array[index] = here + t
            try:
                return self._output()
            finally:
                array[index] = here

        return line

    def _along_direction(self, array, v):
        """Return the output as a function of a move t v of the whole array."""
        here = array.copy()

        def line(t):
            array[...] = here + t * v
            try:
                return self._output()
            finally:
                array[...] = here

        return line

    def _output(self):
        return np.array(self.call.evaluate()[0], dtype=np.float64)  # a copy: y may be the very array that moves

    def _worst(self, shape, entries, analytic, numeric, verdicts):
        """Find the largest errors, and the entry that takes up the most of its tolerance, kinks left out.

        The relative error is |a − n| / (|n| + atol / rtol): it is the usual one where n matters, does not explode where
        the true gradient is zero, and must not exceed rtol.
        """
        counted = np.array([verdict != KINK for verdict in verdicts], dtype=bool)
        if not counted.any():
            return {}
        error = np.where(counted, np.abs(analytic - numeric), 0.0)
        error[np.isnan(error)] = math.inf
        size = np.abs(numeric) + (self.atol / self.rtol if self.rtol else 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(error == 0, 0.0, error / size)
        relative[np.isnan(relative)] = math.inf
        worst = int(np.argmax(np.where(counted, relative, -1.0)))
        return {
            "worst_index": tuple(int(i) for i in np.unravel_index(entries[worst], shape)),
            "analytic": float(analytic[worst]),
            "numeric": float(numeric[worst]),
            "worst_absolute": float(error.max()),
            "worst_relative": float(relative.max()),
        }


def _scales(array):
    """The length over which each entry matters, a power of two: its own size, or the array's mean if that is larger."""
    size = np.maximum(np.abs(array), np.mean(np.abs(array))) if array.size else np.abs(array)
    return np.where(size > 0, np.exp2(np.ceil(np.log2(np.where(size > 0, size, 1.0)))), 1.0)


def _stream(seed, purpose):
    """A random stream for one purpose: inputs drawn from `default_rng(seed)` must not reappear as dy."""
    return np.random.default_rng([seed, *purpose.encode()])
