"""Functions of one number: a wrong point, a wrong branch, a lost factor, lost digits."""

import math

import numpy as np

from gradcheck.museum.exhibit import at, check_descent, check_numerically, check_shapes, missed, right


@right((3, 4))
@at("sigmoid-overflow", np.array([-800.0, 0.3, -1.2, 2.0]))
@at("sigmoid-saturated", np.array([40.0, 38.5, 41.2]))
@missed("bugged-sigmoid", check_descent, np.array([0.2, 0.5, 0.7]), target=np.array([0.7, 0.5, 0.6]), rate=0.1)
def sigmoid(x):
    """bugged-sigmoid: uptake/numpynet, file numpynet_common.py at 22236ba
        return dy * x * (1 - x)
    A sigmoid differentiated at its input. σ′ = y (1 − y) holds for the output y. At the input, x (1 − x) is an
    unrelated parabola. The authors called it "bugged_sigmoid" and kept it: "Why does this work?"
    Missed: It works while the inputs lie between 0 and 1, where the parabola is positive. A gradient of the right sign
    is enough to reduce a loss.

    sigmoid-nested: yizt/numpy_neural_network, issue 3
        return 1 / (1 + np.exp(-(1 - 1 / (1 + np.exp(-dy)))))
    The derivative σ′ is replaced with σ(1 − σ(dy)). This is positive, so a loss may still decrease.

    sigmoid-overflow: tinygrad/tinygrad, pull request 1113
        return dy * np.exp(-x) / (1 + np.exp(-x)) ** 2
    exp(−x) overflows for large negative x, and ∞ / ∞ is NaN. Inputs of order 1 do not show the mistake.

    sigmoid-saturated: tenstorrent/tt-metal, issue 55724
        return dy * y * (1 - y)
    y is rounded to 1, so that 1 − y is 0, although σ(−x) is not. Inputs of order 1 do not show the mistake.
    """
    y = 1 / (1 + np.exp(-x))

    def backward(dy):
        return dy * y / (1 + np.exp(x))

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


@right(np.array([-40.0, -38.5, -41.2]))
def expm1(x):
    """expm1-by-addition: tenstorrent/tt-metal, issue 55723
        return dy * ((np.exp(x) - 1) + 1)
    exp(x) is recovered from exp(x) − 1 by adding 1. For large negative x the sum is exactly 0.
    """

    def backward(dy):
        return dy * np.exp(x)

    return np.exp(x) - 1, backward


@right((3, 4))
@at("tanh-cancellation", np.array([15.0, 16.5, -17.0]))
@missed("tanh-of-dy", check_shapes, (3, 4))
def tanh(x):
    """tanh-of-dy: yizt/numpy_neural_network, issue 6
        return 1 - np.tanh(dy) ** 2
    tanh differentiated at the wrong value. The derivative of tanh is evaluated at the upstream gradient instead of x,
    and is not multiplied by it.
    Missed: The report mentions no test; a test that compares no values would have passed.

    tanh-itself: andersbll/nnet, issue 4
        return dy * (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1)
    The derivative of tanh is an expression for tanh itself.

    tanh-cancellation: JuliaDiff/DiffRules.jl, issue 102
        return dy * (1 - np.tanh(x) ** 2)
    1 − tanh² loses ten digits at x = 14. Tests at numbers of order 1 do not show the mistake.
    """

    def backward(dy):
        return dy / np.cosh(x) ** 2

    return np.tanh(x), backward


@right((3, 4))
@missed("gelu-mixed", check_numerically, (50,), dy=np.ones(50), tolerance=1.5e-3)
def gelu(x):
    """gelu-mixed: ddbourgin/numpy-ml, file numpy_ml/neural_nets/activations/activations.py at 0f5b1ce
        steepness = scale * np.exp(-x * x / 2)
    A GELU that is differentiated as two functions. The forward pass computes the tanh approximation. The backward pass
    takes one term from the derivative of this approximation and the other from that of the exact GELU. Their sum is
    wrong in the fourth digit. `check` does not recognise such a mistake. It reports that nearly every entry is wrong,
    by thousands of times the uncertainty of the oracle.
    Missed: The project's test compares the gradient to three decimals, and the mistake is in the fourth. The tolerance
    was chosen for the error of the approximation. But the derivative of the approximation itself is exact.
    """
    scale = np.sqrt(2 / np.pi)
    t = np.tanh(scale * (x + 0.044715 * x**3))

    def backward(dy):
        steepness = scale * (1 + 3 * 0.044715 * x * x) * (1 - t * t)
        return dy * 0.5 * (1 + t + x * steepness)

    return 0.5 * x * (1 + t), backward


@right((3, 4), slope=0.0)
@at("relu-at-zero", np.array([0.0, 1.5, -0.3, 0.0]), slope=0.0)
@at("leaky-as-relu", (3, 4), slope=0.3)
@missed("relu-zero", check_numerically, np.array([0.5, 1.0, 3.0]), slope=0.0)
def relu(x, *, slope):
    """relu-zero: iamtrask/Grokking-Deep-Learning, pull request 13
        return dy * (y >= 0)
    A ReLU's derivative at an output of 0. The derivative is computed from the output with ≥. Where the unit is off, its
    output is exactly 0, and 0 ≥ 0. So every gradient passes, as if there were no ReLU. With > it would be right.
    Missed: A test of ReLU often uses only positive values. The mistake was reported because the test accuracy differed
    by 12 %.

    leaky-as-relu: scientific-computing/FKB, issue 15
        return np.where(slope * x > 0, dy, 0.0)
    The derivative of a leaky ReLU is that of a ReLU: 0 for negative inputs. The mistake has no effect while all inputs
    are positive.
    """
    y = np.where(x > 0, x, slope * x)

    def backward(dy):
        return np.where(y > 0, dy, slope * dy)

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


@right((3, 4), alpha=-0.7)
def elu(x, *, alpha):
    """elu-precedence: borgwang/tinynn, file tinynn/core/layer.py at 0fb0f94
        return dy * (x > 0.0 + (x < 0.0) * alpha * np.exp(x))
    `x > 0.0 + …` compares x with the sum, because + binds more tightly than >. The result is 0 or 1.

    elu-negative-alpha: PaddlePaddle/Paddle, pull request 26543
        return dy * np.where(x > 0, 1.0, alpha * np.exp(x))
    For a negative α the other branch of the minimum is active. The mistake has no effect while α is positive.
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
    The derivative of the argument is missing. The mistake has no effect in atanh(x), whose argument has derivative 1.
    """
    u = 0.5 * np.sin(x)

    def backward(dy):
        return dy / (1 - u * u) * 0.5 * np.cos(x)

    return np.arctanh(u), backward
