"""Gradients of other shapes: values with gradients, derivatives, Jacobians, several outputs, arrays in dictionaries."""

import math
import re
from collections import namedtuple

import numpy as np
import pytest
from scipy import optimize, sparse
from verdicts import normal, verdicts

from gradcheck import Call, Case, GradientError, check, check_case
from gradcheck.adapters import (
    from_derivative,
    from_jacobian,
    from_nested,
    from_pair,
    from_value_and_gradient,
)


def said_of(function, *inputs, **options):
    """Return the diagnosis of a wrong gradient."""
    with pytest.raises(GradientError) as caught:
        check(function, *inputs, **options)
    return str(caught.value)


# Pairs with a cache


def affine_forward(x, w, b):
    return x @ w + b, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


def affine_backward_wrong(dout, cache):
    return [*affine_backward(dout, cache)[:2], dout.mean(axis=0)]


def dropout_forward(x, dropout_param, *, factor=1):
    rng = np.random.default_rng(dropout_param["seed"])
    mask = factor * (rng.random(x.shape) < dropout_param["p"]) / dropout_param["p"]
    return x * mask, (dropout_param, mask)


def test_a_pair_is_checked_with_the_names_of_its_inputs_and_each_call_keeps_its_cache():
    x, w, b = normal(4, 3), normal(3, 2, seed=1), normal(2, seed=2)
    function = from_pair(affine_forward, affine_backward)
    report = check(function, x, w, b)
    assert report.name == "affine_forward" and [a.name for a in report.arguments] == ["x", "w", "b"]
    assert "db: 2 of 2 entries disagree" in said_of(from_pair(affine_forward, affine_backward_wrong), x, w, b)
    (_, first), (_, second) = function(x, w, b), function(2 * x, w, b)
    np.testing.assert_array_equal(2 * first(w[:1] * x[:, :1])[1], second(w[:1] * x[:, :1])[1])


def test_settings_of_a_pair_may_be_positional_or_keywords():
    function = from_pair(dropout_forward, lambda dout, cache: dout * cache[1])
    assert check(function, normal(3, 4), {"p": 0.7, "seed": 0}, factor=3).is_right


@pytest.mark.parametrize("returned, what", [(np.ones(3), "an array of float64"), ((1, 2, 3), "a tuple of 3")])
def test_a_forward_that_returns_no_pair_is_refused(returned, what):
    with pytest.raises(TypeError, match=rf"<lambda> returned {what}; expected a pair \(y, cache\)"):
        check(from_pair(lambda x: returned, affine_backward), normal(3))


# A value and its gradient


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def gradient_of_rosenbrock(x, *, forgotten=False):
    inner = x[1:] - x[:-1] ** 2
    gradient = np.zeros_like(x)
    gradient[:-1] = -400 * x[:-1] * inner - (0 if forgotten else 2 * (1 - x[:-1]))
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


DATA = {"X": normal(6, 3, seed=1), "y": np.array([0, 1, 1, 0, 1, 0])}


def test_what_scipys_check_grad_takes_is_checked_in_one_line():
    x = normal(4)
    report = check(from_value_and_gradient(rosenbrock, gradient_of_rosenbrock), x)
    assert report.name == "rosenbrock" and report["x"].entries == 4
    assert optimize.check_grad(rosenbrock, gradient_of_rosenbrock, x) < 1e-3
    assert check(from_value_and_gradient(optimize.rosen, optimize.rosen_der), x).is_right


@pytest.mark.parametrize(
    "gradient, words",
    [
        (lambda x: gradient_of_rosenbrock(x, forgotten=True), "dx: 3 of 4 entries disagree"),
        (lambda x: -gradient_of_rosenbrock(x), "dx: 4 of 4 entries disagree.*dx has its sign flipped"),
        (lambda x: gradient_of_rosenbrock(x)[:-1], re.escape("dx has shape (3,), but x has (4,)")),
        (lambda x: gradient_of_rosenbrock(x).astype(np.float32), "dx is float32, but x is float64"),
    ],
)
def test_a_wrong_gradient_beside_a_right_value_is_found(gradient, words):
    assert re.search(words, said_of(from_value_and_gradient(rosenbrock, gradient), normal(4)))


def test_a_function_may_return_both_and_data_go_by_keyword():
    assert check(from_value_and_gradient(logistic_loss), normal(3), **DATA).is_right
    assert "dw is 1 / X.shape[0] times" in said_of(
        from_value_and_gradient(logistic_loss), normal(3), **DATA, mean=False
    )
    y = np.array([2, 0, 1, 1])
    assert check(from_value_and_gradient(softmax_loss), normal(4, 3), y=y).is_right
    assert "4 of 12 entries disagree" in said_of(
        from_value_and_gradient(softmax_loss), normal(4, 3), y=y, shifted=False
    )


def test_several_inputs_have_several_gradients_and_numbers_may_be_plain():
    def distance(a, b):
        return math.hypot(a, b), (a / math.hypot(a, b), b / math.hypot(a, b))

    a, b = np.array(1.5), np.array(-0.5)
    assert verdicts(from_value_and_gradient(distance), a, b) == {"a": "right", "b": "right"}
    wrong = from_value_and_gradient(lambda a, b: (float(a * b), (float(a), float(b))))
    assert "da and db are returned in each other's place" in said_of(wrong, a, b)


def test_the_gradient_of_a_vector_may_be_a_list_of_numbers():
    def f(x):
        return x[0] ** 2 + 3 * x[1]

    assert check(from_value_and_gradient(f, lambda x: [2 * x[0], 3]), normal(2)).is_right
    assert check(from_value_and_gradient(f, lambda x: (np.array([2 * x[0], 3.0]),)), normal(2)).is_right
    assert "1 of 2 entries disagree" in said_of(from_value_and_gradient(f, lambda x: [x[0], 3]), normal(2))
    assert check(from_value_and_gradient(lambda x: (x.T @ x, 2 * x)), normal(3, 1)).is_right


# The derivative of each entry


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    "derivative, words",
    [
        (lambda x: sigmoid(x) * (1 - sigmoid(x)), None),
        (
            lambda y: y * (1 - y),
            "dx equals dy * x * (1 - x), and the correct gradient is dy * y * (1 - y)",
        ),
        (lambda x: sigmoid(x) * (1 + sigmoid(x)), "6 of 6 entries disagree"),
        (lambda x: np.array(0.25), "the derivative for x has shape (), but x has (2, 3)"),
    ],
)
def test_an_activation_and_its_derivative(derivative, words):
    if words is None:
        assert check(from_derivative(sigmoid, derivative), normal(2, 3)).name == "sigmoid"
    else:
        assert words in said_of(from_derivative(sigmoid, derivative), normal(2, 3))


def test_a_function_of_a_number_that_knows_no_arrays():
    assert check(from_derivative(math.sin, math.cos), np.array(0.5)).arguments[0].verdict == "right"
    assert "its sign flipped" in said_of(from_derivative(math.cos, math.sin), np.array(0.5))


def test_a_function_may_return_its_derivative_beside_its_value():
    def half_squared_error(prediction, *, target):
        return (prediction - target) ** 2 / 2, prediction - target

    assert check(from_derivative(half_squared_error), normal(5), target=normal(5, seed=1)).is_right
    wrong = from_derivative(lambda x: (x**2, x))
    assert "dx is 1/2 times" in said_of(wrong, normal(5))


def test_what_joins_entries_has_no_derivative_of_each():
    with pytest.raises(ValueError, match=r"y must have the shape of x, \(2, 3\), not \(2,\)\. .* see from_jacobian"):
        check(from_derivative(lambda x: x.sum(axis=1), lambda x: np.ones(2)), normal(2, 3))


# Jacobians


def motion(x, u):
    """A robot's: state (place, heading) as a column, control (speed, turn)."""
    return np.array([[x[0, 0] + u[0] * np.cos(x[1, 0])], [x[1, 0] + u[1]]])


def jacobian_of_motion(x, u, *, sign=-1):
    c, s = np.cos(x[1, 0]), np.sin(x[1, 0])
    return np.array([[1, sign * u[0] * s], [0, 1]]), np.array([[c, 0], [0, 1]])


def test_a_robots_motion_has_a_jacobian_by_state_and_by_control():
    x, u = normal(2, 1), normal(2)
    assert verdicts(from_jacobian(motion, jacobian_of_motion), x, u) == {"x": "right", "u": "right"}
    wrong = from_jacobian(motion, lambda x, u: jacobian_of_motion(x, u, sign=1))
    assert "dx: 1 of 2 entries disagree; worst at [1, 0]" in said_of(wrong, x, u)
    by_state = from_jacobian(lambda x, *, u: motion(x, u), lambda x, *, u: jacobian_of_motion(x, u)[0])
    assert check(by_state, x, u=u).is_right
    message = "there must be 2 Jacobians in a tuple, one for each of x, u, not 1; pass other arrays as keyword"
    assert message in said_of(from_jacobian(motion, lambda x, u: jacobian_of_motion(x, u)[0]), x, u)


A = normal(3, 4)


JACOBIANS = {
    "a matrix": (lambda x: A @ x, lambda x: A, normal(4)),
    "lists": (lambda x: A @ x, lambda x: A.tolist(), normal(4)),
    "a sparse matrix": (lambda x: A @ x, lambda x: sparse.csr_array(A), normal(4)),
    "the shapes of y and x": (
        lambda x: np.outer(x, x),
        lambda x: np.einsum("ik,j->ijk", np.eye(3), x) + np.einsum("jk,i->ijk", np.eye(3), x),
        normal(3),
    ),
    "a vector": (lambda x: float(x @ x), lambda x: 2 * x, normal(3)),
    "a row": (lambda x: float(x @ x), lambda x: 2 * x[None], normal(3)),
    "a column": (lambda x: np.array([x, 2 * x]), lambda x: [[1], [2]], np.array(0.3)),
}


@pytest.mark.parametrize("name", JACOBIANS)
def test_a_jacobian_may_be_a_matrix_or_have_the_shapes_of_y_and_x(name):
    f, jacobian, x = JACOBIANS[name]
    assert check(from_jacobian(f, jacobian), x).is_right
    assert check(from_jacobian(lambda x: (f(x), jacobian(x))), x).is_right


@pytest.mark.parametrize(
    "jacobian, words",
    [
        (
            A.T,
            "not (3, 4): a row for each entry of y, a column for each of x; it is transposed",
        ),
        (A[:2], "the Jacobian for x has shape (2, 4), not (3, 4): a row for each entry of y, a column for each of x"),
        (A * np.array([[1.0], [1.0], [-1.0]]), "dx: 4 of 4 entries disagree"),
        (A + np.eye(3, 4), "dx: 3 of 4 entries disagree"),
        (A.astype(np.float32), "dx is float32, but x is float64"),
    ],
)
def test_a_wrong_jacobian_is_found(jacobian, words):
    assert words in said_of(from_jacobian(lambda x: A @ x, lambda x: jacobian), normal(4))


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
    assert "and none for params (a dict); for arrays in a dict, list or tuple see from_nested" in said_of(
        network, PARAMS, normal(5, 3)
    )
    message = "network: there is no gradient of params['b1']: the keys of the gradient are 'W1', 'W2'"
    assert said_of(*from_nested(network, PARAMS, normal(5, 3)), wrong="missing") == message


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
        (lambda dy: [dy, dy], "the gradient of params is a list, not a dictionary as params is"),
        (lambda dy: dy, "the gradient of params is an array of float64, not a dictionary as params is"),
        (lambda dy: {}, "there is no gradient of params['a']: the keys of the gradient are none"),
        (lambda dy: {"a": dy, "b": [dy]}, "the gradient of params['b'] has 1 entries, expected 2"),
        (
            lambda dy: {"a": dy, "b": dy},
            "the gradient of params['b'] is an array of float64, not a list as params['b'] is",
        ),
        (lambda dy: {"a": dy, "b": [dy, dy[:2]]}, "dparams['b'][1] has shape (2,), but params['b'][1] has (3,)"),
        (lambda dy: {"a": dy, "b": [dy, None]}, "dparams['b'][1] is None, not an array of shape (3,)"),
        (lambda dy: ({"a": dy, "b": [dy, dy]}, dy), "the gradient of params is a tuple, not a dictionary"),
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
        ("the function is None; it must be a function", lambda: from_value_and_gradient(None)),
        ("the Jacobian is an array of float64; it must be a function", lambda: from_jacobian(np.sin, A)),
        (
            "<lambda> returned a float; expected a pair of its value and the gradient",
            lambda: check(from_value_and_gradient(lambda x: float(x.sum())), A),
        ),
        (
            "the value is an array (3, 4); it must be one floating-point number",
            lambda: check(from_value_and_gradient(lambda x: (x, x)), A),
        ),
        ("the value is a str; it must be one", lambda: check(from_value_and_gradient(lambda x: ("a", x)), A)),
        ("the inputs contain no floating-point array", lambda: from_nested(network, {"W": np.arange(3)}, 1.0)),
        ("an array of float64 cannot be called", lambda: from_nested(A, A)),
    ],
)
def test_what_cannot_be_adapted_is_refused_in_one_line(words, call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)
