"""Decide whether two programs compute the same function, or the same function with the same gradients."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gradcheck.call import Call, Differentiable, describe, is_floating
from gradcheck.certify import scalar
from gradcheck.certify.arrays import Array, entries
from gradcheck.certify.certificate import Certificate, decide, require_like_floats, variables
from gradcheck.contract import arguments_of, run_and_test, run_backward, with_zeros

DRAWS = 100  # of small whole numbers, in search of an example
SMALL = 12  # entries: the inputs of an example are printed if they have no more
DIFFERENT = 1e-6  # relative


def same(
    f: Callable[..., Any],
    g: Callable[..., Any],
    /,
    *inputs: Any,
    seed: int | None = None,
    trace: str | os.PathLike[str] | None = None,
) -> Certificate:
    """Decide whether f(*inputs) = g(*inputs) for all inputs of these shapes.

    Each function may return an array, a tuple of arrays, or (y, backward), of which only y is compared. A refusal names
    the first entry of the results that differs, if possible for inputs that are small whole numbers. For the inputs,
    `seed` and `trace`, see `certify`.
    """
    return _compared([Call(f, *inputs).copy(), Call(g, *inputs).copy()], None, seed, trace)


def same_gradient(
    f: Differentiable,
    g: Differentiable,
    /,
    *inputs: Any,
    seed: int | None = None,
    trace: str | os.PathLike[str] | None = None,
) -> Certificate:
    """Decide whether two functions and their backward passes agree for all inputs and upstream gradients.

    f(*inputs) and g(*inputs) return (y, backward). The certificate does not state that the gradients are right: see
    `certify`. For the inputs, `seed` and `trace`, see `certify`.
    """
    calls = [Call(f, *inputs).copy(), Call(g, *inputs).copy()]
    dy, _ = (run_and_test(call, None, np.random.default_rng(seed)).dy for call in calls)
    return _compared(calls, dy, seed, trace)


def _compared(calls, dy, seed, trace):
    name = f"{calls[0].name} = {calls[1].name}"
    left, right = (results(call, call.inputs, dy) for call in calls)
    if len(left) != len(right):
        counts = f"{len(left)} in {calls[0].name}, but {len(right)} in {calls[1].name}"
        return Certificate(name, "refused", f"the number of results is {counts}")
    for label, a, b in zip(left, left.values(), right.values(), strict=True):
        if np.shape(a) != np.shape(b):
            shapes = f"{np.shape(a)} in {calls[0].name}, but {np.shape(b)} in {calls[1].name}"
            return Certificate(name, "refused", f"{label} has the shape {shapes}")
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return Certificate(name, "cannot tell", f"{label} is not finite for these inputs")

    def pairs(run):
        exact = [variables(run, i, x) if is_floating(x) else x for i, x in enumerate(calls[0].inputs)]
        upstream = None if dy is None else variables(run, "dy", dy, scalar.DY)
        sides = [results(call, exact, upstream) for call in calls]
        for side, floats in zip(sides, (left, right), strict=True):
            for label, numbers in side.items():
                require_like_floats(label, numbers, floats[label])
        both = zip(*(side.values() for side in sides), strict=True)
        found = [pair for a, b in both for pair in zip(entries(a), entries(b), strict=True)]
        return [(a, b, max(abs(a.d), abs(b.d))) for a, b in found]

    found = decide(name, seed, pairs, trace=trace)
    return replace(found, reason=example(calls, dy) or found.reason) if found.verdict == "refused" else found


def results(call, inputs, dy=None):
    """Evaluate a Call on other inputs. Return {name: array}: the results, with the gradients if `dy` is given."""
    arguments = arguments_of(call)
    call = call.on([x.copy() if isinstance(x, np.ndarray) else x for x in inputs])
    returned = call.evaluate()
    is_pair = isinstance(returned, tuple) and len(returned) == 2 and callable(returned[1])
    ys = returned[:1] if is_pair else returned if isinstance(returned, tuple) else (returned,)
    for y in ys:
        if not isinstance(y, Array) and np.asarray(y).dtype.kind not in "biufc":
            raise TypeError(f"{call.name} must return an array or a tuple of arrays, not {describe(y)}")
    found = {"y" if len(ys) == 1 else f"y[{i}]": y for i, y in enumerate(ys)}
    if dy is not None:
        if isinstance(dy, Array):
            call.type_of_y = np.ndarray  # exact numbers are no floats
        gradients = with_zeros(run_backward(call, returned[1], dy.copy(), arguments), arguments)
        found |= {argument.label: gradient for argument, gradient in zip(arguments, gradients, strict=True)}
    return found


def example(calls, dy):
    """Describe the first entry that differs in float64, or return "" if the floats show no difference.

    The inputs and dy are small whole numbers with the signs of those of the call, or else those of the call.
    """
    rng, given = np.random.default_rng(0), calls[0].inputs
    floats = [*(x for x in given if is_floating(x)), *([] if dy is None else [dy])]

    def whole(x):
        return np.asarray(np.sign(x) * rng.integers(1, 4, x.shape)) if any(x is y for y in floats) else x

    for draw in range(DRAWS + 1):
        inputs, upstream = (given, dy) if draw == DRAWS else ([whole(x) for x in given], whole(dy))
        with np.errstate(all="ignore"):
            try:
                left, right = (results(call, inputs, upstream) for call in calls)
            except (ArithmeticError, ValueError, np.linalg.LinAlgError):
                continue
        for name, a, b in zip(left, map(np.asarray, left.values()), map(np.asarray, right.values()), strict=True):
            place = _first_difference(a, b)
            if place is not None:
                where = f"{name}{list(place)}" if a.ndim else name
                at = f", for {_in_words(calls[0], inputs, upstream)}" if sum(x.size for x in floats) <= SMALL else ""
                values = f"{_short(a[place])} in {calls[0].name}, but {_short(b[place])} in {calls[1].name}"
                return f"{where} is {values}{at}"
    return ""


def _first_difference(a, b):
    """Return the index of the first entry that differs, or None. Arrays that are not finite have none."""
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    differs = np.argwhere(np.abs(a - b) > DIFFERENT * np.max(np.abs([a, b]), initial=0))
    return tuple(map(int, differs[0])) if len(differs) else None


def _in_words(call, inputs, dy):
    named = [*zip(call.input_names(), inputs, strict=True), *([] if dy is None else [("dy", dy)])]
    return ", ".join(f"{name} = {_short(x)}" for name, x in named if isinstance(x, np.ndarray))


def _short(x):
    """Write a number or an array with at most four digits, and whole numbers without a point."""
    if np.ndim(x):
        return f"[{', '.join(map(_short, x))}]"
    return f"{float(x):.4g}"
