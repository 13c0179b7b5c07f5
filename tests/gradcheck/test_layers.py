"""Layers within layers: every parameter is found and checked, wherever it is kept, or refused by its name."""

import copy

import numpy as np
import pytest
from verdicts import check_case, check_module, normal

from gradcheck import Call, Case
from gradcheck.adapters import from_layer

X = normal(4, 3)


class Map:
    """y = x W + b, whose dW is minus the truth if it is wrong."""

    def __init__(self, n_in, n_out, wrong=False):
        self.W, self.b = normal(n_in, n_out), np.zeros(n_out)
        self.dW = self.db = self.x = None
        self.wrong = wrong

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dy):
        self.dW, self.db = self.x.T @ dy * (-1 if self.wrong else 1), dy.sum(axis=0)
        return dy @ self.W.T


class Tanh:
    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, dy):
        return dy * (1 - self.y**2)


class Sequence:
    """Layers in sequence, kept in the container `kept(list)`."""

    def __init__(self, *layers, kept=list):
        self.layers = kept(layers)

    def in_order(self):
        return list(self.layers.values() if isinstance(self.layers, dict) else self.layers)

    def forward(self, x):
        for layer in self.in_order():
            x = layer.forward(x)
        return x

    def backward(self, dy):
        for layer in reversed(self.in_order()):
            dy = layer.backward(dy)
        return dy


class Residual:
    """y = x + second(tanh(first(x))), with methods that list its parameters under dotted names."""

    def __init__(self, n, wrong=False):
        self.first, self.tanh, self.second = Map(n, 5), Tanh(), Map(5, n, wrong)

    def forward(self, x):
        return x + self.second.forward(self.tanh.forward(self.first.forward(x)))

    def backward(self, dy):
        return dy + self.first.backward(self.tanh.backward(self.second.backward(dy)))

    def params(self):
        pairs = (("first", self.first), ("second", self.second))
        return {f"{name}.{key}": getattr(layer, key) for name, layer in pairs for key in ("W", "b")}


def names(report):
    return [argument.name for argument in report.arguments]


def wrong_ones(layer, parameters=None):
    report = check_module(from_layer(layer, parameters), X, raises=False)
    return [argument.name for argument in report.arguments if not argument.is_right]


def test_the_parameters_of_layers_within_a_layer_are_checked_under_dotted_names():
    report = check_module(from_layer(Residual(3)), X)
    assert names(report) == ["x", "first.W", "first.b", "second.W", "second.b"]
    assert wrong_ones(Residual(3, wrong=True)) == ["second.W"]


@pytest.mark.parametrize("kept", [list, tuple, lambda layers: {f"layer{i}": layer for i, layer in enumerate(layers)}])
def test_layers_are_found_in_lists_tuples_and_dictionaries_and_within_those_in_them(kept):
    inner = Sequence(Tanh(), Map(4, 2, wrong=True), kept=kept)
    prefix = "layers.layer" if kept not in (list, tuple) else "layers."
    assert wrong_ones(Sequence(Map(3, 4), inner, kept=kept)) == [f"{prefix}1.{prefix}1.W"]
    right = Sequence(Map(3, 4), Sequence(Tanh(), Map(4, 2), kept=kept), kept=kept)
    assert names(check_module(from_layer(right), X))[1:3] == [f"{prefix}0.W", f"{prefix}0.b"]


class Own:
    """A parameter as an object."""

    __slots__ = ("data", "grad")

    def __init__(self, data):
        self.data, self.grad = data, None


class Scale:
    """y = gain · x, the gain kept as `kept` keeps it: its value and its gradient are reached by functions."""

    def __init__(self, value, gradient, wrong=False, **attributes):
        vars(self).update(attributes)
        self.value_of, self.gradient_to, self.wrong = value, gradient, wrong

    def forward(self, x):
        self.x = x
        return x * self.value_of(self)

    def backward(self, dy):
        gain = self.value_of(self)
        self.gradient_to(self, (dy * self.x).sum(axis=0) * (2 if self.wrong else 1))
        return dy * gain


def into(container, key):
    return lambda layer, gradient: getattr(layer, container).__setitem__(key, gradient)


def to(name):
    return lambda layer, gradient: setattr(layer, name, gradient)


def of(gain):
    return {"gain": gain}


ONES = np.ones(3)
KEPT = {  # as what: (the value, how the gradient is put, the attributes, the name)
    "an object": (lambda s: s.gain.data, lambda s, g: setattr(s.gain, "grad", g), of(Own(ONES)), "gain"),
    "objects": (lambda s: s.own[0].data, lambda s, g: setattr(s.own[0], "grad", g), {"own": [Own(ONES)]}, "own[0]"),
    "grad_": (lambda s: s.gain, to("grad_gain"), {"gain": ONES.copy(), "grad_gain": None}, "gain"),
    "g": (lambda s: s.W, to("Wg"), {"W": ONES.copy(), "Wg": np.zeros(3)}, "W"),
    "a dictionary of gradients": (lambda s: s.gain, into("grads", "gain"), of(ONES) | {"grads": of(0)}, "gain"),
    "lists side by side": (lambda s: s.a[0], into("da", 0), {"a": [ONES.copy()], "da": [None]}, "a[0]"),
    "a tuple": (lambda s: s.params[0], into("grads", 0), {"params": (ONES.copy(),), "grads": [None]}, "params[0]"),
    "nested dictionaries": (
        lambda s: s.params["norm"]["gain"],
        lambda s, g: s.grads["norm"].__setitem__("gain", g),
        {"params": {"norm": of(ONES.copy())}, "grads": {"norm": of(None)}},
        "norm['gain']",
    ),
    "one dictionary": (lambda s: s.d["gain"], into("d", "dgain"), {"d": of(ONES) | {"dgain": None}}, "d['gain']"),
    "gradients that backward creates": (
        lambda s: s.params["gain"],
        into("grads", "dgain"),
        {"params": of(ONES.copy()), "grads": {}},
        "gain",
    ),
    "float32 gradients that add up": (
        lambda s: s.parameters["gain"],
        lambda s, g: s.gradients.__setitem__("gain", s.gradients["gain"] + g),
        {"parameters": of(np.ones(3, np.float32)), "gradients": of(np.full(3, 100, np.float32))},
        "gain",
    ),
    "arrays that backward writes into": (
        lambda s: s.params[0],
        lambda s, g: s.grads[0].__setitem__(..., g),
        {"params": [ONES.copy()], "grads": [np.zeros(3)]},
        "params[0]",
    ),
}


@pytest.mark.parametrize("kept", KEPT)
def test_a_parameter_is_found_however_it_is_kept(kept):
    value, gradient, attributes, name = KEPT[kept]
    report = check_module(from_layer(Scale(value, gradient, **attributes)), X)
    assert names(report) == ["x", name]
    assert wrong_ones(Scale(value, gradient, wrong=True, **attributes)) == [name]


@pytest.mark.parametrize(
    "attributes, name",
    [
        ({"weights": np.ones(3), "gradients": {}}, "weights"),  # as gradients["dLdW"]
        ({"weights": [np.ones(3)], "updates": [None]}, r"weights\[0\]"),
        ({"gain": Own(np.ones(3)), "table": np.ones(3)}, "table"),
        ({"cache": {"x": np.ones(3)}}, r"cache\['x'\]"),
    ],
)
def test_what_may_be_a_parameter_and_has_no_gradient_beside_it_is_refused_by_its_dotted_name(attributes, name):
    inner = Scale(None, None, **attributes)
    message = rf"Sequence: layers\.1\.{name} looks like a parameter, but has no gradient; .*if there are none"
    with pytest.raises(ValueError, match=message):
        from_layer(Sequence(Map(3, 3), inner))


def test_dotted_names_say_where_parameters_and_gradients_are():
    def layer(wrong=False):
        inner = Scale(lambda s: s.weights, into("gradients", "dLdW"), wrong, weights=np.ones(3), gradients={})
        return Sequence(Map(3, 3), inner)

    named = {"layers.0.W": "dW", "layers.0.b": "layers.0.db", "layers.1.weights": "layers.1.gradients.dLdW"}
    assert names(check_module(from_layer(layer(), named), X)) == ["x", *named]
    assert wrong_ones(layer(wrong=True), named) == ["layers.1.weights"]


class Listing(Sequence):
    """Layers whose parameters are in one list, as are their gradients, which backward writes into."""

    def __init__(self, *layers):
        super().__init__(*layers)
        self.params = [array for layer in layers for array in (layer.W, layer.b)]
        for layer in layers:
            layer.dW, layer.db = np.zeros_like(layer.W), np.zeros_like(layer.b)
        self.grads = [array for layer in layers for array in (layer.dW, layer.db)]


def test_a_list_of_the_parameters_of_all_layers_names_none_of_them_twice():
    expected = ["x", "layers.0.W", "layers.0.b", "layers.1.W", "layers.1.b"]
    assert names(check_module(from_layer(Listing(Map(3, 4), Map(4, 2))), X)) == expected
    assert wrong_ones(Listing(Map(3, 4), Map(4, 2, wrong=True))) == ["layers.1.W"]


def test_an_array_that_two_layers_share_is_refused_for_its_two_gradients():
    first, second = Map(3, 3), Map(3, 3)
    second.W = first.W
    with pytest.raises(ValueError, match=r"layers\.0\.W and layers\.1\.W are the same array, but have two gradients"):
        from_layer(Sequence(first, second))


class Positions:
    """A table that is added, and no parameter."""

    def __init__(self, table):
        self.table = table

    def forward(self, x):
        return x + self.table

    def backward(self, dy):
        return dy


def test_a_layer_that_lists_its_parameters_has_no_others_but_the_list_says_nothing_of_the_layers_within():
    class Model(Sequence):
        def params(self):
            return {f"map.{name}": getattr(self.layers[0], name) for name in ("W", "b")}

    class Outer(Sequence):
        def __init__(self, *layers):
            super().__init__(*layers)
            self.params, self.grads = {"shift": np.zeros(2)}, {}

    layers = Map(3, 2), Positions(normal(2))
    assert names(check_module(from_layer(Model(*layers)), X)) == ["x", "layers.0.W", "layers.0.b"]
    for kind in (Sequence, Outer):
        with pytest.raises(ValueError, match=rf"{kind.__name__}: layers\.1\.table looks like a parameter"):
            from_layer(kind(*layers))


def test_a_parameter_that_is_listed_and_not_found_is_refused():
    class Model(Sequence):
        def parameters(self):
            return [layer.W.copy() for layer in self.layers]

    with pytest.raises(
        ValueError, match=r"Model: parameters\[0\] is listed as a parameter, but no attribute holds it with a grad"
    ):
        from_layer(Model(Map(3, 3)))


def test_layers_that_make_their_parameters_in_the_first_forward_pass_are_refused():
    class Late(Map):
        def __init__(self):
            self.W = self.x = None
            self.parameters = {"W": None}

    class Later(Sequence):
        def params(self):
            return {"W": self.made.W}

    with pytest.raises(
        ValueError, match=r"Late: parameters\['W'\] is None, not a floating-point array; if the layer creates"
    ):
        from_layer(Sequence(Late()))
    with pytest.raises(
        ValueError, match=r"Later: params raises AttributeError: .*; if the layer creates its parameters"
    ):
        from_layer(Later(Tanh()))


class Lazy(Map):
    """Made to measure in the first forward pass."""

    def __init__(self, wrong=False):
        self.W = self.b = None
        self.n_out, self.wrong = 2, wrong

    def forward(self, x):
        if self.W is None:
            super().__init__(x.shape[-1], self.n_out, self.wrong)
        self.h = super().forward(x)
        return self.h

    def backward(self, dy):
        self.dh = dy  # an attribute next to it is not a parameter
        return super().backward(self.dh)


def test_parameters_that_forward_makes_are_not_passed_over():
    with pytest.raises(ValueError, match=r"Sequence: forward creates layers\.0\.W, which has a gradient; run it once"):
        check_module(from_layer(Sequence(Lazy(wrong=True))), X)
    layer = Lazy()
    layer.forward(X)
    with pytest.raises(ValueError, match=r"Lazy: [xh] looks like .* If it is left over from an earlier call"):
        from_layer(layer)
    assert names(check_module(from_layer(layer, {"W": "dW", "b": "db"}), X)) == ["x", "W", "b"]


def test_a_cache_that_backward_consumes_is_there_for_every_backward():
    class Consuming(Map):
        def __init__(self):
            super().__init__(3, 2)
            self.stack = []

        def forward(self, x):
            self.stack.append(x)
            return x @ self.W + self.b

        def backward(self, dy):
            self.x = self.stack.pop()
            return super().backward(dy)

    layer = Consuming()
    assert check_module(from_layer(layer), X).is_right
    layer.forward(X)
    with pytest.raises(ValueError, match=r"stack\[0\] looks like a parameter.* or pass a layer that has not run"):
        from_layer(layer)


# State and refusals


def test_a_layer_and_its_gradients_are_left_as_they_were():
    value, gradient, attributes, _ = KEPT["float32 gradients that add up"]
    layer = Scale(value, gradient, **attributes)
    gain, gradients = layer.parameters["gain"], layer.gradients
    assert check_module(from_layer(layer), X).name == "Scale"
    assert layer.parameters["gain"] is gain and gain.dtype == np.float32 and np.all(gain == 1)
    assert layer.gradients is gradients and np.all(gradients["gain"] == 100) and not hasattr(layer, "x")


def test_a_layer_without_parameters_is_checked_for_its_input_and_makes_a_case():
    assert names(check_module(from_layer(Tanh()), normal(3))) == ["x"]
    assert check_case(Case("map", lambda rng: Call(from_layer(Map(3, 2)), rng.normal(size=(4, 3))))).is_right


def test_a_layer_with_a_random_state_of_its_own_repeats_itself():
    class Dropout:
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def forward(self, x):
            self.mask = self.rng.random(x.shape) < 0.5
            return x * self.mask * 2

        def backward(self, dout):
            return dout * self.mask * 2

    assert check_module(from_layer(Dropout()), normal(3, 4)).is_right


def unpaired(**attributes):
    """A weight whose gradient appears only in backward, and a buffer that has none."""
    return Scale(lambda s: s.W, to("dW"), running_mean=np.zeros(3), W=np.ones(3), **attributes)


def test_parameters_can_be_named_also_by_the_keys_of_a_dictionary():
    with pytest.raises(ValueError, match="Scale: running_mean looks like a parameter, but has no gradient"):
        from_layer(unpaired())
    assert names(check_module(from_layer(unpaired(), {"W": "dW"}), X)) == ["x", "W"]
    assert names(check_module(from_layer(unpaired(), {}), X)) == ["x"]
    value, gradient, attributes, _ = copy.deepcopy(KEPT["float32 gradients that add up"])
    attributes["parameters"]["running_mean"] = np.zeros(2)
    layer = Scale(value, gradient, **attributes)
    with pytest.raises(ValueError, match=r"parameters\['running_mean'\] looks like a parameter"):
        from_layer(layer)
    assert names(check_module(from_layer(layer, {"gain": "gain"}), X)) == ["x", "gain"]


@pytest.mark.parametrize("value, what", [(None, "None"), (np.arange(3), "an array of int64"), (1.0, "a float")])
def test_a_name_that_is_no_parameter_and_a_layer_that_is_not_initialized_are_refused(value, what):
    with pytest.raises(ValueError, match=f"Scale: v is {what}, not a floating-point array"):
        from_layer(unpaired(v=value), {"v": "dv"})
    with pytest.raises(ValueError, match=rf"parameters\['W'\] is {what}, not a .*; if the layer creates"):
        from_layer(Scale(None, None, parameters={"W": value}, gradients={}))


def test_an_object_without_the_two_methods_is_refused():
    class Half:
        def forward(self, x):
            return x

    with pytest.raises(TypeError, match=r"Half has no method backward\(\)"):
        from_layer(Half())
