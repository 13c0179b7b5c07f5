"""`certify` and `same`: decide whether two formulas are identical, without a tolerance.

For a backward pass the formulas are the two sides of ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩, with random dy and v. J v is computed by
the forward pass on numbers with a tangent v, and Jᵀ dy by backward. README.md has the theorem and its proof.
"""

import contextlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from typing import Any

import numpy as np

from gradcheck.call import Call, Differentiable, prepared, state_kept
from gradcheck.cases import error_in_words
from gradcheck.certify import constants, scalar
from gradcheck.certify.arrays import Array, entries, standing_in
from gradcheck.certify.relations import Run
from gradcheck.certify.scalar import EQUAL, CannotTell, add, lift, make, multiply
from gradcheck.contract import run_backward, run_under_watch, with_zeros
from gradcheck.report import GradientError

ROUNDED = Decimal("1e-9")  # relative: a larger difference is not due to rounded constants
CANCELLED = Decimal("1e-20")  # relative: a larger difference is not due to cancellation in 60 digits
LIKE_FLOATS = 1e-9  # relative to the largest entry: the agreement of the digits with the result in float64
PASSES = 4  # at most: a pass may find a root whose square the next pass recognises


@dataclass(frozen=True)
class Certificate:
    """The verdict on an identity: "certified", "refused" or "cannot tell". Its truth value is True if certified.

    `reason` explains a verdict other than "certified". A certificate holds for all inputs of the same shapes for which
    comparisons of values have the same results. `decisions` is the number of these comparisons. The certificate is
    wrong with probability below 10^`exponent`. `constants` lists the floats that stand for another number, such as
    0.797… for √(2/π), as (float, number as text).
    """

    name: str
    verdict: str
    reason: str = ""
    decisions: int = 0
    exponent: int = 0
    constants: tuple[tuple[float, str], ...] = ()

    def __bool__(self) -> bool:
        return self.verdict == "certified"

    def __str__(self) -> str:
        if not self:
            return f"{self.verdict}: {self.reason}"
        decisions = {0: "", 1: " that take the same decision"}.get(
            self.decisions, f" that take the same {self.decisions} decisions"
        )
        line = f"certified: for all inputs of these shapes{decisions}; wrong with probability < 1e{self.exponent}"
        read = ", ".join(f"{value!r} read as {reading}" for value, reading in self.constants)
        return line + (f"\nconstants: {read}" if read else "")


def certify(
    target: Differentiable, /, *inputs: Any, seed: int | None = None, randomize: bool = True, **options: Any
) -> Certificate:
    """Decide whether a backward pass is the adjoint of the derivative of its forward pass, for all inputs.

    `target`, `inputs`, `randomize` and `options` are those of `check` or of `check_module`. The inputs select the
    shapes, and the region within which every comparison has the same result. Random numbers come from the operating
    system, unless a `seed` makes them repeatable. Meanwhile `np` is replaced in Python modules, so other threads must
    not use them. Raises TypeError or ValueError for a function that cannot be checked, as `check` does.
    """
    return certify_call(Call(target, *inputs, **options), seed, randomize)


def certify_call(call: Call, seed: int | None = None, randomize: bool = False) -> Certificate:
    """Decide whether the backward pass of a Call is right. See `certify`."""
    call, name, rng = call.copy(), call.name, np.random.default_rng(seed)
    with prepared(call, int(rng.integers(2**32)) if randomize else None):
        _visit_elsewhere(call)
        try:
            floats = run_under_watch(call, None, rng)
            problem = floats.problem or _nonlinear(call, floats)
        except GradientError as error:
            problem = str(error)
        except ValueError as error:
            if not hasattr(error, "backward"):  # it is about the inputs
                raise
            problem = f"backward raises {error_in_words(error)}"
        return Certificate(name, "refused", problem) if problem else _decide(name, seed, Sides(call, floats, rng))


def same(f: Callable[..., Any], g: Callable[..., Any], /, *inputs: Any, seed: int | None = None) -> Certificate:
    """Decide whether two functions are identical: whether f(*inputs) = g(*inputs) for all inputs.

    Each function may return an array, a tuple of arrays, or (y, backward), of which only y is compared. For the inputs
    and `seed`, see `certify`.
    """
    calls = [Call(f, *inputs).copy(), Call(g, *inputs).copy()]
    return _decide(f"{calls[0].name} = {calls[1].name}", seed, Values(calls))


def _visit_elsewhere(call):
    """Run forward and backward on other inputs, to reveal a function that reuses results of an earlier call."""
    other = call.on(-value[::-1] if _is_array(value) and value.ndim else value for value in call.inputs)
    with contextlib.suppress(Exception), np.errstate(all="ignore"), state_kept(call.target):
        y, backward = other.evaluate()
        backward(call.as_y(np.ones(np.shape(y))))


def _nonlinear(call, floats):
    """Describe the first gradient that is not finite or not linear in dy. Return "" if there is none."""
    larger = run_backward(call, call.evaluate()[1], -1000 * floats.dy, floats.arguments)
    larger = with_zeros(larger, floats.arguments)
    for argument, gradient, other in zip(floats.arguments, floats.gradients, larger, strict=True):
        if not np.isfinite(gradient).all():
            return f"{argument.label} is not finite"
        if np.max(np.abs(other + 1000 * gradient), initial=0) > 1e-6 * np.max(np.abs(other), initial=0) + 1e-9:
            return f"{argument.label} is not linear in dy"
    return ""


def _is_array(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _decide(name, seed, identity):
    """Return the Certificate for an identity, which is an instance of Sides or Values."""
    run = Run(random.Random(seed), constants.random_prime(seed))
    try:
        with run.computing():
            for _ in range(PASSES):
                known, pairs = run.known, identity.pairs(run)
                if all(a.v == b.v for a, b, _ in pairs) or run.known == known:
                    break
            return _judge(name, run, pairs, identity)
    except CannotTell as error:
        return Certificate(name, "cannot tell", str(error))
    except Exception as error:
        return Certificate(name, "cannot tell", f"the function does not run on exact numbers: {error_in_words(error)}")


def _judge(name, run, pairs, identity):
    """Return the Certificate for pairs (left, right, Σ|terms|), where left and right are Numbers."""
    gap = max((abs(a.d - b.d) / size if a.d != b.d else Decimal(0) for a, b, size in pairs), default=Decimal(0))
    if gap <= EQUAL and all(a.v == b.v for a, b, _ in pairs):
        floats = sorted(x for x in run.constants if isinstance(x, float) and math.isfinite(x))
        readings = tuple((x, constants.in_words(x)) for x in floats if constants.in_words(x))
        return Certificate(name, "certified", "", len(run.decisions), error_exponent(run), readings)
    if gap > (ROUNDED if run.rounded else CANCELLED):
        return Certificate(name, "refused", identity.culprit(run, gap))
    if gap <= EQUAL:
        reason = "the two sides agree to 40 digits, but were not shown to be identical"
    elif run.rounded:
        reason = f"the two sides differ by {gap:.1e} of their size: a constant is rounded, or wrong in that digit"
    else:
        reason = f"the two sides differ by {gap:.1e} of their size: the other digits are lost to cancellation"
    return Certificate(name, "cannot tell", reason)


def error_exponent(run):
    """Return n such that a certificate is wrong with probability below 10^n: the union bound of README.md."""
    formulas = math.log10((run.created + 1) * (run.known + 1)) + math.log10(4 * run.largest + 4)
    point = formulas - math.log10(run.p)
    prime = formulas + math.log10(2 ** len(constants.PRIMES) * constants.ATTEMPTS) - constants.BITS * math.log10(2)
    return math.ceil(max(point, prime) + math.log10(2))


class Sides:
    """The identity ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ of a Call. `floats` is its contract.Run in float64, for comparison."""

    def __init__(self, call, floats, rng):
        self.call, self.floats, self.arguments = call.on(call.inputs), floats, floats.arguments
        self.call.type_of_y = np.ndarray
        self.directions = [rng.standard_normal(argument.array.shape) for argument in self.arguments]

    def pairs(self, run):
        """Return [(⟨dy, J v⟩, ⟨Jᵀ dy, v⟩, Σ|terms|)] for one random direction v in all arguments."""
        return [self._along(run, range(len(self.arguments)))]

    def culprit(self, run, gap):
        """Describe the first gradient for which the two sides differ."""
        for i, argument in enumerate(self.arguments):
            left, right, size = self._along(run, [i])
            if left.v != right.v and left.d != right.d:
                return f"{argument.label}: the sides of the identity differ by {abs(left.d - right.d) / size:.1e}"
        return f"the sides of the identity differ by {gap:.1e}"

    def _along(self, run, chosen):
        vs = {i: variables(run, ("v", i), self.directions[i]) for i in chosen}
        dy = variables(run, "dy", self.floats.dy)
        with self._symbols(run) as call:
            y, backward = call.evaluate()
            gradients = with_zeros(run_backward(call, backward, dy.copy(), self.arguments), self.arguments)
        self._compare("y", y, self.floats.y)
        for argument, gradient, expected in zip(self.arguments, gradients, self.floats.gradients, strict=True):
            self._compare(argument.label, gradient, expected)
        with self._symbols(run, vs) as call:
            tangents = [lift(0) if a.tangent is None else a.tangent for a in entries(call.evaluate()[0])]
        left = list(map(multiply, entries(dy), tangents))
        right = [multiply(a, b) for i in chosen for a, b in zip(entries(gradients[i]), entries(vs[i]), strict=True)]
        return reduce(add, left, lift(0)), reduce(add, right, lift(0)), sum(abs(term.d) for term in left + right)

    @contextlib.contextmanager
    def _symbols(self, run, tangents=None):
        """Yield the Call on Arrays of Numbers. `tangents` maps the index of an argument to its tangents."""
        arrays = [variables(run, i, argument.array) for i, argument in enumerate(self.arguments)]
        for i, tangent in (tangents or {}).items():
            for number, t in zip(entries(arrays[i]), entries(tangent), strict=True):
                number.tangent = t
        pairs = list(zip(self.arguments, arrays, strict=True))
        by_identity = {id(argument.array): array for argument, array in pairs}
        try:
            for argument, array in pairs:
                if argument.parameter is not None:
                    argument.parameter.data = array
            with state_kept(self.call.target), standing_in(self.call.target):
                yield self.call.on(by_identity.get(id(value), value) for value in self.call.inputs)
        finally:
            for argument, _ in pairs:
                if argument.parameter is not None:
                    argument.parameter.data = argument.array

    def _compare(self, label, array, expected):
        values = np.array([float(a.d) for a in entries(array)])
        slack = LIKE_FLOATS * np.max(np.abs(expected), initial=0) + self.floats.rounding
        if values.size != expected.size or not np.all(np.abs(values - expected.ravel()) <= slack):
            raise CannotTell(f"{label} computed with exact numbers differs from {label} computed in float64")


class Values:
    """The identity of the results of two Calls, entry by entry."""

    def __init__(self, calls):
        self.calls = calls

    def pairs(self, run):
        """Return [(entry of the first result, entry of the second, larger absolute value)]."""
        results = []
        for call in self.calls:
            inputs = [variables(run, i, x) if _is_array(x) else x for i, x in enumerate(call.inputs)]
            with standing_in(call.target):
                result = call.on(inputs).evaluate()
            is_pair = isinstance(result, tuple) and len(result) == 2 and callable(result[1])
            results.append(result[:1] if is_pair else result if isinstance(result, tuple) else (result,))
        shapes = [[np.shape(part) for part in result] for result in results]
        if shapes[0] != shapes[1]:
            raise CannotTell(f"the results have the shapes {shapes[0]} and {shapes[1]}")
        left, right = ([a for part in result for a in entries(part)] for result in results)
        return [(a, b, max(abs(a.d), abs(b.d))) for a, b in zip(left, right, strict=True)]

    def culprit(self, run, gap):
        return f"the results differ by {gap:.1e}"


def variables(run, name, values):
    """Return an Array with the given digits. Its field values are random, but always the same for a name."""
    result = np.empty(values.shape, object)
    for i, x in enumerate(values.flat):
        v = run.element("variable", name, i).v
        result.flat[i] = make(
            Decimal(float(x)), v, 1, run.unit, "variable", (), scalar.DY if name == "dy" else scalar.INPUTS
        )
    return result.view(Array)
