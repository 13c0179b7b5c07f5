"""Compare the gradients of one Call with the true ones."""

import functools

import numpy as np

from gradcheck import GradientError, check_call
from minitransformer.learn.loading import Fault

ENTRIES = 200  # the number of entries of each argument that are compared if a gradient is wrong


def looked_at(call, dy, seed, **how):
    """Return None if every gradient is right, else gradcheck's Report.

    By default only the adjoint identity is tested, which is fast and covers all entries at once. A forward pass that
    does not accept complex numbers is checked with the default oracles. `how` is passed to gradcheck.check_call.
    """
    how = {"oracles": ("adjoint",), "explain": False, "max_entries": ENTRIES} | how
    try:
        check_call(call, dy=dy, seed=seed, **how)
    except GradientError as error:
        return error.report
    except ValueError:  # the forward pass does not accept complex numbers, or the call is invalid
        if how["oracles"] is None:
            raise
        return looked_at(call, dy, seed, **how | {"oracles": None})
    return None


def in_front(value, x):
    """Add an axis in front of an array if its first axis is that of x."""
    is_like = isinstance(value, np.ndarray) and value.ndim >= 2 and value.shape[0] == x.shape[0]
    return value[None] if is_like else value


def single(value):
    return value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value


def is_single(value):
    return isinstance(value, np.ndarray) and value.dtype == np.float32


def cotangent(call, seed):
    result = call.evaluate()
    if not is_pair(result):
        raise Fault(f"{call.name} must return the pair (y, backward), where backward is a function")
    return np.random.default_rng([seed, 7]).standard_normal(np.shape(result[0]))


def is_pair(result):
    return isinstance(result, (tuple, list)) and len(result) == 2 and callable(result[1])


def as_promised(function):
    """Wrap a function so that its backward returns a tuple instead of a list, and zeros for blank gradients."""

    @functools.wraps(function)
    def filled(*inputs, **options):
        result = function(*inputs, **options)
        if not is_pair(result):
            return result
        arrays = [value for value in inputs if isinstance(value, np.ndarray) and value.dtype.kind in "fc"]
        return result[0], functools.partial(with_zeros, result[1], arrays)

    return filled


def with_zeros(backward, arrays, *dy):
    """Return backward(*dy), converted from a list to a tuple, with zeros for blank gradients."""
    gradients = backward(*dy)
    gradients = tuple(gradients) if isinstance(gradients, list) else gradients
    given = gradients if isinstance(gradients, tuple) else (gradients,)
    if not any(gradient is ... for gradient in given) or len(given) != len(arrays):
        return gradients
    given = tuple(np.zeros(x.shape) if g is ... else g for g, x in zip(given, arrays, strict=True))
    return given if isinstance(gradients, tuple) else given[0]
