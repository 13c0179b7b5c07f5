"""Draw other inputs of a function, to verify that a result does not hold by chance."""

import itertools

import numpy as np


def other_draws(run, rng, sizes=(True, False), with_integers=False):
    """Yield Calls of the same function with other values, the most different ones first.

    `run` is the Run with the original inputs, `sizes` lists the values of `is_larger` to try, and `with_integers` is
    passed on (see `varied`). Parameters are assigned new arrays. The original arrays remain in `run.arguments`.
    """
    for is_larger, is_signed in itertools.product(sizes, (True, False)):
        call = varied(run, rng, is_larger, is_signed, with_integers)
        if call is not None:
            yield call


def varied(run, rng, is_larger, is_signed, with_integers=False):
    """Return a Call of the same function with other arrays and numbers, or None.

    Floats are scaled at random. With `is_larger`, a random slice is repeated on every axis longer than 1. Because
    parameters cannot grow, None is returned if there are any. With `is_signed`, arrays with entries of both signs get
    random signs, masks and integer indices are permuted, and booleans are negated at random. With `with_integers` as
    well, integers, which may be indices or sizes, are increased by one.
    """
    parameters = {id(a.parameter.data) for a in run.arguments if a.parameter is not None}
    if is_larger and parameters:
        return None

    def vary(value):
        if isinstance(value, float):
            return value * rng.uniform(0.7, 0.95)
        if isinstance(value, int) and not isinstance(value, bool):
            return value + (with_integers and is_signed)
        if not isinstance(value, np.ndarray):
            return value
        if is_larger:
            for axis, n in enumerate(value.shape):
                if n > 1:
                    value = np.take(value, rng.permutation([*range(n), rng.integers(n)]), axis)
        is_float = value.dtype.kind == "f"
        if is_float and value.size > 1 and np.min(value) == 0 and len(np.unique(value)) == 2:  # a mask
            value = rng.permutation(value.ravel()).reshape(value.shape) if is_signed else value
        elif is_float:
            value = value * rng.uniform(0.7, 1.3, value.shape)
            if is_signed and np.min(value, initial=0.0) < 0 < np.max(value, initial=0.0):
                value = value * rng.choice([-1.0, 1.0], value.shape)
        elif value.dtype.kind == "b" and is_signed:
            value = value ^ (rng.random(value.shape) < 0.2)
        elif value.dtype.kind in "iu" and is_signed and not is_larger:
            value = rng.permutation(value.ravel()).reshape(value.shape)
        return np.asarray(value)

    for argument in run.arguments:
        if argument.parameter is not None:
            argument.parameter.data = vary(argument.array)
    moved = {id(a.array): vary(a.array) for a in run.arguments if a.parameter is None}
    inputs = [moved[id(value)] if id(value) in moved else vary(value) for value in run.call.inputs]
    return run.call.on(inputs, {name: vary(value) for name, value in run.call.options.items()})
