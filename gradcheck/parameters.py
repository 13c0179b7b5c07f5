"""Preparing a module's parameters for a check, and giving them back as they were."""

from contextlib import contextmanager

import numpy as np

from gradcheck.call import parameters_of


def to_float64(module):
    """Replace the data of every floating-point parameter by a float64 copy."""
    for parameter in parameters_of(module).values():
        if parameter.data.dtype.kind == "f":
            parameter.data = parameter.data.astype(np.float64)


def randomize_parameters(module, rng):
    """Give every floating-point parameter O(1) random values, in place of the special ones that it starts from.

    Vectors are drawn from the standard normal distribution; matrices (fan_in, ...) likewise, over √fan_in, so that
    activations stay O(1) however deep the module. Each keeps its dtype.
    """
    for parameter in parameters_of(module).values():
        data = parameter.data
        if data.dtype.kind == "f":
            fan_in = data.shape[0] if data.ndim > 1 else 1
            parameter.data = (rng.standard_normal(data.shape) / max(fan_in, 1) ** 0.5).astype(data.dtype)


def clear_gradients(module):
    """Set every gradient to what it is before the first backward pass: None, or zeros where it was an array."""
    for parameter in parameters_of(module).values():
        parameter.grad = None if parameter.grad is None else np.zeros(parameter.data.shape)


@contextmanager
def borrowed(module):
    """Let every parameter require its gradient, for the `with` block.

    At its end, also after an exception, every parameter's data, gradient and flag are the objects that they were.
    """
    before = [(p, p.data, p.grad, getattr(p, "requires_grad", None)) for p in parameters_of(module).values()]
    try:
        for parameter, *_, requires_grad in before:
            if requires_grad is not None:
                parameter.requires_grad = True
        yield
    finally:
        for parameter, data, grad, requires_grad in before:
            parameter.data, parameter.grad = data, grad
            if requires_grad is not None:
                parameter.requires_grad = requires_grad
