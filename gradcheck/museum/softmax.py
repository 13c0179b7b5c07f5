"""Softmax and its logarithm: the Jacobian is not diagonal, and the sum of a row of outputs is constant."""

import numpy as np

from gradcheck.museum.exhibit import Exhibit, Source, close, numeric_gradient


def softmax_identity(x, *, wrong):
    """The layer passes the gradient through unchanged, as if softmax were the identity.

    This is meant for a single loss, whose gradient is given with respect to the logits. With any other next layer, for
    example in attention, the result is not a gradient.
    """
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        if wrong:
            dx = dy.copy()
        else:
            dx = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
        return dx

    return y, backward


def the_loss_and_the_layer_together(softmax):
    """Layer and loss are checked as a pair, in which two mistakes cancel.

    The loss returns p − t as the gradient with respect to the probabilities, but it is that with respect to the logits.
    A right softmax fails this test.
    """
    x, t = np.random.default_rng(0).normal(size=5), np.eye(5)[2]
    p, backward = softmax(x)
    dx = backward(p - t)
    close(dx, numeric_gradient(lambda x: -np.log(softmax(x)[0] @ t), x))


def softmax_diagonal(x, *, wrong):
    """Backward uses only the diagonal of the Jacobian, y (1 − y), as if softmax were elementwise.

    Each output depends on every input, because it is divided by their sum.
    """
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        if wrong:
            dx = dy * y * (1 - y)
        else:
            dx = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
        return dx

    return y, backward


def each_output_by_its_own_input(softmax):
    """The report mentions no test. This one is an obvious choice: output i against input i.

    It tests only the diagonal of the Jacobian, which is right.
    """
    x = np.random.default_rng(0).normal(size=5)
    _, backward = softmax(x)
    for i in range(5):
        dy = np.eye(5)[i]
        numeric = numeric_gradient(lambda x, i=i: softmax(x)[0][i], x)
        close(backward(dy)[i], numeric[i])


def log_softmax_plus(x, *, wrong):
    """The backward pass adds the softmax to dy, instead of subtracting Σ dy times the softmax.

    With y = x − log Σ exp(x), every input also reaches each output through the logarithm, with weight −softmax(x).
    """
    shifted = x - x.max(axis=-1, keepdims=True)
    y = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

    def backward(dy):
        if wrong:
            dx = np.exp(y) + dy
        else:
            dx = dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)
        return dx

    return y, backward


def under_the_negative_log_likelihood(log_softmax):
    """The dy of a negative log-likelihood is always −1 at the target and 0 elsewhere.

    Its sum is −1, the only value for which the two formulas agree. Networks train, and their tests pass.
    """
    x, target = np.random.default_rng(0).normal(size=5), 2
    _, backward = log_softmax(x)
    dy = np.zeros(5)
    dy[target] = -1
    close(backward(dy), numeric_gradient(lambda x: -log_softmax(x)[0][target], x))


def softmax_in_place(x, *, wrong):
    """The gradient is written into dy, to save an allocation.

    dy belongs to the caller. In a residual block the same array is also the gradient of the other branch.
    """
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        if wrong:
            dx = dy
        else:
            dx = dy.copy()
        dx -= (dy * y).sum(axis=-1, keepdims=True)
        dx *= y
        return dx

    return y, backward


def what_is_returned(softmax):
    """The returned gradient is right. The test does not compare dy with its value before the call."""
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    numeric = numeric_gradient(lambda x: (dy * softmax(x)[0]).sum(), x)
    close(softmax(x)[1](dy.copy()), numeric)


def log_sum_exp_unshifted(x, *, wrong):
    """Forward subtracts the maximum before taking exponentials. Backward does not.

    exp(800) overflows, and ∞ / ∞ is NaN.
    """
    top = x.max(axis=-1, keepdims=True)
    y = np.log(np.exp(x - top).sum(axis=-1)) + top[..., 0]

    def backward(dy):
        with np.errstate(over="ignore", invalid="ignore"):
            if wrong:
                e = np.exp(x)
            else:
                e = np.exp(x - top)
            return dy[..., None] * e / e.sum(axis=-1, keepdims=True)

    return y, backward


def at_logits_of_order_one(log_sum_exp):
    """The inputs of the test are standard normal. No exponential of such a number is large."""
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(3, 4)), rng.normal(size=3)
    close(log_sum_exp(x)[1](dy), numeric_gradient(lambda x: dy @ log_sum_exp(x)[0], x))


def rows(rng):
    """Return x (3, 4)."""
    return (rng.normal(size=(3, 4)),), {}


EXHIBITS = [
    Exhibit(
        "softmax-identity",
        "A softmax whose backward pass is the identity",
        (Source("explosion/thinc", "issue", 901), Source("pjreddie/darknet", "pull request", 96)),
        softmax_identity,
        the_loss_and_the_layer_together,
        rows,
    ),
    Exhibit(
        "softmax-diagonal",
        "A softmax differentiated entry by entry",
        (Source("deeplearning4j/libnd4j", "issue", 440),),
        softmax_diagonal,
        each_output_by_its_own_input,
        rows,
    ),
    Exhibit(
        "log-softmax",
        "A log-softmax that is right for one loss",
        (Source("mlpack/mlpack", "issue", 2360), Source("mlpack/mlpack", "issue", 3468)),
        log_softmax_plus,
        under_the_negative_log_likelihood,
        rows,
    ),
    Exhibit(
        "softmax-in-place",
        "A softmax that overwrites the gradient it was given",
        (Source("NVIDIA/apex", "issue", 1430), Source("NVIDIA/apex", "issue", 1587)),
        softmax_in_place,
        what_is_returned,
        rows,
    ),
    Exhibit(
        "log-sum-exp",
        "A log-sum-exp without the shift, in the backward pass only",
        (Source("FluxML/NNlib.jl", "issue", 68),),
        log_sum_exp_unshifted,
        at_logits_of_order_one,
        lambda rng: ((rng.normal(size=(3, 4)) + 800.0,), {}),
    ),
]
