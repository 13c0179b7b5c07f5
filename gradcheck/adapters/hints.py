"""Hints for error messages about a function with another interface, which name a suitable adapter."""

import numpy as np

WHERE = "of gradcheck.adapters"


def for_no_pair(returned):
    """Return a hint for a function that returned something other than a pair."""
    if isinstance(returned, tuple):
        return f"; for outputs with a cache see from_pair {WHERE}" if len(returned) > 2 else ""
    if not _is_numeric(returned):
        return ""
    if np.size(returned) == 1:
        return f"; if a second function returns its gradient, see from_value_and_gradient {WHERE}"
    return f"; if a second function returns its derivative, see from_derivative, or from_jacobian, {WHERE}"


def for_no_backward(y, second):
    """Return a hint for a pair (y, second) whose second element is not a function."""
    cache = f"for a cache see from_pair {WHERE}"
    if _is_numeric(y) and np.size(y) == 1 and (_is_numeric(second) or isinstance(second, (dict, list))):
        return f"for a value and its gradient see from_value_and_gradient {WHERE}, {cache}"
    if not (_is_numeric(y) and _is_numeric(second)):
        return cache
    if np.ndim(second) > np.ndim(y) or (np.ndim(second) == 2 and np.shape(second) != np.shape(y)):
        return f"for a Jacobian see from_jacobian {WHERE}, {cache}"
    if np.shape(second) == np.shape(y):
        return f"for the derivative of each entry see from_derivative {WHERE}, {cache}"
    return cache


def for_nested(values):
    """Return a hint if some of the values are dictionaries, lists or tuples of arrays."""
    kinds = [
        type(value).__name__ for value in values if isinstance(value, (dict, list, tuple)) and _holds_arrays(value)
    ]
    return f"; for arrays in a {kinds[0]} see from_nested {WHERE}" if kinds else ""


def _holds_arrays(value):
    items = value.values() if isinstance(value, dict) else value
    return any(
        isinstance(item, np.ndarray) or (isinstance(item, (dict, list, tuple)) and _holds_arrays(item))
        for item in items
    )


def _is_numeric(value):
    return isinstance(value, (int, float, np.ndarray, np.generic))
