"""Softmax and its logarithm: every output depends on every input."""

import numpy as np

from gradcheck.museum.exhibit import at, check_numerically, close, missed, numeric_gradient, right


def the_loss_and_the_layer_together(softmax):
    x, t = np.random.default_rng(0).normal(size=5), np.eye(5)[2]
    p, backward = softmax(x)
    close(backward(p - t), numeric_gradient(lambda x: -np.log(softmax(x)[0] @ t), x))


def each_output_by_its_own_input(softmax):
    x = np.random.default_rng(0).normal(size=5)
    for i in range(5):
        numeric = numeric_gradient(lambda x, i=i: softmax(x)[0][i], x)
        close(softmax(x)[1](np.eye(5)[i])[i], numeric[i])


@right((3, 4))
@missed("softmax-identity", the_loss_and_the_layer_together)
@missed("softmax-diagonal", each_output_by_its_own_input)
@missed("softmax-in-place", check_numerically, (3, 4))
def softmax(x):
    """softmax-identity: explosion/thinc, issue 901; pjreddie/darknet, pull request 96
        return dy.copy()
    A softmax whose backward pass is the identity. The layer passes the gradient through unchanged, as if softmax were
    the identity. This is meant for a single loss, whose gradient is given with respect to the logits. With any other
    next layer, for example in attention, the result is not a gradient.
    Missed: Layer and loss are checked as a pair, in which two mistakes cancel. The loss returns p − t as the gradient
    with respect to the probabilities, although p − t is the gradient with respect to the logits. A correct softmax
    fails this test.

    softmax-diagonal: deeplearning4j/libnd4j, issue 440
        return dy * y * (1 - y)
    A softmax differentiated entry by entry. The backward pass uses only the diagonal of the Jacobian, y (1 − y), as if
    softmax were elementwise. Each output depends on every input, because each exponential is divided by the sum of all.
    Missed: The report mentions no test. This one is an obvious choice: ∂y_i / ∂x_i for each i. It tests only the
    diagonal of the Jacobian, which is right.

    softmax-in-place: NVIDIA/apex, issue 1430; NVIDIA/apex, issue 1587
        dx = dy
        dx -= (dy * y).sum(axis=-1, keepdims=True)
        dx *= y
        return dx
    A softmax that overwrites the gradient it was given. The gradient is written into dy, to save an allocation. dy
    belongs to the caller. In a residual block the same array is also the gradient of the other branch.
    Missed: The returned gradient is right. The test does not compare dy with its value before the call.

    softmax-without-sum: HomericIntelligence/Odyssey, issue 2134
        return y * dy
    The sum of dy · y over the row is not subtracted, as the report suspects. The mistake has no effect if dy is
    orthogonal to y.
    """
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))

    return y, backward


@right((3, 4))
@missed("log-softmax", check_numerically, (5,), dy=-np.eye(5)[2])
def log_softmax(x):
    """log-softmax: mlpack/mlpack, issue 2360; mlpack/mlpack, issue 3468
        return np.exp(y) + dy
    A log-softmax that is right for one loss. The backward pass adds the softmax to dy, instead of subtracting Σ dy
    times the softmax. With y = x − log Σ exp(x), every input also reaches each output through the logarithm, with
    weight −softmax(x).
    Missed: The dy of a negative log-likelihood is always −1 at the target and 0 elsewhere. Its sum is −1, the only
    value for which the two formulas agree. Networks train, and their tests pass.
    """
    shifted = x - x.max(axis=-1, keepdims=True)
    y = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

    def backward(dy):
        return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)

    return y, backward


@right((6,))
@at("log-sum-exp", 800 + np.array([[0.3, -1.2, 0.8, 0.1], [1.5, -0.4, 0.2, -2.1]]))
@missed("log-sum-exp", check_numerically, (3, 4))
@missed("dy-ignored", check_numerically, (6,), dy=1.0)
def log_sum_exp(x):
    """log-sum-exp: FluxML/NNlib.jl, issue 68
        e = np.exp(x)
    A log-sum-exp without the shift, in the backward pass only. The forward pass subtracts the maximum before taking
    exponentials. The backward pass does not. exp(800) overflows, and ∞ / ∞ is NaN.
    Missed: The inputs of the test are standard normal. No exponential of such a number is large.

    dy-ignored: k2-fsa/k2, issue 341
        return e / e.sum(axis=-1, keepdims=True)
    A score that ignores the gradient it is given. The backward pass of a log-sum-exp returns the probabilities and
    ignores dy. If the loss is minus the score, dy is −1, and an update with the wrong sign increases the loss.
    Missed: `score.backward()` starts with dy = 1, so a missing factor dy has no effect.
    """
    top = x.max(axis=-1, keepdims=True)
    y = np.log(np.exp(x - top).sum(axis=-1)) + top[..., 0]

    def backward(dy):
        e = np.exp(x - top)
        return np.asarray(dy)[..., None] * e / e.sum(axis=-1, keepdims=True)

    return y, backward


@right((5,), label=2)
def softmax_error(x, *, label):
    """hessian-zero: tensorflow/tensorflow, issue 5876
        return np.zeros_like(x)
    The gradient of a fused loss counts as constant, so the Hessian is zero. The gradient itself is right.
    """
    e = np.exp(x - x.max())
    p = e / e.sum()

    def backward(v):
        return p * (v - p @ v)

    return p - np.eye(5)[label], backward
