"""Losses, penalties and their second derivatives: wrong counts, missing terms."""

import numpy as np

from gradcheck.museum.exhibit import at, check_numerically, close, missed, numeric_gradient, right


def same_direction(loss):
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=5), rng.normal(size=5)
    a = loss(prediction, target=target)[1](1.0)
    n = numeric_gradient(lambda p: loss(p, target=target)[0], prediction)
    close(a @ n / np.linalg.norm(a) / np.linalg.norm(n), 1.0)


@right((5,), target=(5,))
@missed("squared-error", same_direction)
def squared_error(prediction, *, target):
    """squared-error: Open-Deep-ML/DML-OpenProblem, issue 54
        return dloss * error / error.size
    Half of a squared error's gradient. The loss is the mean of the squares; its gradient lacks the factor 2 of the
    power rule.
    Missed: Half of the gradient has the direction of the gradient, and the learning rate can make up for its length. A
    comparison of the angle between gradients, or of the decrease of a loss, does not depend on the length.
    """
    error = prediction - target

    def backward(dloss):
        return dloss * 2 * error / error.size

    return (error**2).mean(), backward


PADDED = {"targets": np.array([2, -1, 0, 5, -1]), "weights": np.ones(6), "temperature": 1.0}
COMPLETE = {**PADDED, "targets": np.array([2, 0, 5, 3])}


@right((4, 3), targets=np.array([2, 0, 1, 2]), weights=np.array([0.5, 2.0, 1.2]), temperature=2.5)
@at("cross-entropy-ignored", (5, 6), **PADDED)
@at("cross-entropy-padding", (3, 6), **{**PADDED, "targets": np.array([-1, 4, 1])})
@at("cross-entropy-without-padding", (4, 6), **COMPLETE)
@missed("cross-entropy-ignored", check_numerically, (4, 6), **COMPLETE)
@missed("cross-entropy-padding", check_numerically, (4, 6), **COMPLETE)
def cross_entropy(logits, *, targets, weights, temperature):
    """cross-entropy-ignored: PaddlePaddle/Paddle, pull request 28622
        weight = weights[targets][:, None]
    Ignored targets that have a gradient. Ignored targets are excluded from the loss but not from its gradient.
    Missed: No target of the test is ignored, so all positions count.

    cross-entropy-padding: tracel-ai/burn, issue 5568; eladhoffer/utils.pytorch, issue 4
        return dloss * weight * (np.exp(log_p) - one_hot) / temperature / len(targets)
    A mean over padding. The mean is taken over all positions, including padding, instead of those that count. In the
    projects named, automatic differentiation followed the loss. In code written by hand, loss and gradient are
    corrected separately: here the loss is corrected, and the gradient still divides by the number of all positions.
    Missed: No target of the test is ignored, so all positions count.

    weights-by-column: borgwang/tinynn, file tinynn/core/loss.py at 0fb0f94
        weight = weights
    The weight of a class multiplies its column, not the rows with that label. The mistake has no effect while all
    weights are equal.

    temperature-forgotten: borgwang/tinynn, file tinynn/core/loss.py at 0fb0f94
        return dloss * weight * (np.exp(log_p) - one_hot) / counted.sum()
    The derivative of logits / T is missing. The mistake has no effect at T = 1, the default.
    """
    counted = targets >= 0
    shifted = (logits - logits.max(axis=1, keepdims=True)) / temperature
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    one_hot = np.eye(logits.shape[1])[targets]
    losses = -weights[targets] * counted * (log_p * one_hot).sum(axis=1)

    def backward(dloss):
        weight = (weights[targets] * counted)[:, None]
        return dloss * weight * (np.exp(log_p) - one_hot) / temperature / counted.sum()

    return losses.sum() / counted.sum(), backward


@right(np.array([0.3, -2.4, 1.7, -0.6, -1.2]), target=np.zeros(5))
def huber(x, *, target):
    """huber-without-dy: chainer/chainer, pull request 1178
        return np.where(np.abs(error) < 1, error, np.sign(error))
    The upstream gradient is ignored. In the test, it was 1.

    huber-signed: BobMcDear/attorch, issue 13
        return dloss * np.where(error < 1, error, np.sign(error))
    The threshold is compared with the signed difference, so large negative differences stay quadratic.
    """
    error = x - target

    def backward(dloss):
        return dloss * np.where(np.abs(error) < 1, error, np.sign(error))

    return np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5).sum(), backward


@right((6,), target=np.array([1.0, 0, 0, 1, 0, 1]))
def binary_cross_entropy(logits, *, target):
    """bce-of-ones: deeplearning4j/nd4j, issue 1328
        return dloss * target * (p - target) / target.size
    Labels of 0 have no gradient. The mistake has no effect if every label is 1.

    bce-of-a-sum: oysteijo/simd_neuralnet, issue 1
        return dloss * (p - target)
    The loss is a mean over the outputs, but the gradient is that of a sum. It was found by a comparison with Keras.
    """
    p = 1 / (1 + np.exp(-logits))

    def backward(dloss):
        return dloss * (p - target) / target.size

    return (np.log(1 + np.exp(logits)) - target * logits).mean(), backward


@right((3,), x=(5, 3), target=(5,), reg=0.4)
def ridge(w, *, x, target, reg):
    """penalty-half: jingtinghuang/CS231n-Spring-2017, issue 3
        dw = dloss * (x.T @ error + reg * w)
    The factor 2 of the squared penalty is missing. The mistake has no effect at reg = 0.

    penalty-sign: andersbll/nnet, issue 4
        dw = dloss * (x.T @ error - 2 * reg * w)
    The penalty is subtracted, so weights grow. A small penalty hides the mistake.

    penalty-replaces: open-nudge/torchlayers, issue 18
        dw = dloss * 2 * reg * w
    The gradient of the penalty replaces that of the loss, instead of being added to it.
    """
    error = x @ w - target

    def backward(dloss):
        dw = dloss * (x.T @ error + 2 * reg * w)
        return dw

    return (error**2).sum() / 2 + reg * (w**2).sum(), backward


@right((3,), a=(6, 3), alpha=0.3)
def logistic_gradient(w, *, a, alpha):
    """hessian-penalty-divided: openopt/copt, file copt/loss.py at c0d5d46
        return (a.T @ (p * (1 - p) * (a @ v)) + alpha * v) / len(a)
    In the product with the Hessian, the penalty is divided by the number of samples. The mistake has no effect for
    the default α = 0.
    """
    p = 1 / (1 + np.exp(-a @ w))

    def backward(v):
        return a.T @ (p * (1 - p) * (a @ v)) / len(a) + alpha * v

    return a.T @ p / len(a) + alpha * w, backward


@right((4,), p=np.abs(np.random.default_rng(2).normal(size=(6, 4))), counts=np.array([3.0, 0, 2, 5, 1, 4]))
def poisson_score(x, *, p, counts):
    """hessian-sign: UCL/STIR, issue 911
        return 2 * v * (p.T @ (counts / mean - 1)) + 2 * x * (p.T @ (counts / mean**2 * (p @ (2 * x * v))))
    The second derivative of a log-likelihood lacks its minus sign. Code that uses it expects this sign.
    """
    mean = p @ x**2 + 1

    def backward(v):
        return 2 * v * (p.T @ (counts / mean - 1)) - 2 * x * (p.T @ (counts / mean**2 * (p @ (2 * x * v))))

    return 2 * x * (p.T @ (counts / mean - 1)), backward


@right((3, 3), x=(3,))
def gaussian(a, *, x):
    """covariance-sign: HIPS/autograd, pull request 412
        dcovariance = dy * 0.5 * (inverse - np.outer(z, z))
    The gradient with respect to the covariance has the wrong sign. A typing error kept the test from running.

    determinant-lost: timweiland/GaussianMarkovRandomFields.jl, pull request 193
        dcovariance = dy * 0.5 * np.outer(z, z)
    The log-determinant counts as constant. The gradient was wrong by 12 %, without an error or a warning.
    """
    inverse = np.linalg.inv(a @ a.T + np.eye(3))
    z = inverse @ x

    def backward(dy):
        dcovariance = dy * 0.5 * (np.outer(z, z) - inverse)
        return (dcovariance + dcovariance.T) @ a

    return 0.5 * (np.log(np.linalg.det(inverse)) - x @ z), backward


@right(np.array([0.4, 2.7, -1.1, 3.2]), counts=np.array([1.0, 4, 0, 7]), eta=2.0)
def linearized_poisson(z, *, counts, eta):
    """slope-of-the-line: glm-tools/pyglmnet, issue 181
        slope = np.where(z < eta, rate, eta)
    Beyond η the slope is exp(η), not η. The mistake has no effect while all predictions are below η.
    """
    rate = np.where(z < eta, np.exp(z), np.exp(eta) * (1 + z - eta))

    def backward(dloss):
        slope = np.where(z < eta, rate, np.exp(eta))
        return dloss * slope * (1 - counts / rate)

    return (rate - counts * np.log(rate)).sum(), backward


@right((5, 3))
def router(scores):
    """auxiliary-loss-discarded: NVIDIA-NeMo/Automodel, issue 1408
        dp = dy[:-1].reshape(p.shape)
    The gradient of a loss that balances the load of experts does not reach their scores, because the result of the
    function that adds the loss is discarded. Training continues without it.
    """
    e = np.exp(scores)
    p = e / e.sum(axis=1, keepdims=True)
    load = p.mean(axis=0)

    def backward(dy):
        dp = dy[:-1].reshape(p.shape) + 2 * dy[-1] * load / len(p)
        return p * (dp - (dp * p).sum(axis=1, keepdims=True))

    return np.append(p, (load**2).sum()), backward


@right((4, 3), labels=np.eye(3)[[0, 2, 1, 1]], temperature=1.5)
def tempered_cross_entropy(logits, *, labels, temperature):
    """temperature-of-the-loss: borgwang/tinynn, file tinynn/core/loss.py at 0fb0f94
        dz = dloss * (p - labels) / len(p)
    The logits are divided by a temperature, but the gradient is not. The default temperature is 1.
    """
    e = np.exp(logits / temperature)
    p = e / e.sum(axis=1, keepdims=True)

    def backward(dloss):
        dz = dloss * (p - labels) / len(p) / temperature
        return dz

    return -(labels * np.log(p)).sum() / len(p), backward


@right((3,), x=(5, 3), target=(5,), penalty=0.7)
def penalized_regression(w, *, x, target, penalty):
    """penalty-not-passed-on: kaleko/CourseraML, file ex5/ex5.ipynb at bb2ba97
        dw = dloss * x.T @ error
    A wrapper for the optimiser passes a penalty of 0 on instead of its own argument.
    """
    error = x @ w - target

    def backward(dloss):
        dw = dloss * (x.T @ error + penalty * w)
        return dw

    return (error @ error + penalty * w @ w) / 2, backward
