"""Adapters for other common interfaces of hand-written gradients.

gradcheck checks functions that return their value and a closure, `(y, backward)`. The adapters convert code with other
interfaces, so that it can be checked without rewriting.

**A pair of functions with a cache**, as in many courses:

    def affine_forward(x, w, b):
        return x @ w + b, (x, w)

    def affine_backward(dout, cache):
        x, w = cache
        return dout @ w.T, x.T @ dout, dout.sum(axis=0)

    gradcheck.check(from_pair(affine_forward, affine_backward), x, w, b)

`backward(dy, cache)` returns one gradient for each floating-point input, in order. Several gradients form a tuple or a
list.

**An explicit derivative, gradient or Jacobian**: from_derivative, from_value_and_gradient and from_jacobian
(gradcheck/adapters/derivatives.py).

    gradcheck.check(from_jacobian(motion, jacobian_of_motion), state, control=u)

**Several outputs, or inputs in dictionaries and lists**: from_nested (gradcheck/adapters/nested.py).

    gradcheck.check(*from_nested(network, params, x))

**A layer that keeps its cache, its parameters and their gradients on `self`**:

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

Parameters are found in the layer and in the layers within it by the usual conventions: `layer.W` and `layer.dW`,
`layer.params["W"]` and `layer.grads["W"]`, objects with `.data` and `.grad` (gradcheck/adapters/layer_parameters.py).
An array that looks like a parameter but has no gradient (a running mean, or a parameter whose dW only backward creates)
raises an error that names it. It is not ignored, since the report would not show that it was left unchecked. If your
code follows another convention, name the parameters: `from_layer(block, {"first.W": "first.gradient_of_W"})`.

Each forward pass runs on a copy of the layer, and each backward pass on a copy of that copy. The layer, including its
random state, is therefore unchanged, and backward may consume the cache. As a consequence, mistakes that need two
forward calls on the same layer before backward are not detected.
"""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gradcheck.adapters.derivatives import from_derivative, from_jacobian, from_value_and_gradient
from gradcheck.adapters.layer_parameters import find, named, refuse_late
from gradcheck.adapters.nested import from_nested
from gradcheck.call import Differentiable, describe

__all__ = ["from_derivative", "from_jacobian", "from_layer", "from_nested", "from_pair", "from_value_and_gradient"]


def from_pair(forward: Callable[..., tuple[Any, Any]], backward: Callable[..., Any]) -> Differentiable:
    """Return a differentiable function made from `forward` and `backward`.

    `forward(*inputs, **options)` returns (y, cache), and `backward(dy, cache)` returns the gradients. Pass the result
    to `gradcheck.check` or to a Call. Raises TypeError if one of the two is not a function. The result raises TypeError
    if forward does not return a pair.
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
    """Return a module made from a layer with methods `forward` and `backward`.

    `layer.forward(*inputs, **options)` returns y, and `layer.backward(dy)` returns the gradients of the inputs. Pass
    the result to `gradcheck.check_module` or to a Call. `parameters` maps the names of parameters to those of their
    gradients. Both are attributes of the layer or keys of its dictionaries, with dots for layers within the layer. By
    default they are found by the conventions described above. Pass `parameters={}` for a layer without parameters.

    Raises TypeError if the layer has no forward or no backward, and ValueError if an array that looks like a parameter
    has no gradient, or if a named parameter is not a floating-point array. The result raises ValueError if forward
    creates parameters that did not exist before.
    """
    for method in ("forward", "backward"):
        if not callable(getattr(layer, method, None)):
            raise TypeError(f"{type(layer).__name__} has no method {method}()")
    if parameters is None:
        return _Layer(layer, find(layer), is_told=False)
    return _Layer(layer, named(layer, parameters), is_told=True)


class _Layer:
    """A stateful layer as a module: it has named parameters, and a call returns (y, backward).

    `is_told` is True if the caller named all parameters. Otherwise the first call tests whether forward creates others.
    """

    def __init__(self, layer, found, is_told):
        self.layer = layer
        self.is_told = is_told
        self.forward = layer.forward  # for the names of the inputs
        self.__name__ = type(layer).__name__
        self.found = found
        self.parameters = {name: _Parameter(layer, parameter.places) for name, parameter in found.items()}

    def named_parameters(self):
        """Yield (name, parameter), under the names that the layer uses."""
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
                    if isinstance(place.get(layer), np.ndarray):  # backward may accumulate into it
                        place.set(layer, np.zeros_like(parameter.places[0].get(layer)))
            dx = layer.backward(dy)
            for name, parameter in self.parameters.items():
                parameter.accumulate(self.found[name].gradient(layer))
            return _as_gradients(dx)

        return y, backward


class _Parameter:
    """A parameter whose data is an array in the layer, which may be stored in several places."""

    def __init__(self, layer, places):
        self.layer = layer
        self.places = places
        self.grad = None

    @property
    def data(self):
        """Return the array in the layer."""
        return self.places[0].get(self.layer)

    @data.setter
    def data(self, array):
        for place in self.places:
            place.set(self.layer, array)

    def accumulate(self, grad):
        """Add a gradient to `grad`, as backward passes do."""
        if grad is not None:
            self.grad = grad if self.grad is None else self.grad + grad


def _as_gradients(returned):
    return tuple(returned) if isinstance(returned, list) else returned
