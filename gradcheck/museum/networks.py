"""Layers: missing sums, windows at the wrong position, gradients lost between steps."""

import numpy as np

from gradcheck.museum.exhibit import at, check_descent, check_numerically, check_shapes, missed, right


@right((4, 3), (3, 2), (2,))
@missed("bias-broadcast", check_descent, (4, 3), (3, 2), np.zeros(2), target=np.eye(4, 2), rate=0.01)
@missed("input-twice", check_numerically, (4, 3), (3, 2), (2,), only=(1, 2))
def linear(x, weight, bias):
    """bias-broadcast: jimfleming/differentiation, issue 1; deeplearning4j/nd4j, issue 2424
        dbias = dy
    A bias for each row. The bias is added to every row, so its gradient is a sum over the rows. Here the sum is
    missing. `bias - rate * dbias` broadcasts silently, and from then on every row has a separate bias.
    Missed: The loss falls further than it should: with a separate bias for each example, each example can be memorised.

    input-twice: itskonrad/miniMNIST-c, issue 7
        dx = dy @ weight.T + dy @ (weight - 0.01 * dweight).T
    An input gradient summed twice. The gradient of the input is summed in one loop, and again in the next, which has
    already updated the weights. Half of the result is right; the other half is the gradient at weights that the forward
    pass did not use.
    Missed: The gradient of the weights is right, and so are all gradients in a network of one layer.
    """

    def backward(dy):
        dweight = x.T @ dy
        dbias = dy.sum(axis=0)
        dx = dy @ weight.T
        return dx, dweight, dbias

    return x @ weight + bias, backward


SMALL_WEIGHT = 0.01 * np.random.default_rng(0).normal(size=(3, 2))


@right((4, 3), (3, 2), (2,))
@at("dish-at-input", (5, 4), (4, 4), (4,))
@missed("bias-past-tanh", check_numerically, (4, 3), SMALL_WEIGHT, np.zeros(2), only=(2,), tolerance=1e-3)
@missed("dish-at-input", check_shapes, (5, 4), (4, 4), (4,))
def tanh_layer(x, weight, bias):
    """bias-past-tanh: arthurdouillard/deepcourse, issue 6; arthurdouillard/deepcourse, pull request 9
        dbias = dy.sum(axis=0)
    A bias that bypasses its activation. y = tanh(x W + b): the bias receives the gradient of y, not that of x W + b,
    which has the factor tanh′.
    Missed: At initial weights of 0.01, tanh is nearly linear, and tanh′ is nearly 1. The error is smaller than a
    tolerance of 1e-3. The exercise mentions no test.

    dish-at-input: explosion/thinc, file thinc/layers/dish.py at 95f894f
        dz = dy * (1 - np.tanh(x) ** 2)
    An activation's derivative at the input of its layer. z = x W + b, y = f(z), where f is another function in the
    project. The activation's derivative is evaluated at x instead of z. The activation calls its argument X, and the
    layer around it uses X for its input. The mistake goes unnoticed only if the layer has as many outputs as inputs;
    otherwise the shapes would not fit. `check` does not recognise this mistake from the numbers alone.
    `gradcheck.steps` finds the line: x stands where z belongs.
    Missed: Every layer of the library is tested in the same way, by types and shapes. This test uses 4 input and 4
    output features. With 4 and 3 it would have raised an exception.
    """
    z = x @ weight + bias

    def backward(dy):
        dz = dy * (1 - np.tanh(z) ** 2)
        dbias = dz.sum(axis=0)
        return dz @ weight.T, x.T @ dz, dbias

    return np.tanh(z), backward


@right((8,), (3,), stride=2)
def convolution(x, w, *, stride):
    """stride-forgotten: enggen/Deep-Learning-Coursera, issue 7; Kulbear/deep-learning-coursera, pull request 34
        places = np.arange(len(dy))[:, None] + np.arange(len(w))
    In the backward pass the window of output i begins at i, not at i times the stride. The mistake has no effect at
    stride 1.

    kernel-mean: sebgao/cTensor, issue 3
        dw = dy @ x[windows] / len(dy)
    The gradient of the kernel is a mean over the positions, not a sum. A learning rate absorbs the factor.

    covered-part: torch/DEPRECEATED-torch7-distro, issue 20
        dx = np.zeros(starts[-1] + len(w))
    The gradient has the size of the part that the windows cover. The mistake has no effect if the stride divides the
    input's length.
    """
    starts = np.arange(0, len(x) - len(w) + 1, stride)
    windows = starts[:, None] + np.arange(len(w))

    def backward(dy):
        dx = np.zeros_like(x)
        places = windows
        np.add.at(dx, places, dy[:, None] * w)
        dw = dy @ x[windows]
        return dx, dw

    return x[windows] @ w, backward


@right((3, 7), (2, 3))
def convolution_of_depth(x, w):
    """depth-of-the-output: NervanaSystems/neon, issue 111
        place = depth
    The depth index of the output is used in place of that of the input.
    """
    n = x.shape[1] - w.shape[1] + 1

    def backward(dy):
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        for depth in range(2):
            for i in range(n):
                place = depth + 1
                dx[place, i : i + 3] += w[depth] * dy[depth, i]
                dw[depth] += x[depth + 1, i : i + 3] * dy[depth, i]
        return dx, dw

    y = np.stack([np.stack([x[d + 1, i : i + 3] @ w[d] for i in range(n)]) for d in range(2)])
    return y, backward


def gates(x, h, w):
    return np.split(np.concatenate([h, x], axis=1) @ w, 4, axis=1)


def logistic(z):
    return 1 / (1 + np.exp(-z))


@right((2, 3), (2, 4), (2, 4), (7, 16))
def lstm_cell(x, h, c, w):
    """lstm-cell-overwritten: apache/mxnet, issue 4057
        dc = dh_new * o * (1 - t * t)
    The gradient of the cell is assigned, instead of added to that from the next step. The mistake has no effect in the
    last step.

    lstm-gate-value: CaptainE/RNN-LSTM-in-numpy, issue 1
        df = dc * c * logistic(f)
    The sigmoid is used in place of its derivative, because an argument `derivative=True` is missing.
    """
    f, i, o, g = gates(x, h, w)
    f, i, o, g = logistic(f), logistic(i), logistic(o), np.tanh(g)
    c_new = f * c + i * g
    t = np.tanh(c_new)

    def backward(dy):
        dh_new, dc_new = dy[0], dy[1]
        dc = dc_new + dh_new * o * (1 - t * t)
        df = dc * c * f * (1 - f)
        di, do, dg = dc * g * i * (1 - i), dh_new * t * o * (1 - o), dc * i * (1 - g * g)
        dz = np.concatenate([df, di, do, dg], axis=1)
        dhx = dz @ w.T
        dc_old = dc * f
        return dhx[:, 4:], dhx[:, :4], dc_old, np.concatenate([h, x], axis=1).T @ dz

    return np.stack([o * t, c_new]), backward


@right((3, 2, 3), (7, 16))
def lstm(xs, w):
    """lstm-last-cell: deeplearning4j/deeplearning4j, issue 8838
        dc = np.zeros_like(dc_last)
    The gradient of the last cell state is not taken into account. The mistake has no effect if the loss depends on the
    output alone.

    lstm-steps-apart: CaptainE/RNN-LSTM-in-numpy, issue 1
        dh, dc = dy[0] * 0, dc_last * 0
    The gradients of the states are computed, but not passed on to the step before. A sequence of length 1 hides the
    mistake.
    """
    cells, h, c = [], np.zeros((2, 4)), np.zeros((2, 4))
    for x in xs:
        (h, c), backward_of_cell = lstm_cell(x, h, c, w)
        cells.append(backward_of_cell)

    def backward(dy):
        dh, dc_last = dy[0], dy[1]
        dc = dc_last
        dxs, dw = np.zeros_like(xs), np.zeros_like(w)
        for t in range(len(cells) - 1, -1, -1):
            dxs[t], dh_before, dc_before, step = cells[t](np.stack([dh, dc]))
            dh, dc = dh_before, dc_before
            dw += step
        return dxs, dw

    return np.stack([h, c]), backward


@right((2, 4), (4, 4), (4, 4))
def gru_cell(h, wz, wn):
    """gru-direct-path: ooples/AiDotNet, pull request 722
        direct = dy * z
    The direct path has the factor 1 − z in this form of the cell, and z in the other one. It was found in a review.

    gru-own-unit: ooples/AiDotNet, pull request 722
        through_gates = dz * wz.sum(axis=1) + dn * wn.sum(axis=1)
    The weights of a unit multiply the gradient of that unit alone, not those of all units. It was found in a review.
    """
    z, n = logistic(h @ wz), np.tanh(h @ wn)

    def backward(dy):
        dz, dn = dy * (n - h) * z * (1 - z), dy * z * (1 - n * n)
        direct = dy * (1 - z)
        through_gates = dz @ wz.T + dn @ wn.T
        return direct + through_gates, h.T @ dz, h.T @ dn

    return (1 - z) * h + z * n, backward


@right((3, 2), (2, 4), (4, 2))
def perceptron(x, w1, w2):
    """output-without-sigmoid: Bot-Academy/NeuralNetworkFromScratch, pull request 3
        dz2 = dy
    The derivative of the last sigmoid is missing. The sigmoid increases, so the sign is right, and the loss falls.

    weights-already-moved: Bot-Academy/NeuralNetworkFromScratch, pull request 3
        back = w2 - 0.01 * dw2
    The output weights are updated before the gradient passes through them. A small learning rate hides the mistake.
    """
    h = logistic(x @ w1)
    y = logistic(h @ w2)

    def backward(dy):
        dz2 = dy * y * (1 - y)
        dw2 = h.T @ dz2
        back = w2
        dz1 = dz2 @ back.T * h * (1 - h)
        return dz1 @ w1.T, x.T @ dz1, dw2

    return y, backward
