"""An adapter for a layer that keeps its cache, its parameters and their gradients on `self`.

Each forward pass runs on a copy of the layer, and each backward pass on a copy of that copy. The layer is therefore
unchanged, backward may consume the cache, and mistakes that need two forward calls before backward are not detected.
"""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradcheck.adapters.layer_parameters import find, look_up, named
from gradcheck.call import Differentiable

BACKWARD = ("backward", "backprop")
LEARNING_RATES = {"learning_rate", "learn_rate", "lr", "eta", "alpha", "step_size"}


def from_layer(layer: Any, parameters: Mapping[str, str] | None = None) -> Differentiable:
    """Return a module made from a layer with methods `forward` and `backward`.

    `layer.forward(*inputs, **options)` returns y, and `layer.backward(dy)` returns the gradients of the inputs. Instead
    of `forward` the layer may have `__call__`, and instead of `backward` it may have `backprop`. A method that returns
    None has stored its result in `layer.output` or `layer.dinputs`. A loss may have a method `backward()` without an
    argument. Pass the result to `gradcheck.check_module` or to a Call, or to `gradcheck.check` if it has no parameters.

    If backward has an argument for the learning rate, as in `backward(dy, learning_rate)`, it is called with 1. The
    gradient of an array that backward updates is then the value before minus the value after.

    `parameters` maps the names of parameters to those of their gradients. Both are attributes of the layer or keys of
    its dictionaries, with dots for layers within the layer, as in {"first.W": "first.gradient_of_W"}. By default they
    are found by the conventions described in layer_parameters.py. Pass {} for a layer without parameters.

    Raises TypeError if the layer has no forward or no backward. Raises ValueError if an array that looks like a
    parameter has no gradient, or if a name refers to no floating-point array. The first call of the result raises
    ValueError if a gradient is not there after backward, with the names that are, or if forward creates parameters.
    """
    has_forward = callable(getattr(layer, "forward", layer))
    has_backward = any(callable(getattr(layer, name, None)) for name in BACKWARD)
    for method, is_there in {"forward()": has_forward, "backward() or backprop()": has_backward}.items():
        if not is_there:
            raise TypeError(f"{type(layer).__name__} has no method {method}")
    _require_known_arguments(layer)
    return _Layer(layer, parameters)


class _Layer:
    def __init__(self, layer, parameters):
        self.layer = layer
        self.is_complete, self.is_looked_up = parameters is not None, False
        self.forward = forward_of(layer)  # for the names of the inputs
        self.__name__ = type(layer).__name__
        has_updates = bool(learning_rates(layer))
        self.parameters = find(layer, has_updates) if parameters is None else named(layer, parameters)

    def named_parameters(self):
        yield from self.parameters.items()

    def __call__(self, *inputs, **options):
        if not self.is_looked_up:
            look_up(self.layer, self.parameters, self.is_complete, inputs, options, (run_forward, run_backward))
            self.is_looked_up = True
        after = copy.deepcopy(self.layer)
        y = run_forward(after, inputs, options)

        def backward(dy):
            layer = copy.deepcopy(after)
            for parameter in self.parameters.values():
                parameter.clear_in(layer)
            dx = run_backward(layer, dy)
            for parameter in self.parameters.values():
                if (gradient := parameter.gradient_in(layer)) is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
            return tuple(dx) if isinstance(dx, list) else dx

        return y, backward


def forward_of(layer):
    return layer.forward if hasattr(layer, "forward") else layer.__call__


def backward_of(layer):
    return getattr(layer, _name_of_backward(layer))


def _name_of_backward(layer):
    return next(name for name in BACKWARD if callable(getattr(layer, name, None)))


def takes_dy(layer):
    """Return False if the backward method of a layer has no argument, as for a loss, whose dy is 1."""
    return bool(inspect.signature(backward_of(layer)).parameters)


def learning_rates(layer):
    """Return {name: 1.0} for the arguments of the backward method that are a learning rate. There is one or none."""
    return dict.fromkeys(LEARNING_RATES & {*inspect.signature(backward_of(layer)).parameters}, 1.0)


def _require_known_arguments(layer):
    signature = inspect.signature(backward_of(layer))
    try:
        signature.bind(*[None] * takes_dy(layer), **learning_rates(layer))
    except TypeError as error:
        raise TypeError(
            f"{type(layer).__name__}.{_name_of_backward(layer)}{signature}: from_layer passes dy, and 1 as a learning "
            "rate. For other arguments, write two functions and use from_pair of gradcheck.adapters"
        ) from error


def run_forward(layer, inputs, options):
    y = forward_of(layer)(*inputs, **options)
    return getattr(layer, "output", None) if y is None else y


def run_backward(layer, dy):
    dx = backward_of(layer)(*[dy] * takes_dy(layer), **learning_rates(layer))
    dx = getattr(layer, "dinputs", None) if dx is None else dx
    if takes_dy(layer):
        return dx
    return tuple(np.multiply(dy, d) for d in dx) if isinstance(dx, (tuple, list)) else np.multiply(dy, dx)
