"""Lower a gradient of another form to a function that defines `backward`, whose lines can be examined.

The lowered function of a layer (methods.py) or of a value and its gradient (values.py) must return the same numbers, to
the last bit, as the code that it is made from.
"""

import copy

import numpy as np

from gradcheck.lines.methods import of_layer
from gradcheck.lines.values import of_value

SCALES = (1.0, 0.83)  # of the inputs on which the lowered function must return the same numbers


def lowered(call):
    """Convert the target of a Call to a function that defines `backward` inside.

    Returns (Call of the new function, its Source), or None if the target is of a kind that is not converted. The Source
    is None for a jax.custom_vjp, whose two passes are examined as they are. Raises ValueError if the code cannot be
    converted.
    """
    if hasattr(call.target, "by_rule"):
        return _by_rule(call), None
    is_layer = type(call.target).__module__ == "gradcheck.adapters.layers"
    found = of_layer(call) if is_layer else of_value(call)
    if found is not None:
        _require_same(call, found[0])
    return found


def _by_rule(call):
    other = copy.copy(call)
    other.target = call.target.by_rule(call.inputs, call.options)
    if other.target is None:
        raise ValueError(f"{call.name}: it is not a jax.custom_vjp, so there are no lines to examine")
    return other


def _require_same(call, other):
    """Raise ValueError unless a converted function computes the same numbers as the original.

    `call` calls the original function, and `other` the converted one. Both are run on scaled copies of the inputs, and
    y and all gradients are compared.
    """
    parameters, arrays = [*getattr(call.target, "parameters", {}).values()], other.inputs[len(call.inputs) :]
    for scale in SCALES:
        inputs = [scale * x if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in call.inputs]
        try:
            for parameter, array in zip(parameters, arrays, strict=True):
                parameter.data, parameter.grad = scale * array, None
            y, backward = call.on(inputs).evaluate()
            dy = np.cos(np.arange(np.size(y))).reshape(np.shape(y)) if not other.has_unit_dy else np.ones(np.shape(y))
            given = [*_listed(backward(call.as_y(dy))), *(parameter.grad for parameter in parameters)]
        finally:
            for parameter, array in zip(parameters, arrays, strict=True):
                parameter.data, parameter.grad = array, None
        y_too, backward = other.on([*inputs, *(scale * array for array in arrays)]).evaluate()
        found = _listed(backward(call.as_y(dy)))
        for i, (parameter, array) in enumerate(zip(parameters, arrays, strict=True), len(found) - len(parameters)):
            if not getattr(parameter, "gradients", True):  # the change of an array is rounded
                found[i] = scale * array - (scale * array - found[i])
        pairs = [(y, y_too), *zip(given, found, strict=True)]
        if not all(a is b or np.array_equal(a, b, equal_nan=True) for a, b in pairs):
            is_updated = not all(getattr(parameter, "gradients", True) for parameter in parameters)
            states = "parameters after their update" if is_updated else "other states of the object"
            raise ValueError(f"{call.name}: its lines cannot be examined, which depend on {states}")


def _listed(gradients):
    return [] if gradients is None else [*gradients] if isinstance(gradients, (tuple, list)) else [gradients]
