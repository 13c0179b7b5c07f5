"""The Jacobian as an explicit matrix, to look at.

J has the shape of y followed by that of x: J[i, j] = ∂y_i / ∂x_j for indices i into y and j into x. Each entry of x
needs at least eight evaluations for central differences, and one for the complex step, so this is meant for small
arrays. backward never forms J: dx = Jᵀ dy costs about one forward pass, however large J is.
"""

from collections.abc import Callable
from typing import Any, overload

import numpy as np

from gradcheck.call import Call, describe
from gradcheck.central_differences import EPSILON, line_along_entry, scales_of
from gradcheck.complex_step import ComplexStep, NotComplexSafe
from gradcheck.contract import arguments_of, require_finite
from gradcheck.refine.one_derivative import steps

AGREEMENT = 1e-4  # of the largest entry: the accuracy of central differences near a kink or with strong curvature


class Jacobian(np.ndarray[tuple[int, ...], np.dtype[np.float64]]):
    """An array of shape y.shape + x.shape that records its origin.

    `oracle` is "the complex step" or "central differences", `reason` says why the complex step was not used, and `name`
    is the name of x.
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
    """Return the numeric Jacobian of a function with respect to its input.

    With several floating-point inputs, return a tuple of one Jacobian for each. `function(*inputs, **options)` returns
    y, or (y, backward), whose backward is not called. Each Jacobian is a float64 array of shape y.shape + x.shape that
    records the oracle that computed it: the complex step if the forward pass is complex-safe, and central differences
    otherwise. At a kink the two disagree, and central differences are returned, that is, the mean of both slopes. Where
    the output jumps, central differences are NaN.

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
    require_finite(call.name, "the output", y)
    step = ComplexStep(call, arguments, y)
    jacobians = tuple(_jacobian(call, step, arguments, i, y) for i in range(len(arguments)))
    return jacobians[0] if len(jacobians) == 1 else jacobians


class _ValueOnly(Call):
    def evaluate(self):
        """Return (y, backward), or (y, None) if the function returns y alone."""
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
    """Raise NotComplexSafe if central differences contradict a column of the Jacobian."""
    for index, exact in zip(np.ndindex(scales.shape), columns, strict=True):
        numeric = _column(call, argument.array, index, y, scales[index])
        gap = np.max(np.abs(exact - numeric), initial=0.0)  # NaN, hence no contradiction, if numeric is unknown
        if gap > AGREEMENT * max(np.max(np.abs(numeric), initial=0.0), np.max(np.abs(exact), initial=0.0), 1e-8):
            raise NotComplexSafe(f"in {argument.name} at {list(index)} central differences differ by {gap:.1g}")


def _column(call, array, index, y, scale):
    """Return the derivative of y with respect to one entry.

    It is R of central_differences.py without the product with dy. The step is the first whose derivative the next step
    confirms, to 1e-6 of the largest entry plus rounding (64 ε of each output, which allows for rounding errors within
    the forward pass). If no step is confirmed, the column is NaN.
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
