"""Adapters for functions with an explicit derivative instead of a backward pass.

The derivative is a second function of the same arguments, or the function returns it together with the value. There is
one derivative for each floating-point array among the inputs; several form a tuple. Pass arrays without a derivative,
such as data, as keyword arguments. A complex derivative or Jacobian is that of a holomorphic function.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gradcheck.adapters.nested import filled, leaves
from gradcheck.call import Call, Differentiable, describe, is_floating
from gradcheck.report import fault


def from_value_and_gradient(function: Callable[..., Any], gradient: Callable[..., Any] | None = None) -> Differentiable:
    """Make a differentiable function from a scalar function f(x) and its gradient.

        check(from_value_and_gradient(f, gradient), x)      two functions, as for scipy.optimize.check_grad
        check(from_value_and_gradient(f), x)                one function, as for minimize(f, x, jac=True)
        check(from_value_and_gradient(loss), w, X=X, y=y)   the same, with data that has no gradient

    The gradient of a vector may be a list of numbers. For parameters in a dictionary or a list see from_nested. Raises
    TypeError if an argument is not a function. The result raises TypeError if the value is not a number.
    """

    def require(y, inputs):
        if np.size(y) != 1 or not isinstance(y, (float, np.generic, np.ndarray)):
            what = f"an array of shape {y.shape}" if isinstance(y, np.ndarray) else describe(y)
            raise TypeError(
                f"{_name(function)} must return one floating-point number, not {what}. For a function whose value is "
                "an array, use from_derivative or from_jacobian of gradcheck.adapters"
            )

    return _adapted(function, gradient, "gradient", require, lambda name, x, y, d, dy: dy.item() * d)


def from_derivative(function: Callable[..., Any], derivative: Callable[..., Any] | None = None) -> Differentiable:
    """Make a differentiable function from an elementwise f(x) and its derivative, both of x's shape.

        check(from_derivative(sigmoid, sigmoid_prime), x)           two functions
        check(from_derivative(f), x)                                one function that returns (y, derivative)
        check(from_derivative(math.sin, math.cos), np.array(0.5))   functions of a number

    Raises TypeError if an argument is not a function. The result raises ValueError if y does not have x's shape.
    Backward raises GradientError if the derivative does not have x's shape.
    """

    def require(y, inputs):
        for name, x in inputs.items():
            if np.shape(y) != x.shape:
                raise ValueError(
                    f"{_name(function)}: y must have the shape of {name}, {x.shape}, not {np.shape(y)}. If an entry of "
                    f"y depends on several entries of {name}, see from_jacobian of gradcheck.adapters"
                )

    def product(name, x, y, d, dy):
        if d.shape != x.shape:
            raise fault(_name(function), f"the derivative for {name} has shape {d.shape}, but {name} has {x.shape}")
        return _as_precise(dy, d) * d.conj()

    return _adapted(function, derivative, "derivative", require, product)


def from_jacobian(function: Callable[..., Any], jacobian: Callable[..., Any] | None = None) -> Differentiable:
    """Make a differentiable function from an array-valued f(x) and its Jacobian.

        check(from_jacobian(f, jacobian), x)                two functions, as for scipy.optimize.least_squares
        check(from_jacobian(f), x)                          one function that returns (y, J)
        check(from_jacobian(motion, jacobian), x, u=u)      two functions, and a control without a Jacobian

    J has a row for each entry of y and a column for each entry of x, or shape y.shape + x.shape. It may be a sparse
    matrix of SciPy. The index of a wrong entry of dx is that of the wrong column of J; `gradcheck.jacobian` returns the
    true J. Raises TypeError if an argument is not a function. Backward raises GradientError if J has another shape.
    """

    def product(name, x, y, j, dy):
        rows, columns = np.size(y), x.size
        if j.shape not in ((rows, columns), (*np.shape(y), *x.shape)):
            wanted = f"{(rows, columns)}: a row for each entry of y, a column for each of {name}"
            transposed = "; it is transposed" if j.shape == (columns, rows) else ""
            raise fault(_name(function), f"the Jacobian for {name} has shape {j.shape}, not {wanted}{transposed}")
        return (_as_precise(dy, j).ravel() @ j.reshape(rows, columns).conj()).reshape(x.shape)

    return _adapted(function, jacobian, "Jacobian", lambda y, inputs: None, product)


def _adapted(function, derivative, noun, require, product):
    """Return a function of the inputs and options that returns (y, backward).

    `noun` names the derivative in error messages. `require(y, {name: input})` raises an exception if y is invalid.
    `product(name, input, y, derivative, dy)` multiplies dy by the derivative and returns the gradient of the input.
    """
    for role, given in {"function": function, noun: derivative}.items():
        if not (callable(given) or (given is None and role == noun)):
            raise TypeError(f"the {role} is {describe(given)}; it must be a function")

    @functools.wraps(function)
    def y_and_backward(*inputs, **options):
        y = function(*inputs, **options)
        if derivative is None:
            if not (isinstance(y, tuple) and len(y) == 2):
                expected = f"expected a pair of its value and the {noun}"
                raise TypeError(f"{_name(function)} returned {describe(y)}; {expected}")
            y, beside = y
        named = zip(Call(function, *inputs).input_names(), inputs, strict=True)
        arrays = {name: x for name, x in named if is_floating(x)}
        require(y, arrays)

        def backward(dy):
            given, dy = beside if derivative is None else derivative(*inputs, **options), np.asarray(dy)
            if noun == "gradient" and any(isinstance(x, (dict, list, tuple)) for x in inputs):
                scaled = {place: dy.item() * _as_array(leaf) for place, leaf in leaves(given)}
                return filled(given, scaled)  # from_nested flattens the result
            if len(arrays) == 1 and not (isinstance(given, tuple) and len(given) == 1):
                given = (given,)
            count = len(given) if isinstance(given, (tuple, list)) else 1
            if count != len(arrays) or not isinstance(given, (tuple, list)):
                wanted = f"{len(arrays)} {noun}s in a tuple, one for each of {', '.join(arrays)}"
                problem = f"there must be {wanted}, not {count}; pass other arrays as keyword arguments"
                raise fault(_name(function), problem)
            pairs = zip(arrays.items(), given, strict=True)
            gradients = tuple(product(name, x, y, _as_array(d), dy) for (name, x), d in pairs)
            return gradients[0] if len(gradients) == 1 else gradients

        return y, backward

    y_and_backward.__name__ = _name(function)
    return y_and_backward


def _as_array(derivative):
    """Convert a number, list or sparse matrix to an array. An array of floats keeps its precision."""
    array = np.asarray(derivative.toarray() if hasattr(derivative, "toarray") else derivative)
    return array if array.dtype.kind in "fc" else array.astype(float)


def _as_precise(dy, derivative):
    return dy if np.iscomplexobj(dy) else dy.astype(derivative.dtype)


def _name(function):
    return Call(function).name
