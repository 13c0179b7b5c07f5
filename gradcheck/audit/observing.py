"""Record everything that a check could notice when a case runs.

An observation contains the gradients that two calls of backward return, and the values of dy, the arguments and the
parameters after these calls. Two observations are the same if their gradients have the same shapes and dtypes and agree
to 1e-12 of the largest entry, and if all other arrays are identical.
"""

import functools
import os
import sys

import numpy as np

from gradcheck.call import Call, clear_gradients, parameters_of
from gradcheck.cases import exits_as_errors

SAME = 1e-12

real_path = functools.lru_cache(os.path.realpath)


@exits_as_errors()
def observe(case, seed, is_varied=False):
    """Run both passes of a case, the backward pass twice.

    Returns two lists of arrays: the gradients of both calls, and all other arrays. If backward raises RuntimeError in
    the second call, only the first gradients are returned. A missing gradient is None.
    """
    call = case.call(np.random.default_rng(seed))
    if is_varied:
        call = varied(call, np.random.default_rng([seed, *b"varied"]))
    y, backward = call.evaluate()
    dy = np.random.default_rng([seed, *b"audit"]).standard_normal(np.shape(y))
    parameters = parameters_of(call.target).values()
    gradients = []
    for is_second in (False, True):
        clear_gradients(call.target)
        try:
            returned = backward(dy)
        except RuntimeError:
            if not is_second:
                raise
            break  # backward may refuse a second call
        given = [*(returned if isinstance(returned, tuple) else [returned]), *(p.grad for p in parameters)]
        gradients += [None if gradient is None else np.array(gradient) for gradient in given]
    others = [value for value in (*call.inputs, *call.options.values()) if isinstance(value, np.ndarray)]
    return gradients, [dy, *others, *(parameter.data for parameter in parameters)]


def varied(call, rng):
    """Return a copy of `call` in which arrays, masks and numbers are changed at random.

    Parameters are changed in place. Values are multiplied by random factors and shifted a little. Most of them keep
    their sign, which some functions require, but none remains 0 or 1.
    """

    def vary(value):
        if isinstance(value, np.ndarray) and value.dtype == np.bool_:
            return value ^ (rng.random(value.shape) < 0.3)
        is_array = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        if not is_array and not isinstance(value, float):
            return value
        new = value * rng.uniform(0.6, 1.4, np.shape(value)) + rng.uniform(0.05, 0.2, np.shape(value))
        return new.astype(value.dtype) if is_array else float(new)

    for parameter in parameters_of(call.target).values():
        parameter.data = vary(parameter.data)
    inputs = [vary(value) for value in call.inputs]
    return Call(call.target, *inputs, **{name: vary(value) for name, value in call.options.items()})


def is_same(a, b):
    (gradients_a, others_a), (gradients_b, others_b) = a, b
    if [_kind(x) for x in gradients_a] != [_kind(y) for y in gradients_b]:
        return False
    pairs = [(x, y) for x, y in zip(gradients_a, gradients_b, strict=True) if y is not None]
    tolerance = SAME * max((np.max(np.abs(y)) for _, y in pairs if y.size), default=0.0)
    close = all(np.allclose(x, y, rtol=0, atol=tolerance, equal_nan=True) for x, y in pairs)
    return close and all(x.tobytes() == y.tobytes() for x, y in zip(others_a, others_b, strict=True))


def _kind(array):
    return None if array is None else (array.shape, array.dtype)


def trace_lines(is_traced, function, *arguments):
    """Call a function. Return its result and the set of (file, line) that it ran where is_traced(file) is true."""
    found, before = set(), sys.gettrace()

    def in_frame(frame, event, argument):
        if event == "line":
            found.add((frame.f_code.co_filename, frame.f_lineno))
        return in_frame

    sys.settrace(lambda frame, *_: in_frame if is_traced(real_path(frame.f_code.co_filename)) else None)
    try:
        result = function(*arguments)
    finally:
        sys.settrace(before)
    return result, {(real_path(file), line) for file, line in found}
