"""Activations and other functions of one number: a wrong branch, a lost factor, digits that cancel."""

import math

import numpy as np

from gradcheck.museum.exhibit import right


@right((3, 4))
def sigmoid(x):
    """sigmoid-nested: yizt/numpy_neural_network, issue 3
        return 1 / (1 + np.exp(-(1 - 1 / (1 + np.exp(-dy)))))
    σ(1 − σ(dy)) stands in place of σ′. It is positive, so a loss may fall.
    """
    y = 1 / (1 + np.exp(-x))

    def backward(dy):
        return dy * y * (1 - y)

    return y, backward


@right((3, 4))
def falling_sigmoid(x):
    """sigmoid-reflected: parasdahal/deepnet, file deepnet/layers.py at 51a9e61
        return dy * y * (1 - y)
    The minus sign of exp(−x) is missing in the forward pass. A test of the values of a sigmoid would have found it.
    """
    y = 1 / (1 + np.exp(x))

    def backward(dy):
        return -dy * y * (1 - y)

    return y, backward


@right(np.array([-800.0, 0.3, -1.2, 2.0]))
def sigmoid_of_large_numbers(x):
    """sigmoid-overflow: tinygrad/tinygrad, pull request 1113
        return dy * np.exp(-x) / (1 + np.exp(-x)) ** 2
    exp(−x) overflows for large negative x, and ∞ / ∞ is NaN. Inputs of order 1 do not show it.
    """
    y = np.where(x > 0, 1, np.exp(np.minimum(x, 0))) / (1 + np.exp(-np.abs(x)))

    def backward(dy):
        return dy * y * (1 - y)

    return y, backward


@right(np.array([40.0, 38.5, 41.2]))
def sigmoid_at_its_limit(x):
    """sigmoid-saturated: tenstorrent/tt-metal, issue 55724
        return dy * y * (1 - y)
    1 − y cancels once y rounds to 1, although σ(−x) is an ordinary number. Inputs of order 1 do not show it.
    """
    y = 1 / (1 + np.exp(-x))

    def backward(dy):
        return dy * y / (1 + np.exp(x))

    return y, backward


@right(np.array([-40.0, -38.5, -41.2]))
def expm1(x):
    """expm1-by-addition: tenstorrent/tt-metal, issue 55723
        return dy * ((np.exp(x) - 1) + 1)
    exp(x) is recovered from exp(x) − 1 by adding 1. For large negative x the sum is exactly 0.
    """

    def backward(dy):
        return dy * np.exp(x)

    return np.exp(x) - 1, backward


@right(np.array([15.0, 16.5, -17.0]))
def tanh_at_its_limit(x):
    """tanh-cancellation: JuliaDiff/DiffRules.jl, issue 102
        return dy * (1 - np.tanh(x) ** 2)
    1 − tanh² loses ten digits at x = 14. Tests at numbers of order 1 do not show it.
    """

    def backward(dy):
        return dy / np.cosh(x) ** 2

    return np.tanh(x), backward


@right((3, 4))
def tanh(x):
    """tanh-itself: andersbll/nnet, issue 4
        return dy * (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1)
    The derivative of tanh is an expression for tanh itself.
    """
    y = np.tanh(x)

    def backward(dy):
        return dy * (1 - y * y)

    return y, backward


@right((3, 4))
def slope_of_gelu(x):
    """gelu-second-derivative: ddbourgin/numpy-ml, file numpy_ml/neural_nets/activations/activations.py at b0359af
        return dy * (1 / 2 * np.sqrt(2)) * (1 + np.sqrt(2) * (2 - 2 * x) * density)
    `1 / 2 * √2` stands for 1 / (2 √2), one constant is too many, and a factor x is missing.
    """
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    below = 0.5 + 0.5 * np.vectorize(math.erf)(x.real / np.sqrt(2))

    def backward(dy):
        return dy * (2 - x * x) * density

    return below + x * density, backward


@right((3, 4))
def leaky_relu(x):
    """leaky-as-relu: scientific-computing/FKB, issue 15
        return np.where(0.3 * x > 0, dy, 0.0)
    The derivative is that of a ReLU: 0 for negative inputs. Hidden while all inputs are positive.
    """

    def backward(dy):
        return np.where(x > 0, dy, 0.3 * dy)

    return np.where(x > 0, x, 0.3 * x), backward


@right((3, 4), alpha=-0.7)
def elu(x, *, alpha):
    """elu-precedence: borgwang/tinynn, file tinynn/core/layer.py at 0fb0f94
        return dy * (x > 0.0 + (x < 0.0) * alpha * np.exp(x))
    `x > 0.0 + …` compares x with the sum, because + binds more tightly than >. The result is 0 or 1.

    elu-negative-alpha: PaddlePaddle/Paddle, pull request 26543
        return dy * np.where(x > 0, 1.0, alpha * np.exp(x))
    For a negative α the other branch of the minimum is active. Hidden while α is positive.
    """
    tail = alpha * (np.exp(x) - 1)

    def backward(dy):
        return dy * ((x > 0) + (tail < 0) * alpha * np.exp(x))

    return np.maximum(x, 0) + np.minimum(tail, 0), backward


@right((3, 4))
def selu(x):
    """selu-scale: RubixML/ML, pull request 427
        return dy * np.where(x > 0, scale, scale * (y + alpha))
    The output already has the factor λ, and the negative branch multiplies by it again.
    """
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    y = scale * np.where(x > 0, x, alpha * (np.exp(np.minimum(x, 0)) - 1))

    def backward(dy):
        return dy * np.where(x > 0, scale, y + scale * alpha)

    return y, backward


@right(np.array([0.0, 1.3, -0.4, 0.0]))
def softplus(x):
    """softplus-at-zero: jax-ml/jax, issue 2107
        return dy * ((x > 0) - np.sign(x) / (1 + np.exp(np.abs(x))))
    The parts max(x, 0) and log(1 + exp(−|x|)) have kinks at 0 that cancel. In this derivative they do not.
    """

    def backward(dy):
        return dy / (1 + np.exp(-x))

    return np.log(1 + np.exp(x)), backward


@right((3, 4))
def cosh(x):
    """cosh-sign: casadi/casadi, issue 2585
        return -dy * np.sinh(x)
    The sign is that of a cosine's derivative. The library had this mistake for nine years.
    """

    def backward(dy):
        return dy * np.sinh(x)

    return np.cosh(x), backward


@right((3, 4))
def atanh_of_a_function(x):
    """atanh-chain: autodiff/autodiff, issue 396
        return dy / (1 - u * u)
    The derivative of the argument is missing. Hidden in atanh(x), whose argument has derivative 1.
    """
    u = 0.5 * np.sin(x)

    def backward(dy):
        return dy / (1 - u * u) * 0.5 * np.cos(x)

    return np.arctanh(u), backward
