"""Adapters for the other common shapes of hand-written gradients.

gradcheck checks functions that return their value and a closure, `(y, backward)`. Most code that is out there looks
otherwise, and needs no rewriting to be checked.

**A pair of functions with a cache**, as in many courses:

    def affine_forward(x, w, b):
        return x @ w + b, (x, w)

    def affine_backward(dout, cache):
        x, w = cache
        return dout @ w.T, x.T @ dout, dout.sum(axis=0)

    gradcheck.check(from_pair(affine_forward, affine_backward), x, w, b)

`backward(dy, cache)` returns one gradient for each floating-point input, in order; more than one as a tuple or a list.

**A derivative that is written down as such**: from_value_and_gradient, from_derivative and from_jacobian
(gradcheck/given_derivatives.py).

    gradcheck.check(from_jacobian(motion, jacobian_of_motion), state, control=u)

**Several outputs, or inputs in dictionaries and lists**: from_nested (gradcheck/nested.py).

    gradcheck.check(*from_nested(network, params, x))

**A layer that keeps its cache on `self`**, with parameters and gradients beside each other:

    class Affine:
        def __init__(self, w, b):
            self.W, self.b = w, b
            self.dW = self.db = None

        def forward(self, x):
            self.cache = x
            return x @ self.W + self.b

        def backward(self, dout):
            self.dW, self.db = self.cache.T @ dout, dout.sum(axis=0)
            return dout @ self.W.T

    gradcheck.check_module(from_layer(Affine(w, b)), x)

Parameters are found in the layer and in the layers within it, wherever such code has them: `layer.W` and `layer.dW`,
`layer.params["W"]` and `layer.grads["W"]`, objects with `.data` and `.grad` (gradcheck/layer_parameters.py). What looks
like a parameter but has no gradient beside it (a running mean, or a dW that backward makes) is refused by its name
rather than passed over, since an unchecked parameter looks like a right one. Where parameters or gradients are
elsewhere, name them: `from_layer(block, {"first.W": "first.gradient_of_W"})`.

Each forward pass works on a copy of the layer, and each backward pass on a copy of that one, so that the layer is left
as it was, its random state included, and the closure has a cache of its own, which a backward may consume. The price is
that a mistake which needs two calls on the same layer is not seen: such layers cannot be called twice before backward,
and that is a good reason to write closures.
"""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gradcheck.call import Differentiable, describe
from gradcheck.given_derivatives import from_derivative, from_jacobian, from_value_and_gradient
from gradcheck.layer_parameters import find, named, refuse_late
from gradcheck.nested import from_nested

__all__ = ["from_derivative", "from_jacobian", "from_layer", "from_nested", "from_pair", "from_value_and_gradient"]


def from_pair(forward: Callable[..., tuple[Any, Any]], backward: Callable[..., Any]) -> Differentiable:
    """Return the differentiable function of `forward(*inputs, **options) -> (y, cache)` and `backward(dy, cache)`.

    Give it to `gradcheck.check`, or to a Call. Raises TypeError if one of the two is no function, and, when called, if
    forward does not return a pair.
    """
    for role, given, signature in (("forward", forward, "the inputs"), ("backward", backward, "(dy, cache)")):
        if not callable(given):
            raise TypeError(f"from_pair: {role} is {describe(given)}; it must be a function of {signature}")

    @functools.wraps(forward)
    def function(*inputs, **options):
        returned = forward(*inputs, **options)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            what = f"a tuple of {len(returned)}" if isinstance(returned, tuple) else describe(returned)
            raise TypeError(f"{function.__name__} returned {what}; expected a pair (y, cache)")
        y, cache = returned

        def backward_of_cache(dy):
            return _as_gradients(backward(dy, cache))

        return y, backward_of_cache

    return function


def from_layer(layer: Any, parameters: Mapping[str, str] | None = None) -> Differentiable:
    """Return a module of a layer with `forward(*inputs, **options) -> y` and `backward(dy) -> gradients of the inputs`.

    Give it to `gradcheck.check_module`, or to a Call. `parameters` maps the names of parameters to those of their
    gradients, as attributes or entries of the layer's dictionaries, dotted where they are in a layer within it; left
    out, they are found as described above. A layer without any has `parameters={}`.

    Raises TypeError if there is no forward or no backward, and ValueError if an array where parameters are looked for
    has no gradient beside it, or if what was named is no floating-point array; and, when called, if forward makes
    parameters that were not there before.
    """
    for method in ("forward", "backward"):
        if not callable(getattr(layer, method, None)):
            raise TypeError(f"{type(layer).__name__} has no method {method}()")
    if parameters is None:
        return _Layer(layer, find(layer), is_told=False)
    return _Layer(layer, named(layer, parameters), is_told=True)


class _Layer:
    """A stateful layer as a module: named parameters, and a call that returns (y, backward).

    `is_told` says that these are all parameters; otherwise the first call finds out whether forward makes others.
    """

    def __init__(self, layer, found, is_told):
        self.layer = layer
        self.is_told = is_told
        self.forward = layer.forward  # for the names of the inputs
        self.__name__ = type(layer).__name__
        self.found = found
        self.parameters = {name: _Parameter(layer, parameter.places) for name, parameter in found.items()}

    def named_parameters(self):
        """Yield (name, parameter), by the names that the layer has for their values."""
        yield from self.parameters.items()

    def __call__(self, *inputs, **options):
        if not self.is_told:
            refuse_late(self.layer, inputs, options)
            self.is_told = True
        after = copy.deepcopy(self.layer)
        y = after.forward(*inputs, **options)

        def backward(dy):
            layer = copy.deepcopy(after)
            for parameter in self.found.values():
                for place in parameter.gradients:
                    if isinstance(place.get(layer), np.ndarray):  # backward may add to what it finds
                        place.set(layer, np.zeros_like(parameter.places[0].get(layer)))
            dx = layer.backward(dy)
            for name, parameter in self.parameters.items():
                parameter.accumulate(self.found[name].gradient(layer))
            return _as_gradients(dx)

        return y, backward


class _Parameter:
    """A parameter whose data lives in the layer, in as many places as it is kept."""

    def __init__(self, layer, places):
        self.layer = layer
        self.places = places
        self.grad = None

    @property
    def data(self):
        """The array in the layer."""
        return self.places[0].get(self.layer)

    @data.setter
    def data(self, array):
        for place in self.places:
            place.set(self.layer, array)

    def accumulate(self, grad):
        """Add a gradient, as backward passes do."""
        if grad is not None:
            self.grad = grad if self.grad is None else self.grad + grad


def _as_gradients(returned):
    return tuple(returned) if isinstance(returned, list) else returned
