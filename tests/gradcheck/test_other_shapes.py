"""Gradients of other shapes: values with gradients, derivatives, Jacobians, several outputs, arrays in dictionaries."""

import math
from collections import namedtuple

import numpy as np
import pytest
from scipy import optimize, sparse
from verdicts import message as said_of, normal

from gradcheck import Call, Case, check, check_case
from gradcheck.adapters import (
    from_derivative,
    from_jacobian,
    from_nested,
    from_pair,
    from_value_and_gradient,
)


def affine(x, w, b):
    return x @ w + b, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    return [dout @ w.T, x.T @ dout, dout.sum(axis=0)]


def dropout(x, settings, *, factor=1):
    mask = factor * (np.random.default_rng(settings["seed"]).random(x.shape) < settings["p"]) / settings["p"]
    return x * mask, (settings, mask)


def gradient_of_rosen(x, *, factor=1.0):
    inner = x[1:] - x[:-1] ** 2
    gradient = np.zeros_like(x)
    gradient[:-1] = -400 * x[:-1] * inner - factor * 2 * (1 - x[:-1])
    gradient[1:] += 200 * inner
    return gradient


def logistic_loss(w, *, X, y, mean=True):
    """The loss for labels 0 and 1, and its gradient, which is that of the mean."""
    z = X @ w
    loss = np.log1p(np.exp(-z)) + (1 - y) * z
    return (loss.mean() if mean else loss.sum()), X.T @ (1 / (1 + np.exp(-z)) - y) / len(y)


def softmax_loss(x, *, y, shifted=True):
    """A course's: (loss, dx) for scores x (N, C) and labels y (N,)."""
    scores, rows = x - x.max(axis=1, keepdims=True), np.arange(len(y))
    dx = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    loss = -np.log(dx[rows, y]).mean()
    dx[rows, y] -= 1 if shifted else 0
    return loss, dx / len(y)


def quadratic(x):
    return x[0] ** 2 + 3 * x[1]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def motion(x, u):
    """A robot's: state (place, heading) as a column, control (speed, turn)."""
    return np.array([[x[0, 0] + u[0] * np.cos(x[1, 0])], [x[1, 0] + u[1]]])


def jacobian_of_motion(x, u, *, sign=-1):
    c, s = np.cos(x[1, 0]), np.sin(x[1, 0])
    return np.array([[1, sign * u[0] * s], [0, 1]]), np.array([[c, 0], [0, 1]])


def of_rosen(gradient):
    return from_value_and_gradient(optimize.rosen, gradient)


def of_product(jacobian):
    return from_jacobian(lambda x: A @ x, lambda x: jacobian)


A, HALF = normal(3, 4), np.array(0.5)
AFFINE = normal(4, 3), normal(3, 2, seed=1), normal(2, seed=2)
DATA = {"X": normal(6, 3, seed=1), "y": np.array([0, 1, 1, 0, 1, 0])}
LABELS = {"y": np.array([2, 0, 1, 1])}
RIGHT = {  # the function, its inputs and options
    "a pair": (from_pair(affine, affine_backward), AFFINE, {}),
    "a pair with settings": (
        from_pair(dropout, lambda dout, cache: dout * cache[1]),
        (A, {"p": 0.7, "seed": 0}),
        {"factor": 3},
    ),
    "a value and its gradient": (of_rosen(gradient_of_rosen), (normal(4),), {}),
    "both from one function": (from_value_and_gradient(logistic_loss), (normal(3),), DATA),
    "a loss of a course": (from_value_and_gradient(softmax_loss), (normal(4, 3),), LABELS),
    "a list": (from_value_and_gradient(quadratic, lambda x: [2 * x[0], 3]), (normal(2),), {}),
    "an array of one": (from_value_and_gradient(lambda x: (x.T @ x, 2 * x)), (normal(3, 1),), {}),
    "an activation": (from_derivative(sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))), (A,), {}),
    "a function of a number": (from_derivative(math.sin, math.cos), (HALF,), {}),
    "its derivative beside it": (from_derivative(lambda p, *, t: ((p - t) ** 2 / 2, p - t)), (A,), {"t": A.T[0, 0]}),
    "a robot": (from_jacobian(motion, jacobian_of_motion), (normal(2, 1), normal(2)), {}),
    "a control without a Jacobian": (
        from_jacobian(lambda x, *, u: motion(x, u), lambda x, *, u: jacobian_of_motion(x, u)[0]),
        (normal(2, 1),),
        {"u": normal(2)},
    ),
    "a matrix": (of_product(A), (normal(4),), {}),
    "a sparse matrix": (of_product(sparse.csr_array(A)), (normal(4),), {}),
    "the shapes of y and x": (
        from_jacobian(
            lambda x: np.outer(x, x),
            lambda x: np.einsum("ik,j->ijk", np.eye(3), x) + np.einsum("jk,i->ijk", np.eye(3), x),
        ),
        (normal(3),),
        {},
    ),
    "a vector": (from_jacobian(lambda x: float(x @ x), lambda x: 2 * x), (normal(3),), {}),
    "a column": (from_jacobian(lambda x: np.array([x, 2 * x]), lambda x: [[1], [2]]), (HALF,), {}),
}
WRONG = [  # the same, and words of the message
    (from_pair(affine, lambda d, c: [*affine_backward(d, c)[:2], d.mean(axis=0)]), AFFINE, {}, "db: 2 of 2 entries"),
    (of_rosen(lambda x: gradient_of_rosen(x, factor=0)), (normal(4),), {}, "dx: 3 of 4 entries disagree"),
    (of_rosen(lambda x: gradient_of_rosen(x)[:-1]), (normal(4),), {}, "dx has shape (3,), but x has (4,)"),
    (from_value_and_gradient(logistic_loss), (normal(3),), {**DATA, "mean": False}, "dw is 1 / X.shape[0] or"),
    (from_value_and_gradient(softmax_loss), (normal(4, 3),), {**LABELS, "shifted": False}, "4 of 12 entries disagree"),
    (
        from_value_and_gradient(lambda a, b: (float(a * b), (float(a), float(b)))),
        (np.array(1.5), HALF),
        {},
        "da and db have each other's values",
    ),
    (
        from_derivative(sigmoid, lambda y: y * (1 - y)),
        (normal(2, 3),),
        {},
        "dx equals dy * x * (1 - x), and the correct gradient is dy * y * (1 - y)",
    ),
    (from_derivative(sigmoid, lambda x: HALF), (A,), {}, "the derivative for x has shape (), but x has (3, 4)"),
    (from_derivative(lambda x: (x**2, x)), (normal(5),), {}, "dx is 1/2 times"),
    (
        from_jacobian(motion, lambda x, u: jacobian_of_motion(x, u, sign=1)),
        (normal(2, 1), normal(2)),
        {},
        "dx: 1 of 2 entries disagree; worst at [1, 0]",
    ),
    (
        from_jacobian(motion, lambda x, u: jacobian_of_motion(x, u)[0]),
        (normal(2, 1), normal(2)),
        {},
        "there must be 2 Jacobians in a tuple, one for each of x, u, not 1; pass other arrays as keyword",
    ),
    (of_product(A.T), (normal(4),), {}, "not (3, 4): a row for each entry of y, a column for each of x; it is transp"),
    (of_product(A.astype(np.float32)), (normal(4),), {}, "dx is float32, but x is float64"),
]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_gradient_of_another_form_is_right_under_the_names_of_its_function(name):
    function, inputs, options = RIGHT[name]
    report = check(function, *inputs, **options)
    assert report.is_right and report.entries == sum(x.size for x in inputs if isinstance(x, np.ndarray))
    assert report.name == function.__name__


@pytest.mark.parametrize("function, inputs, options, words", WRONG, ids=[words for *_, words in WRONG])
def test_a_wrong_gradient_of_another_form_is_found(function, inputs, options, words):
    assert words in said_of(function, *inputs, **options)


def test_each_call_of_a_pair_keeps_its_cache():
    (x, w, b), function = AFFINE, from_pair(affine, affine_backward)
    (_, first), (_, second) = function(x, w, b), function(2 * x, w, b)
    np.testing.assert_array_equal(2 * first(x[:, :2])[1], second(x[:, :2])[1])


# Several outputs, and arrays in dictionaries and lists


def cell(x, h, c, *, forgotten=False):
    """A recurrent cell with two outputs."""
    new_c = c * np.tanh(h) + x
    new_h = np.tanh(new_c) * h

    def backward(d):
        dh, dc = d
        dc = dc + (0 if forgotten else 1) * dh * h * (1 - np.tanh(new_c) ** 2)
        return dc, dh * np.tanh(new_c) + dc * c * (1 - np.tanh(h) ** 2), dc * np.tanh(h)

    return (new_h, new_c), backward


def test_several_outputs_are_joined_and_dy_is_cut_up():
    inputs = normal(2, 3), normal(2, 3, seed=1), normal(2, 3, seed=2)
    assert [a.name for a in check(*from_nested(cell, *inputs)).arguments] == ["x", "h", "c"]
    assert "dx: 6 of 6 entries disagree" in said_of(*from_nested(cell, *inputs), forgotten=True)


def test_outputs_may_be_a_dictionary_with_numbers_and_what_is_no_output():
    def f(x):
        def backward(d):
            assert d["name"] == "f" and np.shape(d["sum"]) == () and d["parts"][0].shape == (3,)
            return d["sum"] + 2 * x * d["parts"][0]

        return {"sum": float(x.sum()) if x.dtype == float else x.sum(), "parts": [x**2], "name": "f"}, backward

    assert check(*from_nested(f, normal(3))).is_right


def network(params, x, *, wrong=""):
    hidden = np.tanh(x @ params["W1"] + params["b1"])

    def backward(dy):
        dhidden = dy @ params["W2"].T * (1 - hidden**2)
        gradients = {"W1": x.T @ dhidden, "b1": dhidden.sum(axis=0), "W2": hidden.T @ dy}
        if wrong == "missing":
            del gradients["b1"]
        elif wrong:
            gradients[wrong] = 2 * gradients[wrong]
        return gradients, dhidden @ params["W1"].T

    return hidden @ params["W2"], backward


PARAMS = {"W1": normal(3, 4), "b1": normal(4, seed=1), "W2": normal(4, 2, seed=2)}
NAMES = ["params['W1']", "params['b1']", "params['W2']"]


def test_parameters_in_a_dictionary_are_called_by_their_places():
    before = {name: array.copy() for name, array in PARAMS.items()}
    report = check_case(Case("network", lambda rng: Call(*from_nested(network, PARAMS, rng.normal(size=(5, 3))))))
    assert [a.name for a in report.arguments] == [*NAMES, "x"]
    assert all(np.array_equal(PARAMS[name], before[name]) for name in PARAMS)
    for name in PARAMS:
        assert said_of(*from_nested(network, PARAMS, normal(5, 3)), wrong=name).startswith(
            f"network: dparams['{name}']: "
        )
    assert "for arrays in a dict, list or tuple see from_nested" in said_of(network, PARAMS, normal(5, 3))
    message = "network: the gradient of params is a dict of 'W1', 'W2'; it must contain that of params['b1']"
    assert said_of(*from_nested(network, PARAMS, normal(5, 3)), wrong="missing").startswith(message)


def course_loss(params, *, X, y, factor=1):
    """A course's: (loss, gradients), whose gradients are called dW1 and have others with them."""
    (_, backward), scores = network(params, X), network(params, X)[0]
    loss, dscores = softmax_loss(scores, y=y)
    gradients = backward(dscores)[0]
    gradients["W1"] = factor * gradients["W1"]
    return loss, {"dA1": dscores, **{f"d{name}": gradient for name, gradient in gradients.items()}}


def test_a_loss_and_a_dictionary_of_gradients():
    function, *arrays = from_nested(from_value_and_gradient(course_loss), PARAMS)
    data = {"X": normal(5, 3), "y": np.array([0, 1, 1, 0, 1])}
    assert [a.name for a in check(function, *arrays, **data).arguments] == NAMES
    assert "dparams['W1'] is 3 or factor times" in said_of(function, *arrays, **data, factor=3)


State = namedtuple("State", "position velocity")


def layers_and_state(layers, state, mode):
    y = sum(layer["w"] @ state.position for layer in layers) + state.velocity

    def backward(dy):
        assert mode == "train" and isinstance(state, State)
        position = sum(layer["w"].T @ dy for layer in layers)
        return [{"w": np.outer(dy, state.position)} for _ in layers], [position, dy]

    return y, backward


def test_lists_of_dictionaries_and_named_tuples():
    layers = [{"w": normal(3, 3), "kind": "dense"}, {"w": normal(3, 3, seed=1), "kind": "dense"}]
    report = check(*from_nested(layers_and_state, layers, State(normal(3), normal(3, seed=2)), "train"))
    assert [a.name for a in report.arguments] == ["layers[0]['w']", "layers[1]['w']", "state[0]", "state[1]"]


def test_a_list_of_parameters_and_a_list_of_gradients():
    def forward(weights):
        return weights[0] * weights[2], weights

    right = from_pair(forward, lambda dy, w: [dy * w[2], dy * w[0]])
    assert len(check(*from_nested(right, [normal(3), "a name", normal(3, seed=1)])).arguments) == 2
    wrong = from_pair(forward, lambda dy, w: [dy * w[0], dy * w[2]])
    assert "dweights[0]: 3 of 3 entries disagree" in said_of(*from_nested(wrong, [normal(3), None, normal(3, seed=1)]))


@pytest.mark.parametrize(
    "backward, words",
    [
        (
            lambda dy: [dy, dy],
            "the gradient of params is a list of 2; it must contain that of params['a'], params['b'][0], ",
        ),
        (lambda dy: dy, "the gradient of params is an array of float64; it must contain"),
        (lambda dy: {}, "the gradient of params is a dict of nothing; it must contain"),
        (lambda dy: {"a": dy, "b": [dy]}, "it must contain that of params['b'][1]"),
        (lambda dy: {"a": dy, "b": dy}, "it must contain that of params['b'][0], params['b'][1]"),
        (lambda dy: {"a": dy, "b": [dy, dy[:2]]}, "dparams['b'][1] has shape (2,), but params['b'][1] has (3,)"),
        (lambda dy: {"a": dy, "b": [dy, None]}, "dparams['b'][1] is None, not an array of shape (3,)"),
        (lambda dy: ({"a": dy, "b": [dy, dy]}, dy), "the gradient of params is a tuple of 2; it must contain"),
    ],
)
def test_gradients_that_are_not_arranged_as_the_inputs_are_refused(backward, words):
    def f(params):
        return params["a"] + params["b"][0] + params["b"][1], backward

    assert words in said_of(*from_nested(f, {"a": normal(3), "b": [normal(3), normal(3)]}))


# Refusals


@pytest.mark.parametrize(
    "words, call",
    [
        ("returned an array of float64; expected a pair (y, cache)", lambda: from_pair(sigmoid, None.__eq__)(A)),
        ("y must have the shape of a, (3, 4), not (3,). If an", lambda: from_derivative(np.sum, sigmoid)(A, axis=1)),
        ("the function is None; it must be a function", lambda: from_value_and_gradient(None)),
        ("the Jacobian is an array of float64; it must be a function", lambda: from_jacobian(np.sin, A)),
        (
            "<lambda> returned a float; expected a pair of its value and the gradient",
            lambda: check(from_value_and_gradient(lambda x: float(x.sum())), A),
        ),
        (
            "must return one floating-point number, not an array of shape (3, 4)",
            lambda: check(from_value_and_gradient(lambda x: (x, x)), A),
        ),
        ("the inputs contain no floating-point array", lambda: from_nested(network, {"W": np.arange(3)}, 1.0)),
    ],
)
def test_what_cannot_be_adapted_is_refused_in_one_line(words, call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)
