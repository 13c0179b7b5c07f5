"""Wrong gradients that real projects shipped, and those that everyone writes sooner or later: each must be caught.

Each function takes `bug`; without one it is right and passes. The table names the arguments whose gradient the bug
makes wrong, and exactly these must be reported.
"""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose
from verdicts import check, verdict, verdicts

import gradcheck
from gradcheck import GradientError

T = 4  # positions; as many queries as keys, so that a product that lacks its transpose still has the right shape


def softmax(x, *, bug=None):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        if bug == "without the Jacobian":
            return dy
        if bug == "zeros":
            return np.zeros_like(dy)
        if bug == "missing term":
            return y * dy
        axis = -2 if bug == "wrong axis" else -1
        total = np.mean if bug == "mean for sum" else np.sum
        dx = y * (dy - total(dy * y, axis=axis, keepdims=True))
        return -dx if bug == "sign flipped" else dx

    return y, backward


def layer_norm(x, gamma, beta, *, bug=None):
    centred = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    x_hat = centred * r

    def backward(dy):
        positions = tuple(range(dy.ndim - 1))
        dx_hat = dy if bug == "gamma outside the means" else dy * gamma
        shift = dx_hat.mean(axis=-1, keepdims=True)
        scale = x_hat * (dx_hat * x_hat).mean(axis=-1, keepdims=True)
        if bug == "shift forgotten":
            shift = 0.0
        if bug == "scale forgotten":
            scale = 0.0
        dx = r * (dx_hat - shift - scale)
        if bug == "gamma outside the means":
            dx = dx * gamma
        dgamma = (dy * x_hat).sum(axis=positions)
        dbeta = dy.sum(axis=positions)
        if bug == "mean for sum":
            dbeta = dy.mean(axis=positions)
        if bug == "exchanged":
            dgamma, dbeta = dbeta, dgamma
        return dx, dgamma, dbeta

    return gamma * x_hat + beta, backward


def attention(q, k, v, *, mask, keep, bug=None):
    """One head, with dropout (`keep`, p = 1/2) on the weights."""
    scale = q.shape[-1] ** -0.5
    scores = np.where(mask, q @ k.swapaxes(-1, -2) * scale, -np.inf)
    weights, softmax_backward = softmax(scores)
    dropped = weights * keep * 2.0

    def backward(dy):
        if bug == "zeros":
            return np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
        dweights = dy @ v.swapaxes(-1, -2)
        if bug != "dropout ignored":
            dweights = dweights * keep * 2.0
        dscores = softmax_backward(dweights) * scale
        if bug == "mask forgotten":
            dscores = dscores + np.where(mask, 0.0, scale * dweights)
        if bug == "scale forgotten":
            dscores = dscores / scale
        dk = dscores @ q if bug == "dK not transposed" else dscores.swapaxes(-1, -2) @ q
        dv = (weights if bug == "dropout ignored" else dropped).swapaxes(-1, -2) @ dy
        return dscores @ k, dk, dv

    return dropped @ v, backward


def tied(embedding, *, ids, bug=None):
    """Embedding and unembedding by the same matrix (V, C): its gradient arrives from both."""
    x = np.tanh(embedding[ids])

    def backward(dy):
        through_head = dy.T @ x
        dx = (dy @ embedding) * (1 - x * x)
        through_embedding = np.zeros_like(embedding)
        if bug == "repeated ids overwritten":
            through_embedding[ids] = dx
        else:
            np.add.at(through_embedding, ids, dx)
        if bug == "head dropped":
            return through_embedding
        if bug == "embedding dropped":
            return through_head
        return through_head + through_embedding

    return x @ embedding.T, backward


def linear(x, weight, bias, *, bug=None):
    def backward(dy):
        if bug == "dy ignored":
            dy = np.ones_like(dy)
        dx = dy @ weight if bug == "transposed product" else dy @ weight.T
        dweight = dy.T @ x if bug == "dW transposed" else x.T @ dy
        dbias = dy.sum(axis=1) if bug == "wrong axis" else dy.sum(axis=0)
        return dx, dweight, dbias

    return x @ weight + bias, backward


def logits_loss(logits, *, targets, bug=None):
    """Cross-entropy, the mean over the targets that are not negative."""
    counted = targets >= 0
    log_probability = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    rows = np.arange(len(targets))
    n = int(counted.sum())

    def backward(dloss):
        dlogits = np.exp(log_probability)
        dlogits[rows, targets] -= 1.0
        if bug != "ignored targets counted":
            dlogits[~counted] = 0.0
        if bug == "dloss ignored":
            return dlogits / n
        return dlogits * (dloss / (len(targets) if bug == "averaged over ignored targets" else n))

    return -log_probability[rows, targets][counted].sum() / n, backward


def draw(function, rng):
    """Random inputs and options for one of the functions above."""
    mask, keep = np.tri(T, dtype=bool), rng.permuted(np.tile([True, False, True, True], (2, T, 1)), axis=-1)
    shapes, options = {
        softmax: ([(3, T)], {}),
        layer_norm: ([(2, 3, 5), 5, 5], {}),
        attention: ([(2, T, 3), (2, T, 3), (2, T, 5)], {"mask": mask, "keep": keep}),
        tied: ([(7, 3)], {"ids": np.array([2, 5, 2, 0])}),
        linear: ([(4, 4), (4, 4), 4], {}),
        logits_loss: ([(5, 7)], {"targets": np.array([3, -1, 0, 6, 3])}),
    }[function]
    return [rng.standard_normal(shape) for shape in shapes], options


BUGS = {  # function: {bug: the arguments whose gradient it makes wrong}
    attention: {
        "dK not transposed": "k",
        "dropout ignored": "q k v",
        "zeros": "q k v",
        "mask forgotten": "q k",
        "scale forgotten": "q k",
    },
    layer_norm: {
        "gamma outside the means": "x",
        "shift forgotten": "x",
        "scale forgotten": "x",
        "mean for sum": "beta",
        "exchanged": "gamma beta",
    },
    tied: dict.fromkeys(["head dropped", "embedding dropped", "repeated ids overwritten"], "embedding"),
    softmax: dict.fromkeys(
        ["without the Jacobian", "zeros", "missing term", "wrong axis", "mean for sum", "sign flipped"], "x"
    ),
    linear: {"dy ignored": "x weight bias", "transposed product": "x", "dW transposed": "weight", "wrong axis": "bias"},
    logits_loss: dict.fromkeys(["dloss ignored", "ignored targets counted", "averaged over ignored targets"], "logits"),
}
PLANTED = [(function, bug, wrong) for function, bugs in BUGS.items() for bug, wrong in bugs.items()]


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))]


@pytest.mark.parametrize("function", BUGS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_right_gradient_passes(function, seed):
    inputs, options = draw(function, np.random.default_rng(seed))
    report = check(function, *inputs, seed=seed, **options)
    assert report.is_right
    assert max(argument.worst_relative for argument in report.arguments) < 1e-8
    assert [argument.entries for argument in report.arguments] == [array.size for array in inputs]


@pytest.mark.parametrize("function, bug, wrong", PLANTED, ids=[f"{f.__name__}: {bug}" for f, bug, _ in PLANTED])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_planted_bug_is_caught_in_the_arguments_it_affects_and_in_no_other(function, bug, wrong, seed):
    inputs, options = draw(function, np.random.default_rng(seed))
    found = verdicts(function, *inputs, seed=seed, bug=bug, **options)
    assert [name for name, verdict in found.items() if verdict != "right"] == wrong.split()


def test_gamma_outside_the_means_cannot_be_seen_at_gamma_one():
    # The value that every layer norm starts from: this is why parameters are drawn at random.
    inputs, _ = draw(layer_norm, np.random.default_rng(0))
    at_one = (inputs[0], np.ones(5), np.zeros(5))
    assert check(layer_norm, *at_one, bug="gamma outside the means").is_right


def test_a_softmax_backward_of_zeros_under_a_nearly_constant_dy_is_beyond_central_differences_alone():
    # The very reason for refusing a constant one: here it is off by 1e-12, so that it is let through.
    x = np.random.default_rng(0).standard_normal((3, T))
    dy = np.ones((3, T))
    dy[0, 0] += 1e-12
    with pytest.raises(GradientError, match=r"disagree.*the complex step gives"):
        check(softmax, x, dy=dy, bug="zeros")
    with pytest.raises(GradientError, match="cannot tell: the norm of the gradient is"):
        check(softmax, x, dy=dy, bug="zeros", oracles="central")
    assert check(softmax, x, dy=dy, bug="zeros", oracles="central", atol=1e-8).is_right


def test_a_checker_one_and_a_half_times_the_truth_calls_right_gradients_wrong(monkeypatch):
    inner = gradcheck.central_differences._inner
    monkeypatch.setattr(gradcheck.central_differences, "_inner", lambda a, b: 1.5 * inner(a, b))
    assert verdict(softmax, np.random.default_rng(0).standard_normal((3, T))) == "WRONG"


shapes = st.tuples(st.integers(1, 4), st.integers(1, 3))
seeds = st.integers(0, 2**32)


def random_map(shape, rng):
    """y = A x + (B x)² x̄ with random A, B: a polynomial map of degree 3. Returns it with an error in its gradient."""
    n_x, n_y = shape
    a, b = rng.standard_normal((n_y, n_x)), rng.standard_normal((n_y, n_x))

    def function(x, *, error=0.0):
        mean = x.mean()

        def backward(dy):
            quadratic = b @ x
            dx = a.T @ dy + b.T @ (2 * quadratic * mean * dy) + np.sum(dy * quadratic**2) / n_x
            return dx + error * max(1.0, np.abs(dx).max()) * (np.arange(n_x) == n_x - 1)

        return a @ x + (b @ x) ** 2 * mean, backward

    return function, rng.standard_normal(n_x)


@given(shapes, seeds)
def test_random_polynomial_maps_are_always_called_right(shape, seed):
    function, x = random_map(shape, np.random.default_rng(seed))
    report = check(function, x, seed=seed)
    assert report.arguments[0].verdict == "right"
    assert_allclose(report.arguments[0].analytic, report.arguments[0].numeric, rtol=1e-8, atol=1e-9)


@given(shapes, seeds, st.floats(1e-4, 1e4), st.sampled_from([1.0, -1.0]))
def test_random_polynomial_maps_with_one_entry_off_are_always_called_wrong_there(shape, seed, error, sign):
    function, x = random_map(shape, np.random.default_rng(seed))
    argument = check(function, x, seed=seed, error=sign * error, raises=False)["x"]
    assert argument.disagree == 1 and argument.worst_index == (len(x) - 1,) and argument.at_kink == 0
