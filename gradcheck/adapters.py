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

Parameters are found where layers of this kind have them:

    layer.params["W"], layer.grads["W"] (or "dW")           dictionaries; also parameters / gradients
    layer.params[0], layer.grads[0]                         lists
    layer.W, layer.dW                                       attributes; also W_grad, grad_W

Anything that looks like a parameter but has no gradient beside it (a running mean, or a dW that backward makes) is
refused rather than passed over, since an unchecked parameter looks like a right one. But of a layer that has such a
dictionary or list, only what is in it is looked at. Where parameters are elsewhere, name them:
`from_layer(layer, {"W": "dW"})`.

Each call works on a copy of the layer, so that the layer is left as it was, its random state included, and the closure
has a cache of its own. The price is that a mistake which needs two calls on the same layer is not seen: such layers
cannot be called twice before backward, and that is a good reason to write closures.
"""

import copy
import functools

import numpy as np

from gradcheck.call import describe
from gradcheck.given_derivatives import from_derivative, from_jacobian, from_value_and_gradient
from gradcheck.nested import from_nested

__all__ = ["from_derivative", "from_jacobian", "from_layer", "from_nested", "from_pair", "from_value_and_gradient"]

DICTIONARIES = (("params", "grads"), ("parameters", "gradients"))
PATTERNS = ("d{}", "{}_grad", "grad_{}")


def from_pair(forward, backward):
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


def from_layer(layer, parameters=None):
    """Return a module of a layer with `forward(*inputs, **options) -> y` and `backward(dy) -> gradients of the inputs`.

    Give it to `gradcheck.check_module`, or to a Call. `parameters` maps the names of parameters to those of their
    gradients, as attributes or entries of the layer's dictionaries; left out, they are found as described above. A
    layer without any has `parameters={}`.

    Raises TypeError if there is no forward or no backward, and ValueError if an array where parameters are looked for
    has no gradient beside it, or if what was named is no floating-point array.
    """
    for method in ("forward", "backward"):
        if not callable(getattr(layer, method, None)):
            raise TypeError(f"{type(layer).__name__} has no method {method}()")
    return _Layer(layer, _find(layer) if parameters is None else _named(layer, parameters))


class _Layer:
    """A stateful layer as a module: named parameters, and a call that returns (y, backward)."""

    def __init__(self, layer, places):
        self.layer = layer
        self.forward = layer.forward  # for the names of the inputs
        self.__name__ = type(layer).__name__
        self.places = places
        self.parameters = {name: _Parameter(layer, value) for name, (value, _) in places.items()}

    def named_parameters(self):
        """Yield (name, parameter), by the names that the layer has for their values."""
        yield from self.parameters.items()

    def __call__(self, *inputs, **options):
        layer = copy.deepcopy(self.layer)
        y = layer.forward(*inputs, **options)

        def backward(dy):
            for value, gradient in self.places.values():
                if isinstance(gradient.get(layer), np.ndarray):  # it may add to what it finds
                    gradient.set(layer, np.zeros_like(value.get(layer)))
            dx = layer.backward(dy)
            for name, parameter in self.parameters.items():
                parameter.accumulate(self.places[name][1].get(layer))
            return _as_gradients(dx)

        return y, backward


class _Parameter:
    """A parameter whose data lives in the layer."""

    def __init__(self, layer, place):
        self.layer = layer
        self.place = place
        self.grad = None

    @property
    def data(self):
        """The array in the layer."""
        return self.place.get(self.layer)

    @data.setter
    def data(self, array):
        self.place.set(self.layer, array)

    def accumulate(self, grad):
        """Add a gradient, as backward passes do."""
        if grad is not None:
            self.grad = grad if self.grad is None else self.grad + grad


class _Attribute:
    """A place in a layer: an attribute."""

    def __init__(self, name):
        self.name = name

    def get(self, layer):
        """Return what is there, None for nothing."""
        return getattr(layer, self.name, None)

    def set(self, layer, value):
        """Put a value there."""
        setattr(layer, self.name, value)


class _Entry:
    """A place in a layer: an entry of a dictionary or list that is an attribute, under one key or the other."""

    def __init__(self, container, *keys):
        self.container = container
        self.keys = keys

    def get(self, layer):
        """Return what is there under the first key that there is, None for nothing."""
        entries = getattr(layer, self.container, {})
        present = entries if isinstance(entries, dict) else range(len(entries))
        return next((entries[key] for key in self.keys if key in present), None)

    def set(self, layer, value):
        """Put a value under the first key that there is, the first of all if there is none."""
        entries = getattr(layer, self.container)
        key = next((key for key in self.keys if not isinstance(entries, dict) or key in entries), self.keys[0])
        entries[key] = value


def _find(layer):
    """Return {name: (place of the value, place of the gradient)}, by the conventions in this file's docstring."""
    container = _container(layer)
    if container is None:
        pairs, unpaired = _attributes(layer)
    else:
        pairs, unpaired = _entries(layer, *container)
    if unpaired:
        raise ValueError(
            f"{type(layer).__name__}: {unpaired[0]} looks like a parameter, but has no gradient beside it; say which "
            f"arrays are parameters, and where their gradients are: from_layer(layer, {{'W': 'dW'}}), or {{}} for none"
        )
    return pairs


def _container(layer):
    """Return the names of the attributes that hold parameters and gradients, if the layer has such."""
    for values, gradients in DICTIONARIES:
        if isinstance(getattr(layer, values, None), (dict, list)):
            return values, gradients
    return None


def _attributes(layer):
    arrays = [name for name, value in vars(layer).items() if _is_real_array(value)]
    gradient_of = {name: [g for g in (p.format(name) for p in PATTERNS) if g in vars(layer)] for name in arrays}
    gradients = {g for names in gradient_of.values() for g in names}
    values = [name for name in arrays if name not in gradients]
    pairs = {name: (_Attribute(name), _Attribute(gradient_of[name][0])) for name in values if gradient_of[name]}
    return pairs, [name for name in values if name not in pairs]


def _entries(layer, values, gradients):
    entries, known = getattr(layer, values), getattr(layer, gradients, None)
    keyed = isinstance(entries, dict)
    pairs, unpaired = {}, []
    for key in entries if keyed else range(len(entries)):
        label = f"{values}[{key!r}]"
        if not _is_real_array(entries[key]):
            raise ValueError(
                f"{type(layer).__name__}: {label} is {describe(entries[key])}, not a floating-point array; "
                "a layer that makes its parameters in its first forward pass must have run it"
            )
        keys = (key, f"d{key}") if keyed else (key,)
        if keyed and known and not any(k in known for k in keys):
            unpaired.append(label)
        pairs[key if keyed else label] = (_Entry(values, key), _Entry(gradients, *keys))
    return pairs, unpaired


def _named(layer, parameters):
    values, gradients = _container(layer) or (None, None)
    entries = getattr(layer, values, {}) if values else {}
    pairs = {}
    for name, gradient in parameters.items():
        is_entry = isinstance(entries, dict) and name in entries
        array = entries[name] if is_entry else getattr(layer, name, None)
        if not _is_real_array(array):
            raise ValueError(f"{type(layer).__name__}: {name} is {describe(array)}, not a floating-point array")
        if is_entry:
            pairs[name] = (_Entry(values, name), _Entry(gradients, gradient))
        else:
            pairs[name] = (_Attribute(name), _Attribute(gradient))
    return pairs


def _is_real_array(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _as_gradients(returned):
    return tuple(returned) if isinstance(returned, list) else returned
