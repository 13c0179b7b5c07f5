"""Decide whether two formulas are identical, without a tolerance.

For a backward pass, the formulas are the two sides of ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ with random dy and v. The left side is
computed by the forward pass, on numbers that carry a tangent v, and the right side by the backward pass. README.md
states the theorem and proves it.
"""

import gc
import linecache
import math
import os
import random
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from typing import Any

import numpy as np

from gradcheck.call import Call, Differentiable, prepared, state_kept
from gradcheck.certify import constants, scalar
from gradcheck.certify.arrays import Array, entries, numpy_replaced
from gradcheck.certify.relations import Run
from gradcheck.certify.scalar import EQUAL, CannotTell, Number, add, lift, multiply
from gradcheck.certify.trace import write_trace
from gradcheck.contract import run_and_test, run_backward, with_zeros
from gradcheck.front.streams import error_in_words
from gradcheck.report import GradientError

ROUNDED = Decimal("1e-9")  # relative: a larger difference is not due to rounded constants
CANCELLED = Decimal("1e-20")  # relative: a larger difference is not due to cancellation in 60 digits
LIKE_FLOATS = 1e-9  # relative to the largest entry: the largest difference between the digits and float64
ROUNDING = 1e-12  # absolute: the smallest difference that matters for a result that may be zero
PASSES = 4  # at most: a pass may find a root whose square the next pass recognises


@dataclass(frozen=True)
class Certificate:
    """The result of `certify` or `same`. It is true if the verdict is "certified".

    A certificate holds for all inputs of the same shapes for which comparisons of values have the same results.
    """

    name: str  # the name of the function, or the identity
    verdict: str  # "certified", "refused" or "cannot tell"
    reason: str = ""  # the reason for a verdict other than "certified"
    decisions: tuple[str, ...] = ()  # the comparisons of values, one sentence for each line of code that makes them
    exponent: int = 0  # the certificate is wrong with probability below 10^exponent
    constants: tuple[tuple[float, str], ...] = ()  # (float, the number it stands for), as 0.797…, "√(2/π)"
    is_undecided: bool = False  # True if the sides agree in their digits, but were not shown to be identical

    def __bool__(self) -> bool:
        return self.verdict == "certified"

    def __str__(self) -> str:
        if not self:
            return f"{self.verdict}: {self.reason}"
        where = " that compare as follows" if self.decisions else ""
        line = f"certified: for all inputs of these shapes{where}; wrong with probability < 1e{self.exponent}"
        read = ", ".join(f"{value!r} read as {reading}" for value, reading in self.constants)
        return "\n".join([line, *self.decisions, *([f"constants: {read}"] if read else [])])


def certify(
    target: Differentiable,
    /,
    *inputs: Any,
    seed: int | None = None,
    randomize: bool = True,
    trace: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Certificate:
    """Decide whether a backward pass is right for all inputs.

    It is right if it is the adjoint of the derivative of the forward pass. The arguments `target`, `inputs`,
    `randomize` and `options` are those of `check` or of `check_module`. A certificate applies to all inputs of the same
    shapes for which every comparison of values has the same result. Random numbers come from the operating system,
    unless a `seed` makes them repeatable. `trace` is a file to which the computation of a certificate is written, so
    that recheck.py can verify it.

    While certify runs, the name `np` in other Python modules refers to a replacement of NumPy, so other threads must
    not use these modules. Raises TypeError or ValueError for a function that cannot be checked, as `check` does.
    """
    return certify_call(Call(target, *inputs, **options), seed, randomize, trace)


def certify_call(
    call: Call, seed: int | None = None, randomize: bool = False, trace: str | os.PathLike[str] | None = None
) -> Certificate:
    """Decide, as `certify` does, whether the backward pass of a Call is right for all inputs."""
    call, name, rng = call.copy(), call.name, np.random.default_rng(seed)
    with prepared(call, int(rng.integers(2**32)) if randomize else None):
        try:
            floats = run_and_test(call, None, rng)
            is_finite = all(np.isfinite(gradient).all() for gradient in floats.gradients)
            problem = floats.problem or ("" if is_finite else "a gradient is not finite")
        except GradientError as error:
            problem = str(error)
        except Exception as error:
            if not hasattr(error, "backward"):  # the error is about the inputs
                raise
            problem = f"backward raises {error_in_words(error)}"
        if not problem:
            return decide(name, seed, sides(call, floats, rng), floats.arguments, trace)
    return Certificate(name, "refused", problem)


def decide(name, seed, pairs, arguments=(), trace=None):
    """Return the Certificate for an identity.

    `pairs(run)` computes both sides of the identity in a Run (relations.py). If `arguments` are given, a refusal names
    the first one whose gradient is wrong. If the digits of both sides agree but the field values do not, a second
    attempt uses the relations that take longer. The computation of a certificate is written to the file `trace`.
    """
    collects = gc.isenabled()
    gc.disable()  # the garbage collector would traverse all numbers repeatedly; they are freed without it
    try:
        first = _attempt(name, seed, pairs, arguments, trace, expands=False)
        if not first.is_undecided:
            return first
        return _attempt(name, seed, pairs, arguments, trace, expands=True) or first
    finally:
        if collects:
            gc.enable()


def _attempt(name, seed, pairs, arguments, trace, expands):
    run = Run(random.Random(seed), constants.random_prime(seed), expands)
    try:
        with run.computing(), numpy_replaced(pairs):
            compared = _compare(run, pairs, is_traced=trace is not None)
            found = _judge(name, run, pairs, arguments, compared)
    except CannotTell as error:
        return Certificate(name, "cannot tell", str(error))
    except Exception as error:
        return Certificate(name, "cannot tell", f"the function does not run on exact numbers: {error_in_words(error)}")
    if trace is not None and found:
        write_trace(trace, name, run, compared)
    return found


def _compare(run, pairs, is_traced):
    """Compute both sides until they are equal, or until a pass finds no new value of a function.

    The last pass of a computation that is traced finds none, so that no number precedes the root that changes it.
    """
    known = 0
    for _ in range(PASSES):
        run.parts, run.sums = {}, {}  # a root that was found later changes the values of arguments
        compared = pairs(run)
        is_identity = not is_traced and all(a.v == b.v for a, b, _ in compared)
        if is_identity or run.known == known:
            break
        known = run.known
    return compared


def _judge(name, run, pairs, arguments, compared):
    gap, is_identity = gap_of(compared), all(a.v == b.v for a, b, _ in compared)
    if gap <= EQUAL and is_identity:
        words = {x: constants.in_words(x) for x in run.constants if isinstance(x, float) and math.isfinite(x)}
        readings = tuple((x, words[x]) for x in sorted(words) if words[x])
        return Certificate(name, "certified", "", decided(run), error_exponent(run), readings)
    if gap > (ROUNDED if run.rounded else CANCELLED):
        wrong = (argument.label for i, argument in enumerate(arguments) if gap_of(pairs(run, [i])) > EQUAL)
        where = next(wrong, "the results" if not arguments else "the sum")
        return Certificate(name, "refused", f"{where}: the sides of the identity differ by {gap:.1e}")
    if gap <= EQUAL:
        reason = "the two sides agree to 40 digits, but were not shown to be identical"
        return Certificate(name, "cannot tell", reason, is_undecided=True)
    if run.rounded:
        reason = f"the two sides differ by {gap:.1e} of their size: a constant is rounded, or wrong in that digit"
    else:
        reason = f"the two sides differ by {gap:.1e} of their size: lost to cancellation, or different"
    return Certificate(name, "cannot tell", reason)


def decided(run):
    """Return a description of each line of code that compared values during a Run, in order."""
    sentences = []
    for (file, number), results in run.decisions.items():
        line = linecache.getline(file, number).strip() or f"line {number}"
        greater, n = sum(results.values()), len(results)
        if n == 1:
            found = f"the first value {'is' if greater else 'is not'} greater in the compared pair"
        elif greater == n:
            found = f"the first value is greater in all {n} compared pairs"
        else:
            found = f"the first value is greater in {greater or 'none'} of {n} compared pairs"
        sentences.append(f"`{line}` ({os.path.basename(file)}): {found}")
    return tuple(sentences)


def gap_of(pairs):
    """Return the largest relative difference between the two sides of an identity, given as (left, right, size)."""
    return max((abs(a.d - b.d) / size for a, b, size in pairs if a.d != b.d), default=Decimal(0))


def error_exponent(run):
    """Return n such that the probability of a wrong certificate is below 10^n (see README.md)."""
    formulas = math.log10(max(1, run.created * run.known)) + math.log10(4 * max(1, run.largest))
    point = -math.log10(run.p)
    prime = math.log10(2 ** len(constants.PRIMES) * constants.ATTEMPTS / 2**constants.BITS)
    events = formulas + point, formulas + prime, -constants.ROUNDS * math.log10(4)
    return math.ceil(max(events) + math.log10(len(events)))


def sides(call, floats, rng):
    """Return a function that computes both sides of ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩.

    The function `pairs(run, chosen)` returns [(left, right, size)], where the size is the sum of the absolute values of
    all terms. The direction v is 0 except in the arguments with the indices `chosen` (default: all). `floats` is the
    Run of `call` in float64 (contract.py). CannotTell is raised if the exact numbers differ from it.
    """
    call, arguments = call.on(call.inputs), floats.arguments
    call.type_of_y = np.ndarray
    directions = [rng.standard_normal(argument.array.shape) for argument in arguments]

    def on_numbers(run, vs):
        arrays = {id(a.array): variables(run, i, a.array, tangents=vs.get(i, ())) for i, a in enumerate(arguments)}
        for argument in arguments:
            if argument.parameter is not None:
                argument.parameter.data = arrays[id(argument.array)]
        with state_kept(call.target):
            return call.on(arrays.get(id(value), value) for value in call.inputs).evaluate()

    def pairs(run, chosen=None):
        chosen = range(len(arguments)) if chosen is None else chosen
        vs = [entries(variables(run, ("v", i), v)) for i, v in enumerate(directions)]
        dy = variables(run, "dy", floats.dy, scalar.DY)
        y, backward = on_numbers(run, {})
        gradients = with_zeros(run_backward(call, backward, dy.copy(), arguments), arguments)
        expected = [floats.y, *floats.gradients]
        for label, array, numbers in zip(["y", *(a.label for a in arguments)], expected, [y, *gradients], strict=True):
            require_like_floats(label, numbers, array, floats.rounding)
        moving, _ = on_numbers(run, {i: vs[i] for i in chosen})
        tangents = [Number(*(a.tangent or (Decimal(0), 0, 0)), "tangent", (a,)) for a in entries(moving)]
        left = list(map(multiply, entries(dy), tangents))
        right = [term for i in chosen for term in map(multiply, entries(gradients[i]), vs[i])]
        size = sum(abs(term.d) for term in left + right)
        return [(reduce(add, left, lift(0)), reduce(add, right, lift(0)), size)]

    return pairs


def require_like_floats(label, numbers, array, rounding=ROUNDING):
    """Raise CannotTell if the digits of exact numbers differ from the same numbers computed in float64."""
    values = np.array([float(a.d) for a in entries(numbers)])
    slack = LIKE_FLOATS * np.max(np.abs(array), initial=0) + rounding
    if values.size != np.size(array) or not np.all(np.abs(values - np.ravel(array)) <= slack):
        raise CannotTell(f"{label} computed with exact numbers differs from {label} computed in float64")


def variables(run, name, array, on=scalar.INPUTS, tangents=()):
    """Convert an array of floats to an Array of variables with these values.

    `on` is the kind of the variables, INPUTS or DY. In the field each variable is a random element, which is the same
    for the same run and name. `tangents` lists the tangents of the entries.
    """
    result = np.empty(array.shape, object)
    for i, x in enumerate(array.flat):
        result.flat[i] = Number(Decimal(float(x)), run.element("variable", name, i).v, 1, "variable", (), on)
    for a, t in zip(result.flat, tangents, strict=False):
        a.on, a.tangent = on | scalar.MOVING, (t.d, t.v, t.size)
    return result.view(Array)
