"""An adapter for several outputs, and for inputs in nested dictionaries, lists and tuples.

It extracts the arrays from the inputs and puts them back for each call. It concatenates the outputs into one vector,
and splits dy in the same way for backward: check(*from_nested(network, {"W": w, "b": b}, x)).
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gradcheck.call import Call, describe, is_floating, is_module, parameters_of
from gradcheck.report import fault

NUMBERS = (np.ndarray, np.generic, float, complex)


def from_nested(function: Callable[..., Any], *inputs: Any) -> tuple[Any, ...]:
    """Return the arguments of `check` for a function with nested inputs: `check(*from_nested(function, *inputs))`.

    For a module, they are those of `check_module`. The arguments are a function of arrays, followed by the
    floating-point arrays in the inputs, in order. The arrays have names such as params['W1'] or layers[0]['b']. All
    other values in the inputs are constants. Pass options to `check`. The gradients have the structure of the inputs.
    In a dictionary the gradient of W may have the key W or dW, and further keys are allowed. Other adapters are applied
    first: from_nested(from_value_and_gradient(loss), params).

    Raises TypeError if `function` is not a function, and ValueError if the inputs contain no such array. Backward
    raises GradientError if the gradients do not have the structure of the inputs.
    """
    call = Call(function, *inputs)
    names = call.input_names()
    places = {place: leaf for place, leaf in leaves(inputs) if is_floating(leaf)}
    if not places:
        raise ValueError(f"{call.name}: the inputs contain no floating-point array")

    @functools.wraps(function)
    def of_arrays(*arrays, **options):
        returned = function(*filled(inputs, dict(zip(places, arrays, strict=True))), **options)
        if not (isinstance(returned, tuple) and len(returned) == 2 and callable(returned[1])):
            return returned  # the check raises an error about it
        outputs, backward = returned
        parts = {place: np.asarray(leaf) for place, leaf in leaves(outputs) if isinstance(leaf, NUMBERS)}
        is_one = isinstance(outputs, NUMBERS) or not parts
        y = outputs if is_one else np.concatenate([*parts.values()], axis=None)

        def backward_of_arrays(dy):
            cuts = np.cumsum([part.size for part in parts.values()])[:-1]
            pieces = zip(parts.items(), np.split(np.ravel(dy), cuts), strict=True)
            dys = {place: piece.reshape(part.shape) for (place, part), piece in pieces}
            gradients = tuple(_gradients(call.name, names, inputs, backward(filled(outputs, dys))))
            return gradients[0] if len(gradients) == 1 else gradients

        return y, backward_of_arrays

    shown = [names[i] + "".join(f"[{key!r}]" for key in keys) for i, *keys in places]
    of_arrays.names_of_inputs = shown  # type: ignore[attr-defined]
    if hasattr(function, "of_gradients"):
        gradients = function.of_gradients(inputs)
        of_arrays.of_gradients = lambda _: from_nested(gradients, *inputs, np.zeros(1))[0]  # type: ignore[attr-defined]
    if hasattr(function, "calls_within"):
        of_arrays.kind_of_rule = function.kind_of_rule  # type: ignore[attr-defined]
        of_arrays.calls_within = lambda arrays, options: function.calls_within(  # type: ignore[attr-defined]
            filled(inputs, dict(zip(places, arrays, strict=True))), options
        )
    if is_module(function):
        of_arrays.named_parameters = parameters_of(function).items  # type: ignore[attr-defined]
    return of_arrays, *places.values()


def leaves(value, place=()):
    """Yield (place, leaf) for the values in nested dictionaries, lists and tuples.

    A place is the tuple of keys that lead to the leaf.
    """
    if not isinstance(value, (dict, list, tuple)):
        yield place, value
        return
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(item, (*place, key))


def filled(value, new, place=()):
    """Return a copy of a nested value with some leaves replaced.

    `new` maps the places of these leaves to their new values.
    """
    if isinstance(value, dict):
        return {key: filled(item, new, (*place, key)) for key, item in value.items()}
    if not isinstance(value, (list, tuple)):
        return new.get(place, value)
    items = [filled(item, new, (*place, i)) for i, item in enumerate(value)]
    return value._make(items) if hasattr(value, "_make") else type(value)(items)


def _gradients(name, names, inputs, returned):
    """Yield the gradient of each array in the inputs, in order, from `returned`, the result of backward.

    `name` and `names` are the names of the function and of the inputs, for error messages.
    """
    wanted = {names[i]: value for i, value in enumerate(inputs) if any(is_floating(leaf) for _, leaf in leaves(value))}
    if len(wanted) == 1:
        (value,) = wanted.values()
        is_wrapped = isinstance(returned, tuple) and len(returned) == 1 and _kind(returned[0]) == _kind(value)
        returned = returned if is_wrapped else (returned,)
    count = len(returned) if isinstance(returned, (tuple, list)) else 1
    if not isinstance(returned, (tuple, list)) or count != len(wanted):
        problem = f"backward returned {count} gradients, expected {len(wanted)}: one for each of {', '.join(wanted)}"
        raise fault(name, problem)
    for (label, value), gradient in zip(wanted.items(), returned, strict=True):
        places = [place for place, leaf in leaves(value) if is_floating(leaf)]
        given = dict(leaves(gradient))
        found = [next((at for at in given if _is_like(at, place)), None) for place in places]
        if None in found and isinstance(value, (list, tuple)) and isinstance(gradient, (list, tuple)):
            found = list(given) if len(given) == len(places) else found  # without the constants
        missing = [place for place, at in zip(places, found, strict=True) if at is None]
        if missing:
            inside = f" of {', '.join(map(repr, gradient)) or 'nothing'}" if isinstance(gradient, dict) else ""
            shown = ", ".join(label + "".join(f"[{key!r}]" for key in place) for place in missing)
            raise fault(
                name, f"the gradient of {label} is {describe(gradient)}{inside}; it must contain that of {shown}"
            )
        yield from (given[place] for place in found)


def _is_like(at, place):
    """Return True if `at`, the keys of a gradient, and `place`, the keys of an array, belong together.

    Each key must be the same, except that a key of the gradient may begin with d.
    """
    return len(at) == len(place) and all(key in (name, f"d{name}") for key, name in zip(at, place, strict=True))


def _kind(value):
    return next((kind for kind in (dict, (list, tuple)) if isinstance(value, kind)), None)
