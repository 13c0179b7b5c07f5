"""Softmax and its logarithm: the Jacobian is not diagonal, and the sum of a row of outputs is constant."""

import numpy as np

from gradcheck.museum.exhibit import check_numerically, close, exhibit, numeric_gradient


@exhibit("explosion/thinc, issue 901; pjreddie/darknet, pull request 96", (3, 4))
def softmax_identity(x):
    """A softmax whose backward pass is the identity.

    The layer passes the gradient through unchanged, as if softmax were the identity. This is meant for a single loss,
    whose gradient is given with respect to the logits. With any other next layer, for example in attention, the result
    is not a gradient.
    """
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))  # wrong: return dy.copy()

    return y, backward


@softmax_identity.missed_by
def the_loss_and_the_layer_together(softmax):
    """Layer and loss are checked as a pair, in which two mistakes cancel.

    The loss returns p − t as the gradient with respect to the probabilities, although p − t is the gradient with
    respect to the logits. A correct softmax fails this test.
    """
    x, t = np.random.default_rng(0).normal(size=5), np.eye(5)[2]
    p, backward = softmax(x)
    close(backward(p - t), numeric_gradient(lambda x: -np.log(softmax(x)[0] @ t), x))


@exhibit("deeplearning4j/libnd4j, issue 440", (3, 4))
def softmax_diagonal(x):
    """A softmax differentiated entry by entry.

    Backward uses only the diagonal of the Jacobian, y (1 − y), as if softmax were elementwise. Each output depends on
    every input, because each exponential is divided by the sum of all.
    """
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))  # wrong: return dy * y * (1 - y)

    return y, backward


@softmax_diagonal.missed_by
def each_output_by_its_own_input(softmax):
    """The report mentions no test. This one is an obvious choice: ∂y_i / ∂x_i for each i.

    It tests only the diagonal of the Jacobian, which is right.
    """
    x = np.random.default_rng(0).normal(size=5)
    for i in range(5):
        numeric = numeric_gradient(lambda x, i=i: softmax(x)[0][i], x)
        close(softmax(x)[1](np.eye(5)[i])[i], numeric[i])


@exhibit("mlpack/mlpack, issue 2360; mlpack/mlpack, issue 3468", (3, 4))
def log_softmax(x):
    """A log-softmax that is right for one loss.

    The backward pass adds the softmax to dy, instead of subtracting Σ dy times the softmax. With y = x − log Σ exp(x),
    every input also reaches each output through the logarithm, with weight −softmax(x).
    """
    shifted = x - x.max(axis=-1, keepdims=True)
    y = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

    def backward(dy):
        return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)  # wrong: return np.exp(y) + dy

    return y, backward


@log_softmax.missed_by
def under_the_negative_log_likelihood(log_softmax):
    """The dy of a negative log-likelihood is always −1 at the target and 0 elsewhere.

    Its sum is −1, the only value for which the two formulas agree. Networks train, and their tests pass.
    """
    check_numerically(log_softmax, (5,), dy=-np.eye(5)[2])


@exhibit("NVIDIA/apex, issue 1430; NVIDIA/apex, issue 1587", (3, 4))
def softmax_in_place(x):
    """A softmax that overwrites the gradient it was given.

    The gradient is written into dy, to save an allocation. dy belongs to the caller. In a residual block the same array
    is also the gradient of the other branch.
    """
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        dx = dy.copy()  # wrong: dx = dy
        dx -= (dy * y).sum(axis=-1, keepdims=True)
        dx *= y
        return dx

    return y, backward


@softmax_in_place.missed_by
def what_is_returned(softmax):
    """The returned gradient is right. The test does not compare dy with its value before the call."""
    check_numerically(softmax, (3, 4))


@exhibit("FluxML/NNlib.jl, issue 68", 800 + np.array([[0.3, -1.2, 0.8, 0.1], [1.5, -0.4, 0.2, -2.1]]))
def log_sum_exp(x):
    """A log-sum-exp without the shift, in the backward pass only.

    Forward subtracts the maximum before taking exponentials. Backward does not. exp(800) overflows, and ∞ / ∞ is NaN.
    """
    top = x.max(axis=-1, keepdims=True)
    y = np.log(np.exp(x - top).sum(axis=-1)) + top[..., 0]

    def backward(dy):
        with np.errstate(over="ignore", invalid="ignore"):
            e = np.exp(x - top)  # wrong: e = np.exp(x)
            return dy[..., None] * e / e.sum(axis=-1, keepdims=True)

    return y, backward


@log_sum_exp.missed_by
def at_logits_of_order_one(log_sum_exp):
    """The inputs of the test are standard normal. No exponential of such a number is large."""
    check_numerically(log_sum_exp, (3, 4))


softmax_identity.wrong(
    "softmax-without-sum",
    "HomericIntelligence/Odyssey, issue 2134",
    "return y * dy",
    "The sum of dy · y over the row is not subtracted, as the report suspects. Hidden if dy is orthogonal to y.",
)
