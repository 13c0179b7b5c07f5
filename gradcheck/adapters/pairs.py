"""An adapter for a pair of functions with a cache, as in many courses: check(from_pair(forward, backward), x, w)."""

import functools
from collections.abc import Callable
from typing import Any

from gradcheck.call import Differentiable, describe


def from_pair(forward: Callable[..., tuple[Any, Any]], backward: Callable[..., Any]) -> Differentiable:
    """Return a differentiable function made from `forward` and `backward`.

    `forward(*inputs, **options)` returns (y, cache), and `backward(dy, cache)` returns one gradient for each
    floating-point input, in order. Several gradients form a tuple or a list. Pass the result to `gradcheck.check` or to
    a Call.

    Raises TypeError if `forward` or `backward` is not a function. The result raises TypeError if forward does not
    return a pair.
    """
    for role, given, signature in (("forward", forward, "the inputs"), ("backward", backward, "(dy, cache)")):
        if not callable(given):
            raise TypeError(f"from_pair: {role} is {describe(given)}; it must be a function of {signature}")

    @functools.wraps(forward)
    def function(*inputs, **options):
        returned = forward(*inputs, **options)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise TypeError(f"{function.__name__} returned {describe(returned)}; expected a pair (y, cache)")
        y, cache = returned

        def backward_of_cache(dy):
            gradients = backward(dy, cache)
            return tuple(gradients) if isinstance(gradients, list) else gradients

        return y, backward_of_cache

    return function
