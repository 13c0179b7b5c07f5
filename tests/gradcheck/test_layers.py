"""Layers within layers: every parameter is found and checked, wherever it is kept, or refused by its name."""

import copy

import numpy as np
import pytest
from verdicts import check_case, check_module, normal

from gradcheck import Call, Case, check
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

    def __init__(self, data, grad=None):
        self.data, self.grad = data, grad


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
    **{
        # Each has been met in at least three public layers.
        name: (lambda s: s.W, to(name), {"W": ONES.copy(), name: None}, "W")
        for name in ("dW", "d_W", "grad_W", "gradW", "W_grad", "Wgrad", "gradient_W", "W_gradient")
    },
    **{
        # As in numpy-transformer and jonigrad, whose layers keep objects in `_params` and `params`.
        f"an object in {container}": (
            lambda s, at=container: getattr(s, at)["W"].data,
            lambda s, g, at=container: setattr(getattr(s, at)["W"], "grad", g),
            {container: {"W": Own(ONES)}},
            "W",
        )
        for container in ("params", "_params", "parameters")
    },
    "an object with zeros in a list": (
        lambda s: s.params[0].data,
        lambda s, g: s.params[0].grad.__setitem__(..., g),
        {"params": [Own(ONES, np.zeros(3))]},
        "params.0",
    ),
    "a dictionary of gradients": (lambda s: s.gain, into("grads", "gain"), of(ONES) | {"grads": of(0)}, "gain"),
    "a tuple": (lambda s: s.params[0], into("grads", 0), {"params": (ONES.copy(),), "grads": [None]}, "params.0"),
    "nested dictionaries": (
        lambda s: s.params["norm"]["gain"],
        lambda s, g: s.grads["norm"].__setitem__("gain", g),
        {"params": {"norm": of(ONES.copy())}, "grads": {"norm": of(None)}},
        "norm.gain",
    ),
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
        "params.0",
    ),
}


@pytest.mark.parametrize("kept", KEPT)
def test_a_parameter_is_found_however_it_is_kept(kept):
    value, gradient, attributes, name = KEPT[kept]
    report = check_module(from_layer(Scale(value, gradient, **attributes)), X)
    assert names(report) == ["x", name]
    assert wrong_ones(Scale(value, gradient, wrong=True, **attributes)) == [name]


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


class Positions:
    """A table that is added, and no parameter."""

    def __init__(self):
        self.table = normal(2)

    def forward(self, x):
        return x + self.table

    def backward(self, dy):
        return dy


class Model(Sequence):
    """Lists the parameters of its first layer."""

    def params(self):
        return {f"map.{name}": getattr(self.layers[0], name) for name in ("W", "b")}


class Outer(Sequence):
    """Lists only its own parameters, and says nothing of the layers within."""

    def __init__(self, *layers):
        super().__init__(*layers)
        self.params, self.grads = {"shift": np.zeros(2)}, {}


class Lazy(Map):
    """Made to measure in the first forward pass."""

    def __init__(self):
        self.W = self.b = None

    def forward(self, x):
        if self.W is None:
            super().__init__(x.shape[-1], 2)
        self.h = super().forward(x)
        return self.h

    def backward(self, dy):
        self.dh = dy  # an attribute next to it is not a parameter
        return super().backward(self.dh)


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


def after_forward(layer):
    layer.forward(X)
    return layer


def within(**attributes):
    return Sequence(Map(3, 3), Scale(None, None, **attributes))


def sharing(wrong=False):
    first, second = Map(3, 3, wrong), Map(3, 3)
    second.W = first.W
    return Sequence(first, second)


UNPAIRED = r" looks like a parameter, but has no gradient; .*if there are none"
REFUSED = {  # the layer, and words of the message
    "its gradient has another name": (lambda: within(weights=ONES, gradients={}), rf"layers\.1\.weights{UNPAIRED}"),
    "a table": (lambda: within(gain=Own(ONES), table=np.ones(3)), rf"layers\.1\.table{UNPAIRED}"),
    "a cache of an earlier call": (
        lambda: after_forward(Consuming()),
        r"stack\.0 looks like a parameter.* If it is left over from an earlier call, .* a layer that has not run",
    ),
    "a table of a layer within": (lambda: Outer(Map(3, 2), Positions()), rf"Outer: layers\.1\.table{UNPAIRED}"),
    "no forward": (lambda: type("Half", (), {"forward": None})(), r"Half has no method forward\(\)"),
    "no backward": (lambda: type("Half", (), {"forward": id})(), r"Half has no method backward\(\) or backprop\(\)"),
    "a cache": (
        lambda: type("Cached", (), {"forward": id, "backward": staticmethod(lambda dy, cache: dy)})(),
        r"Cached.backward\(dy, cache\): from_layer passes dy, and 1 as a learning rate.*use from_pair",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_be_a_parameter_and_has_not_exactly_one_gradient_is_refused_by_its_dotted_name(name):
    layer, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=message):
        from_layer(layer())


def test_the_gradient_of_an_array_that_layers_share_is_the_sum_of_theirs():
    assert names(check_module(from_layer(sharing()), X)) == ["x", "layers.0.W", "layers.0.b", "layers.1.b"]
    assert wrong_ones(sharing(wrong=True)) == ["layers.0.W"]


def test_a_layer_that_lists_its_parameters_has_no_others():
    assert names(check_module(from_layer(Model(Map(3, 2), Positions())), X)) == ["x", "layers.0.W", "layers.0.b"]


def test_parameters_that_forward_makes_are_not_passed_over():
    with pytest.raises(ValueError, match=r"Sequence: forward creates layers\.0\.W, which has a gradient; run it once"):
        check_module(from_layer(Sequence(Lazy())), X)
    assert names(check_module(from_layer(after_forward(Lazy()), {"W": "dW", "b": "db"}), X)) == ["x", "W", "b"]


def test_a_gate_whose_name_ends_in_g_is_no_gradient():
    layer = Scale(lambda s: s.W, to("dW"), W=ONES, dW=None, Wg=ONES.copy(), dWg=np.zeros(3))
    assert names(check_module(from_layer(layer), X)) == ["x", "W", "Wg"]


@pytest.mark.parametrize(
    "names, message",
    [
        ({"W": "dWW"}, "Map: dWW, the gradient of W, is not there after backward; Map has W, b, dW, db, x, wrong"),
        ({"W": "grads.W"}, "Map: grads.W, the gradient of W, is not there after backward; grads has nothing"),
        ({"V": "dW"}, "Map: V is not there as a floating-point array; Map has W, b, dW, db, x, wrong"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_the_names_that_are(names, message):
    with pytest.raises(ValueError, match=message):
        check_module(from_layer(Map(3, 2), names), X)


class Updating(Map):
    """Backward takes a learning rate and updates W and b, as in many tutorials."""

    backward = None  # the method is `backprop`

    def __init__(self, n_in, n_out, wrong=""):
        self.W, self.b, self.wrong = normal(n_in, n_out), np.zeros(n_out), wrong

    def backprop(self, output_gradient, learn_rate):
        before = self.W if self.wrong == "dx" else self.W.copy()
        self.W -= learn_rate * self.x.T @ output_gradient
        if self.wrong != "b is constant":
            self.b = self.b - learn_rate * output_gradient.sum(axis=0) * (2 if self.wrong == "b" else 1)
        return output_gradient @ before.T


@pytest.mark.parametrize("parameters", [None, {"W": "W", "b": "b"}])
@pytest.mark.parametrize("wrong, where", [("", []), ("b", ["b"]), ("dx", ["x"])])
def test_the_gradient_of_an_array_that_backward_updates_is_its_change(parameters, wrong, where):
    layer = Updating(3, 2, wrong)
    assert wrong_ones(layer, parameters) == where
    assert names(check_module(from_layer(layer), X, raises=False)) == ["x", "W", "b"]


def test_an_array_that_a_backward_with_a_learning_rate_does_not_change_is_refused():
    with pytest.raises(ValueError, match=f"Updating: b{UNPAIRED}"):
        check_module(from_layer(Updating(3, 2, "b is constant")), X)
    assert wrong_ones(Updating(3, 2, "b is constant"), {"W": "W", "b": "b"}) == ["b"]


# State and names


def test_a_layer_and_its_gradients_are_left_as_they_were_and_backward_may_consume_its_cache():
    value, gradient, attributes, _ = KEPT["float32 gradients that add up"]
    layer = Scale(value, gradient, **attributes)
    gain, gradients = layer.parameters["gain"], layer.gradients
    assert check_module(from_layer(layer), X).name == "Scale"
    assert layer.parameters["gain"] is gain and gain.dtype == np.float32 and np.all(gain == 1)
    assert layer.gradients is gradients and np.all(gradients["gain"] == 100) and not hasattr(layer, "x")
    assert check_module(from_layer(Consuming()), X).is_right


def test_a_layer_without_parameters_is_checked_for_its_input_and_makes_a_case():
    for method in (check, check_module):
        assert names(method(from_layer(Tanh()), normal(3))) == ["x"]
    with pytest.raises(TypeError, match="Map has parameters, whose gradients"):
        check(from_layer(Map(3, 2)), X)
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


def test_parameters_can_be_named_also_by_the_keys_of_a_dictionary():
    # A weight whose gradient appears only in backward, a buffer that has none, and a number.
    layer = Scale(lambda s: s.W, to("dW"), running_mean=np.zeros(3), W=np.ones(3), v=1.0)
    with pytest.raises(ValueError, match=f"Scale: running_mean{UNPAIRED}"):
        from_layer(layer)
    with pytest.raises(ValueError, match="Scale: v is a float, not a floating-point array"):
        from_layer(layer, {"v": "dv"})
    assert names(check_module(from_layer(layer, {"W": "dW"}), X)) == ["x", "W"]
    assert names(check_module(from_layer(layer, {}), X)) == ["x"]
    value, gradient, attributes, _ = copy.deepcopy(KEPT["float32 gradients that add up"])
    attributes["parameters"]["running_mean"] = np.zeros(2)
    assert names(check_module(from_layer(Scale(value, gradient, **attributes), {"gain": "gain"}), X)) == ["x", "gain"]


class Scaled:
    """y = a x, with one number a."""

    def __init__(self):
        self.a, self.da = np.array(0.5), np.array(0.0)

    def forward(self, x):
        self.x = x
        return self.a * x

    def backward(self, dy):
        self.da = np.sum(dy * self.x)
        return self.a * dy


def test_a_parameter_that_is_one_number_is_checked():
    assert check_module(from_layer(Scaled()), X)["a"].entries == 1
