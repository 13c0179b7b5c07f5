"""Compute the Jacobian of a function as an explicit matrix.

J has the shape of y followed by that of x: J[i, j] = ∂y_i / ∂x_j for indices i into y and j into x. Each entry of x
needs at least eight evaluations for central differences, and one for the complex step, so `jacobian` is meant for small
arrays. A backward pass never forms J: dx = Jᵀ dy costs about one forward pass, however large J is.
"""

from collections.abc import Callable
from typing import Any, overload

import numpy as np

from gradcheck.call import Call
from gradcheck.central_differences import EPSILON, line_along, scales_of
from gradcheck.complex_step import ComplexStep, NotComplexSafe
from gradcheck.contract import arguments_of, float64_output, require_finite
from gradcheck.refine.one_derivative import steps

AGREEMENT = 1e-4  # relative to the largest entry: accuracy of central differences near a kink or with strong curvature


class Jacobian(np.ndarray[tuple[int, ...], np.dtype[np.float64]]):
    """A Jacobian, a float64 array of shape y.shape + x.shape."""

    name: str = ""  # of x
    oracle: str = ""  # the method that computed the array
    reason: str = ""  # why the complex step was not used, or ""

    def __new__(cls, values, name, oracle, reason=""):
        jacobian = np.asarray(values).view(cls)
        jacobian.name, jacobian.oracle, jacobian.reason = name, oracle, reason
        return jacobian

    def __array_finalize__(self, source):
        vars(self).update(getattr(source, "__dict__", {}))


@overload
def jacobian(function: Callable[..., Any], x: Any, /, **options: Any) -> Jacobian: ...


@overload
def jacobian(function: Callable[..., Any], /, *inputs: Any, **options: Any) -> Jacobian | tuple[Jacobian, ...]: ...


def jacobian(function: Callable[..., Any], /, *inputs: Any, **options: Any) -> Jacobian | tuple[Jacobian, ...]:
    """Compute the Jacobian of a function numerically.

    Returns a float64 array of shape y.shape + x.shape, or a tuple of such arrays if there are several floating-point
    inputs. `function(*inputs, **options)` returns y or (y, backward). backward is not called.

    The Jacobian is computed by the complex step if the forward pass is complex-safe, and by central differences
    otherwise. At a kink the two methods disagree, and central differences are returned, which give the mean of both
    slopes. Where the output jumps, central differences are NaN.

    Raises TypeError or ValueError as `check` does.
    """
    call = _ValueOnly(function, *inputs, **options).copy()
    arguments = arguments_of(call)
    y = float64_output(call, call.evaluate()[0]).copy()
    require_finite(call.name, "the output", y)
    step = ComplexStep(call, arguments, y)
    jacobians = tuple(_jacobian(call, step, arguments, i, y) for i in range(len(arguments)))
    return jacobians[0] if len(jacobians) == 1 else jacobians


class _ValueOnly(Call):
    def evaluate(self):
        result = super().evaluate()
        return result if isinstance(result, tuple) and len(result) == 2 and callable(result[1]) else (result, None)


def _jacobian(call, step, arguments, i, y):
    argument, array = arguments[i], arguments[i].array
    scales = scales_of(array)
    columns = {index: _column(call, array, index, y, scales[index]) for index in np.ndindex(array.shape)}
    oracle, reason = "central differences", ""
    try:
        exact = {index: step.along_entry(i, index, scales[index]) for index in columns}
        for index, numeric in columns.items():
            gap = _largest(exact[index] - numeric)  # NaN if numeric is unknown; the comparison is then False
            if gap > AGREEMENT * max(_largest(numeric), _largest(exact[index]), 1e-8):
                where = f"in {argument.name} at {list(index)}"
                raise NotComplexSafe(f"{where} the complex step and central differences differ by {gap:.1g}")
        columns, oracle = exact, "the complex step"
    except NotComplexSafe as error:
        reason = f"the forward pass is not complex-safe: {error}"
    values = np.stack([*columns.values()], axis=-1) if columns else np.zeros((*y.shape, 0))
    return Jacobian(values.reshape(y.shape + array.shape), argument.name, oracle, reason)


def _largest(values):
    return np.max(np.abs(values), initial=0.0)


def _column(call, array, index, y, scale):
    """Compute the derivative in one entry, or NaN if successive steps never agree."""
    line = line_along(call, array, index=index)
    before = unknown = np.full(y.shape, np.nan)
    for h in steps(float(scale)):
        with np.errstate(all="ignore"):
            now = (8 * (line(h) - line(-h)) - (line(2 * h) - line(-2 * h))) / (12 * h)
            allowed = 1e-6 * _largest(now) + 64 * EPSILON * np.abs(y) / h
            if np.all(np.abs(now - before) <= allowed):
                return before
        before = now
    return unknown
