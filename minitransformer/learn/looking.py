"""A look at the gradients of a Call: is something wrong?"""

import functools

import numpy as np

from gradcheck import GradientError, check_call
from minitransformer.learn.loading import Fault

ENTRIES = 200  # of an argument that are looked at one by one, where something is wrong


def looked_at(call, dy, seed, **how):
    """Return None if every gradient is right, else gradcheck's Report.

    Unless `how` asks for more, it is the adjoint identity, which looks at all of them at once in a moment; where the
    forward pass takes no complex numbers, central differences.
    """
    how = {"oracles": ("adjoint",), "explain": False, "max_entries": ENTRIES} | how
    try:
        check_call(call, dy=dy, seed=seed, **how)
    except GradientError as error:
        return error.report
    except ValueError:  # the forward pass takes no complex numbers, or it is refused in any case
        if how["oracles"] is None:
            raise
        return looked_at(call, dy, seed, **how | {"oracles": None})
    return None


def in_front(value, x):
    """Return an array that begins with x's first axis with an axis before that; anything else as it is."""
    is_like = isinstance(value, np.ndarray) and value.ndim >= 2 and value.shape[0] == x.shape[0]
    return value[None] if is_like else value


def single(value):
    """An array of float64 as float32; anything else as it is."""
    return value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value


def is_single(value):
    return isinstance(value, np.ndarray) and value.dtype == np.float32


def cotangent(call, seed):
    """Return a random dy for a Call."""
    result = call.evaluate()
    if not is_pair(result):
        raise Fault(f"{call.name} must return two things, y and backward")
    return np.random.default_rng([seed, 7]).standard_normal(np.shape(result[0]))


def is_pair(result):
    """Whether a forward pass has returned y and backward."""
    return isinstance(result, (tuple, list)) and len(result) == 2 and callable(result[1])


def as_promised(function):
    """Return a function whose lists become tuples, and whose blank gradients become zeros."""

    @functools.wraps(function)
    def filled(*inputs, **options):
        result = function(*inputs, **options)
        if not is_pair(result):
            return result
        arrays = [value for value in inputs if isinstance(value, np.ndarray) and value.dtype.kind in "fc"]
        return result[0], functools.partial(with_zeros, result[1], arrays)

    return filled


def with_zeros(backward, arrays, *dy):
    """Return backward(dy), as a tuple if it is a list, with zeros for an array whose gradient is blank."""
    gradients = backward(*dy)
    gradients = tuple(gradients) if isinstance(gradients, list) else gradients
    given = gradients if isinstance(gradients, tuple) else (gradients,)
    if not any(gradient is ... for gradient in given) or len(given) != len(arrays):
        return gradients
    given = tuple(np.zeros(x.shape) if g is ... else g for g, x in zip(given, arrays, strict=True))
    return given if isinstance(gradients, tuple) else given[0]
