"""The adapters: right and wrong layers in the two other styles, and what is left of them afterwards."""

import numpy as np
import pytest
from verdicts import check, check_case, check_module

from gradcheck import Call, Case, GradientError
from gradcheck.adapters import from_layer, from_pair


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# Pairs with a cache


def affine_forward(x, w, b):
    return x @ w + b, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


def affine_backward_wrong(dout, cache):
    x, w = cache
    return [dout @ w.T, x.T @ dout, dout.mean(axis=0)]


def relu_forward(x):
    return np.maximum(0, x), x


def relu_backward(dout, cache):
    return dout * (cache > 0)


def dropout_forward(x, dropout_param):
    rng = np.random.default_rng(dropout_param["seed"])
    mask = (rng.random(x.shape) < dropout_param["p"]) / dropout_param["p"]
    return x * mask, (dropout_param, mask)


def dropout_backward(dout, cache):
    return dout * cache[1]


INPUTS = normal(4, 3), normal(3, 2, seed=1), normal(2, seed=2)


def test_a_right_pair_passes_with_the_names_of_its_inputs():
    report = check(from_pair(affine_forward, affine_backward), *INPUTS)
    assert report.name == "affine_forward"
    assert [(a.name, a.verdict) for a in report.arguments] == [("x", "right"), ("w", "right"), ("b", "right")]


def test_a_wrong_pair_fails_in_the_gradient_that_is_wrong():
    with pytest.raises(GradientError) as caught:
        check(from_pair(affine_forward, affine_backward_wrong), *INPUTS)
    assert [a.name for a in caught.value.report.arguments if not a.is_right] == ["b"]


def test_a_pair_of_one_input_returns_its_gradient_bare():
    assert check(from_pair(relu_forward, relu_backward), normal(3, 4)).is_right


def test_settings_may_be_positional_as_in_the_courses():
    function = from_pair(dropout_forward, dropout_backward)
    assert check(function, normal(3, 4), {"p": 0.7, "seed": 0}).is_right


def test_keyword_options_reach_the_forward_pass():
    def scale_forward(x, *, factor):
        return factor * x, factor

    def scale_backward(dy, factor):
        return factor * dy

    assert check(from_pair(scale_forward, scale_backward), normal(3), factor=3.0).is_right


def test_each_call_keeps_its_own_cache():
    function = from_pair(affine_forward, affine_backward)
    x, w, b = INPUTS
    _, first = function(x, w, b)
    _, second = function(2 * x, w, b)
    dy = normal(4, 2, seed=3)
    np.testing.assert_array_equal(2 * first(dy)[1], second(dy)[1])


@pytest.mark.parametrize(
    "forward, message",
    [
        (lambda x: x, r"<lambda> returned an array of float64; expected a pair \(y, cache\)"),
        (lambda x: (x, 1, 2), r"<lambda> returned a tuple of 3; expected a pair \(y, cache\)"),
    ],
)
def test_a_forward_that_returns_no_pair_is_refused(forward, message):
    with pytest.raises(TypeError, match=message):
        check(from_pair(forward, relu_backward), normal(3))


# Layers with a cache on self


class Affine:
    """y = x W + b, with dW and db."""

    def __init__(self, wrong=False):
        self.W, self.b = np.ones((3, 2)), np.zeros(2)
        self.dW = self.db = None
        self.cache = None
        self.wrong = wrong

    def forward(self, x):
        self.cache = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW = (0.5 if self.wrong else 1.0) * self.cache.T @ dout
        self.db = dout.sum(axis=0)
        return dout @ self.W.T


class Accumulating:
    """The same with dictionaries, float32, and gradients that add up; as in numpy-ml, the cache is a list."""

    def __init__(self, wrong=False):
        self.parameters = {"W": np.ones((3, 2), np.float32), "b": np.zeros(2, np.float32)}
        self.gradients = {name: np.zeros_like(value) for name, value in self.parameters.items()}
        self.X = []
        self.wrong = wrong

    def forward(self, X):
        self.X.append(X)
        return X @ self.parameters["W"] + self.parameters["b"]

    def backward(self, dLdY):
        self.gradients["W"] += self.X[0].T @ dLdY
        self.gradients["b"] += dLdY.sum(axis=0) * (2 if self.wrong else 1)
        return [dLdY @ self.parameters["W"].T]


class Prefixed(Affine):
    """The same with params["W"] and grads["dW"], which are there after the first backward pass only."""

    def __init__(self, wrong=False):
        self.params = {"W": np.ones((3, 2)), "b": np.zeros(2)}
        self.grads = {}
        self.wrong = wrong

    def forward(self, x):
        self.cache = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dout):
        self.grads["dW"] = self.cache.T @ dout
        if not self.wrong:
            self.grads["db"] = dout.sum(axis=0)
        return dout @ self.params["W"].T


class Listed:
    """The same with lists."""

    def __init__(self, wrong=False):
        self.params = [np.ones((3, 2)), np.zeros(2)]
        self.grads = [np.zeros((3, 2)), np.zeros(2)]
        self.wrong = wrong

    def forward(self, x):
        self.x = x
        return x @ self.params[0] + self.params[1]

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        self.grads[1][...] = dout.sum(axis=0) * (-1 if self.wrong else 1)
        return dout @ self.params[0].T


LAYERS = {
    Affine: (["x", "W", "b"], "W"),
    Accumulating: (["X", "W", "b"], "b"),
    Prefixed: (["x", "W", "b"], "b"),
    Listed: (["x", "params[0]", "params[1]"], "params[1]"),
}


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_a_right_layer_passes_with_all_its_parameters(layer):
    report = check_module(from_layer(layer()), normal(4, 3))
    assert report.name == layer.__name__
    assert [a.name for a in report.arguments] == LAYERS[layer][0]
    assert all(a.verdict == "right" and a.worst_relative < 1e-8 for a in report.arguments)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_a_wrong_layer_fails_where_it_is_wrong(layer):
    with pytest.raises(GradientError) as caught:
        check_module(from_layer(layer(wrong=True)), normal(4, 3))
    assert [a.name for a in caught.value.report.arguments if not a.is_right] == [LAYERS[layer][1]]


def test_a_layer_is_left_as_it_was():
    layer = Accumulating()
    layer.gradients["W"][...] = 7
    W, gradients = layer.parameters["W"], layer.gradients
    check_module(from_layer(layer), normal(4, 3))
    assert layer.parameters["W"] is W and W.dtype == np.float32 and np.all(W == 1)
    assert layer.gradients is gradients and np.all(gradients["W"] == 7) and layer.X == []


def test_gradients_left_from_an_earlier_pass_do_not_count():
    layer = Accumulating()
    layer.gradients["W"] += 100
    assert check_module(from_layer(layer), normal(4, 3)).is_right


def test_a_layer_without_parameters_is_checked_for_its_input():
    class Tanh:
        def forward(self, x):
            self.y = np.tanh(x)
            return self.y

        def backward(self, dout):
            return dout * (1 - self.y**2)

    assert [a.name for a in check_module(from_layer(Tanh()), normal(3)).arguments] == ["x"]


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


def test_a_layer_makes_a_case():
    case = Case("affine", lambda rng: Call(from_layer(Affine()), rng.normal(size=(4, 3))))
    assert check_case(case).is_right
    with pytest.raises(GradientError):
        check_case(Case("affine", lambda rng: Call(from_layer(Affine(wrong=True)), rng.normal(size=(4, 3)))))


class Unpaired:
    """A weight whose gradient appears in backward only, beside a buffer that has none."""

    def __init__(self):
        self.running_mean = np.zeros(3)
        self.W = np.ones(3)

    def forward(self, x):
        self.x = x
        return x * self.W

    def backward(self, dout):
        self.dW = (dout * self.x).sum(axis=0)
        return dout * self.W


def test_an_array_without_a_gradient_is_refused_rather_than_passed_over():
    with pytest.raises(ValueError, match="Unpaired: running_mean looks like a parameter, but has no gradient"):
        from_layer(Unpaired())


def test_parameters_can_be_named():
    report = check_module(from_layer(Unpaired(), {"W": "dW"}), normal(4, 3))
    assert [a.name for a in report.arguments] == ["x", "W"]
    assert [a.name for a in check_module(from_layer(Unpaired(), {}), normal(4, 3)).arguments] == ["x"]


def test_entries_of_a_dictionary_can_be_named():
    layer = Accumulating()
    layer.parameters["running_mean"] = np.zeros(2)
    with pytest.raises(ValueError, match=r"parameters\['running_mean'\] looks like a parameter"):
        from_layer(layer)
    report = check_module(from_layer(layer, {"W": "W", "b": "b"}), normal(4, 3))
    assert [a.name for a in report.arguments] == ["X", "W", "b"]


def test_a_layer_that_is_not_initialized_is_refused():
    layer = Accumulating()
    layer.parameters["W"] = None
    with pytest.raises(
        ValueError, match=r"parameters\['W'\] is None, not a floating-point array; if the layer creates"
    ):
        from_layer(layer)


@pytest.mark.parametrize("value, what", [(None, "None"), (np.arange(3), "an array of int64"), (1.0, "a float")])
def test_a_name_that_is_no_parameter_is_refused(value, what):
    layer = Unpaired()
    layer.v = value
    with pytest.raises(ValueError, match=f"Unpaired: v is {what}, not a floating-point array"):
        from_layer(layer, {"v": "dv"})


def test_an_object_without_the_two_methods_is_refused():
    class Half:
        def forward(self, x):
            return x

    with pytest.raises(TypeError, match=r"Half has no method backward\(\)"):
        from_layer(Half())
