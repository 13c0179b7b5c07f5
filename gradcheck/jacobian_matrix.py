"""The Jacobian itself, for those who want to look.

J has the shape of y followed by that of x: J[i, j] = ∂y_i / ∂x_j for indices i into y and j into x. For each
entry of x it takes eight evaluations or more by central differences, and one more by the complex step, so it is for
small arrays. backward never forms it: dx = Jᵀ dy costs about one forward pass, however large J is.
"""

from collections.abc import Callable
from typing import Any, overload

import numpy as np

from gradcheck.call import Call, describe
from gradcheck.central_differences import EPSILON, line_along_entry, scales_of
from gradcheck.closer.estimates import steps
from gradcheck.complex_step import ComplexStep, NotComplexSafe
from gradcheck.contract import arguments_of, refuse_infinite

AGREEMENT = 1e-4  # of the largest entry: central differences of a kinked or very curved function are no better


class Jacobian(np.ndarray[tuple[int, ...], np.dtype[np.float64]]):
    """An array of shape y.shape + x.shape that also says how it was found.

    `oracle` is "the complex step" or "central differences", `reason` why it is the latter, `name` that of x.
    """

    name: str
    oracle: str
    reason: str

    def __new__(cls, values, name, oracle, reason=""):
        jacobian = np.asarray(values).view(cls)
        jacobian.name, jacobian.oracle, jacobian.reason = name, oracle, reason
        return jacobian

    def __array_finalize__(self, source):
        for attribute in ("name", "oracle", "reason"):
            setattr(self, attribute, getattr(source, attribute, ""))


@overload
def jacobian(function: Callable[..., Any], x: Any, /, **options: Any) -> Jacobian: ...


@overload
def jacobian(function: Callable[..., Any], /, *inputs: Any, **options: Any) -> Jacobian | tuple[Jacobian, ...]: ...


def jacobian(function: Callable[..., Any], /, *inputs: Any, **options: Any) -> Jacobian | tuple[Jacobian, ...]:
    """Return the numeric Jacobian of a function by its input, or a tuple of one for each floating-point input.

    `function(*inputs, **options)` returns y, or (y, backward) of which backward is left alone. Each Jacobian is a
    float64 array of shape y.shape + x.shape that says which oracle found it (see Jacobian): the complex step where the
    forward pass is complex-safe, or else central differences. At a kink the two disagree,
    and central differences' is returned, the mean of both slopes. Where the output jumps, central differences give NaN.

    Raises TypeError or ValueError as `check` does.
    """
    call = _ValueOnly(function, *inputs, **options).copy()
    arguments = arguments_of(call)
    y = call.evaluate()[0]
    if not isinstance(y, (np.ndarray, np.generic, float)):
        raise TypeError(f"{call.name}: y is {describe(y)}; a Jacobian is of one float64 array or number")
    y = np.array(y)
    if y.dtype != np.float64:
        raise TypeError(f"{call.name}: y is {y.dtype}; a Jacobian is of one float64 array or number")
    refuse_infinite(call.name, "the output", y)
    step = ComplexStep(call, arguments, y)
    jacobians = tuple(_jacobian(call, step, arguments, i, y) for i in range(len(arguments)))
    return jacobians[0] if len(jacobians) == 1 else jacobians


class _ValueOnly(Call):
    """A Call whose function may return y alone."""

    def evaluate(self):
        """Return (y, backward), backward None where the function returns y alone."""
        result = super().evaluate()
        return result if isinstance(result, tuple) and len(result) == 2 and callable(result[1]) else (result, None)


def _jacobian(call, step, arguments, i, y):
    argument = arguments[i]
    array, shape = argument.array, argument.array.shape
    scales = scales_of(array)
    try:
        columns = [step.along_entry(i, index, scales[index]) for index in np.ndindex(shape)]
        oracle, reason = "the complex step", ""
        _verify(call, argument, columns, y, scales)
    except NotComplexSafe as error:
        columns = [_column(call, array, index, y, scales[index]) for index in np.ndindex(shape)]
        oracle, reason = "central differences", f"the forward pass is not complex-safe: {error}"
    values = np.stack(columns, axis=-1) if columns else np.zeros((*y.shape, 0))
    return Jacobian(values.reshape(y.shape + shape), argument.name, oracle, reason)


def _verify(call, argument, columns, y, scales):
    """Raise NotComplexSafe if some column of the Jacobian is not what central differences say."""
    for index, exact in zip(np.ndindex(scales.shape), columns, strict=True):
        numeric = _column(call, argument.array, index, y, scales[index])
        gap = np.max(np.abs(exact - numeric), initial=0.0)  # NaN, and nothing against it, where they cannot tell
        if gap > AGREEMENT * max(np.max(np.abs(numeric), initial=0.0), np.max(np.abs(exact), initial=0.0), 1e-8):
            raise NotComplexSafe(f"in {argument.name} at {list(index)} it is off from central differences by {gap:.1g}")


def _column(call, array, index, y, scale):
    """Return the derivative of the whole output by one entry: R of central_differences.py, without dy.

    The step is the first whose derivative that of the next one confirms, to 1e-6 of the largest entry and to rounding
    (64 ε of each output, for what is rounded within). The column is NaN where none does.
    """
    line = line_along_entry(call, array, index)
    before = unknown = np.full(y.shape, np.nan)
    for h in steps(float(scale)):
        with np.errstate(all="ignore"):
            now = (8 * (line(h) - line(-h)) - (line(2 * h) - line(-2 * h))) / (12 * h)
            allowed = 1e-6 * np.max(np.abs(now), initial=0.0) + 64 * EPSILON * np.abs(y) / h
            if np.all(np.abs(now - before) <= allowed):
                return before
        before = now
    return unknown
