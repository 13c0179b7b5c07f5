"""An adapter for several outputs, and for inputs in nested dictionaries, lists and tuples.

It extracts the arrays from the inputs and puts them back for each call. It concatenates the outputs into one vector,
and splits dy in the same way for backward: check(*from_nested(network, {"W": w, "b": b}, x)).
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gradcheck.call import Call, describe, is_real
from gradcheck.report import fault

NUMBERS = (np.ndarray, np.generic, float)


def from_nested(function: Callable[..., Any], *inputs: Any) -> tuple[Any, ...]:
    """Return the arguments of `check` for a function with nested inputs: `check(*from_nested(function, *inputs))`.

    The arguments are a function of arrays, followed by the floating-point arrays in the inputs, in order. The arrays
    have names such as params['W1'] or layers[0]['b']. All other values in the inputs are constants. Pass options to
    `check`. The gradients have the structure of the inputs. In a dictionary the gradient of W may have the key W or
    dW, and further keys are allowed. Other adapters are applied first: from_nested(from_value_and_gradient(loss),
    params).

    Raises TypeError if `function` is not a function, and ValueError if the inputs contain no such array. Backward
    raises GradientError if the gradients do not have the structure of the inputs.
    """
    call = Call(function, *inputs)
    refused = functools.partial(fault, call.name)
    named = dict(zip(call.input_names(), inputs, strict=True))
    places = {place: leaf for name, value in named.items() for place, leaf in _arrays(name, value)}
    if not places:
        raise ValueError(f"{call.name}: the inputs contain no floating-point array")

    @functools.wraps(function)
    def of_arrays(*arrays, **options):
        by_place = dict(zip(places, arrays, strict=True))
        returned = function(*(_filled(name, value, by_place) for name, value in named.items()), **options)
        if not (isinstance(returned, tuple) and len(returned) == 2 and callable(returned[1])):
            return returned  # the check raises an error about it
        outputs, backward = returned
        parts = {place: np.asarray(leaf) for place, leaf in _leaves("y", outputs) if isinstance(leaf, NUMBERS)}
        is_one = isinstance(outputs, NUMBERS) or not parts
        y = outputs if is_one else np.concatenate([*parts.values()], axis=None)

        def backward_of_arrays(dy):
            cuts = np.cumsum([part.size for part in parts.values()])[:-1]
            pieces = zip(parts.items(), np.split(np.ravel(dy), cuts), strict=True)
            dys = {place: piece.reshape(part.shape) for (place, part), piece in pieces}
            gradients = tuple(_gradients(named, backward(_filled("y", outputs, dys)), refused))
            return gradients[0] if len(gradients) == 1 else gradients

        return y, backward_of_arrays

    of_arrays.names_of_inputs = tuple(places)  # type: ignore[attr-defined]
    return of_arrays, *places.values()


def _items(name, value):
    """Return {key: (place, item)} for a dictionary, list or tuple, otherwise None."""
    if not isinstance(value, (dict, list, tuple)):
        return None
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: (f"{name}[{key!r}]", item) for key, item in pairs}


def _leaves(name, value):
    items = _items(name, value)
    if items is None:
        yield name, value
    else:
        for place, item in items.values():
            yield from _leaves(place, item)


def _arrays(name, value):
    return [(place, leaf) for place, leaf in _leaves(name, value) if is_real(leaf)]


def _filled(name, value, by_place):
    """Return a copy of a nested value; `by_place` maps places, such as "params['W']", to new values of leaves."""
    items = _items(name, value)
    if items is None:
        return by_place.get(name, value)
    filled = {key: _filled(place, item, by_place) for key, (place, item) in items.items()}
    if isinstance(value, dict):
        return filled
    return value._make(filled.values()) if hasattr(value, "_make") else type(value)(filled.values())


def _gradients(named, returned, refused):
    """Yield the gradient of each array in the inputs `named`, {name: input}, from the result of backward."""
    wanted = {name: value for name, value in named.items() if _arrays(name, value)}
    if len(wanted) == 1:
        (value,) = wanted.values()
        is_wrapped = isinstance(returned, tuple) and len(returned) == 1 and _kind(returned[0]) == _kind(value)
        returned = returned if is_wrapped else (returned,)
    if not isinstance(returned, (tuple, list)) or len(returned) != len(wanted):
        count = len(returned) if isinstance(returned, (tuple, list)) else 1
        raise refused(f"backward returned {count} gradients, expected {len(wanted)}: one for {', '.join(wanted)}")
    for (name, value), gradient in zip(wanted.items(), returned, strict=True):
        yield from _found(name, value, gradient, refused)


def _kind(value):
    return next((kind for kind in (dict, (list, tuple)) if isinstance(value, kind)), None)


def _found(name, value, gradient, refused):
    items = _items(name, value)
    if items is None:
        yield gradient
        return
    places = {key: each for key, each in items.items() if _arrays(*each)}
    fits, keys = _kind(gradient) == _kind(value), list(places)
    if fits and isinstance(value, dict):
        keys = [key if key in gradient else f"d{key}" for key in keys]
        fits = all(key in gradient for key in keys)
    elif fits and len(gradient) != len(items):
        keys, fits = range(len(places)), len(gradient) == len(places)
    if not fits:
        inside = f" of {', '.join(map(repr, gradient)) or 'nothing'}" if isinstance(gradient, dict) else ""
        wanted = ", ".join(place for place, _ in places.values())
        raise refused(f"the gradient of {name} is {describe(gradient)}{inside}; it must contain those of {wanted}")
    for key, (place, item) in zip(keys, places.values(), strict=True):
        yield from _found(place, item, gradient[key], refused)
