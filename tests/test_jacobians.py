"""The Jacobian that a derivation writes down is the one that its function has.

Each formula is as its docstring has it, with δ for the unit matrix, and is held against `gradcheck.jacobian`, which
knows nothing of it. A backward pass is checked elsewhere; here it is what the prose says on the way to it.
"""

import numpy as np
import pytest

from gradcheck import jacobian
from minitransformer import attention, embedding, layer_norm, linear, log_softmax, relu, rms_norm, silu, softmax
from minitransformer.layers.activations import gelu_exact, gelu_tanh
from minitransformer.layers.positions import rotary
from minitransformer.losses import cross_entropy


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def assert_equal(found, formula):
    assert found.shape == formula.shape
    assert np.abs(found - formula).max() <= 1e-12 * np.abs(formula).max()


def test_linear(rng):
    x, weight, bias = rng.normal(size=(3, 4)), rng.normal(size=(4, 2)), rng.normal(size=2)
    by_x, by_weight, by_bias = jacobian(linear, x, weight, bias)
    assert_equal(by_x, np.einsum("pq,io->poqi", np.eye(3), weight))
    assert_equal(by_weight, np.einsum("pi,oz->poiz", x, np.eye(2)))
    assert_equal(by_bias, np.einsum("p,oz->poz", np.ones(3), np.eye(2)))


def test_embedding(rng):
    ids = np.array([4, 1, 4])
    reads = ids[:, None] == np.arange(5)
    assert_equal(jacobian(embedding, ids, rng.normal(size=(5, 2))), np.einsum("pv,cz->pcvz", reads, np.eye(2)))


@pytest.mark.parametrize("eps", [1e-5, 0.7])
def test_layer_norm(rng, eps):
    x, C = rng.normal(size=6), 6
    r = 1 / np.sqrt(x.var() + eps)
    x_hat = (x - x.mean()) * r
    by_x = jacobian(layer_norm, x, np.ones(C), np.zeros(C), eps=eps)[0]
    assert_equal(by_x, r * (np.eye(C) - np.ones((C, C)) / C - np.outer(x_hat, x_hat) / C))


def test_the_variance_of_layer_norm(rng):
    x = rng.normal(size=6)
    assert_equal(jacobian(lambda x: ((x - x.mean()) ** 2).mean(), x), 2 * (x - x.mean()) / 6)


def test_rms_norm(rng):
    x, C = rng.normal(size=6), 6
    r = 1 / np.sqrt((x**2).mean() + 0.7)
    by_x = jacobian(rms_norm, x, np.ones(C), eps=0.7)[0]
    assert_equal(by_x, r * (np.eye(C) - np.outer(x * r, x * r) / C))


def test_softmax_and_its_logarithm(rng):
    x = rng.normal(size=5)
    y = softmax(x)[0]
    assert_equal(jacobian(softmax, x), np.diag(y) - np.outer(y, y))
    assert_equal(jacobian(log_softmax, x), np.eye(5) - np.ones((5, 1)) * y)


def test_attention(rng):
    q, k, v = (rng.normal(size=(1, n, 4)) for n in (3, 5, 5))
    seen = []

    def observe(weights):
        seen.append(weights)
        return weights, lambda dweights: dweights

    by_q, _, by_v = jacobian(attention, q, k, v, on_weights=observe)
    weights = next(array for array in seen if not np.iscomplexobj(array))[0]
    assert_equal(by_v[0, :, :, 0], np.einsum("ij,dz->idjz", weights, np.eye(4)))
    dscores = np.einsum("ij,jl->ijl", weights, np.eye(5)) - np.einsum("ij,il->ijl", weights, weights)
    through_scores = np.einsum("jd,ijl,lz->idz", v[0], dscores, 0.5 * k[0])  # s = 1/√4
    assert_equal(np.einsum("idiz->idz", by_q[0, :, :, 0]), through_scores)


def turn(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def test_rotary(rng):
    positions, omega = np.array([3, 7]), 100.0 ** (-np.arange(3) / 3)
    found = jacobian(rotary, rng.normal(size=(2, 6)), positions=positions, base=100.0, layout="interleaved")
    formula = np.zeros((2, 6, 2, 6))
    for t in range(2):
        for i in range(3):
            formula[t, 2 * i : 2 * i + 2, t, 2 * i : 2 * i + 2] = turn(positions[t] * omega[i])
    assert_equal(found, formula)


@pytest.mark.parametrize("function", [relu, silu, gelu_exact, gelu_tanh], ids=lambda function: function.__name__)
def test_an_activation_is_diagonal(rng, function):
    found = jacobian(function, rng.normal(size=5))
    assert_equal(found, np.diag(np.diag(found)))


def test_cross_entropy(rng):
    x = rng.normal(size=(1, 5))
    found = jacobian(cross_entropy, x, np.array([2]))
    assert_equal(found, softmax(x)[0] - np.eye(5)[2])


def test_residual_paths_add_and_what_is_broadcast_is_summed(rng):
    x, b = rng.normal(size=(3, 2)), rng.normal(size=2)
    assert_equal(jacobian(lambda x: x + 2 * x * x, b), np.eye(2) + np.diag(4 * b))
    assert_equal(jacobian(lambda x, b: x + b, x, b)[1], np.einsum("p,cz->pcz", np.ones(3), np.eye(2)))
    assert_equal(jacobian(lambda x: x.mean(axis=0), x), np.einsum("p,cz->cpz", np.ones(3) / 3, np.eye(2)))
