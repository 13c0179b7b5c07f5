"""Activations, losses, layers, a motion model: a derivative at the wrong point, a missing factor, a missing sum."""

import numpy as np

from gradcheck.museum.exhibit import Exhibit, Source, close, numeric_gradient


def tanh_of_dy(x, *, wrong):
    """The derivative of tanh is evaluated at the upstream gradient instead of x, and is not multiplied by it."""
    y = np.tanh(x)

    def backward(dy):
        if wrong:
            dx = 1 - np.tanh(dy) ** 2
        else:
            dx = dy * (1 - y * y)
        return dx

    return y, backward


def shape_and_range(tanh):
    """A derivative of tanh lies between 0 and 1 and has the shape of x. So does this wrong one.

    The report mentions no test; a test that compares no values would have passed.
    """
    x = np.random.default_rng(0).normal(size=(3, 4))
    dx = tanh(x)[1](np.ones((3, 4)))
    assert dx.shape == x.shape and np.all((dx > 0) & (dx <= 1))


def sigmoid_at_input(x, *, wrong):
    """σ′ = y (1 − y) holds for the output y. At the input, x (1 − x) is an unrelated parabola.

    The authors called it "bugged_sigmoid" and kept it: "Why does this work?"
    """
    y = 1 / (1 + np.exp(-x))

    def backward(dy):
        if wrong:
            dx = dy * x * (1 - x)
        else:
            dx = dy * y * (1 - y)
        return dx

    return y, backward


def it_learns_something(sigmoid):
    """It works while the inputs lie between 0 and 1, where the parabola is positive.

    A gradient of the right sign is enough to reduce a loss.
    """
    x, target = np.array([0.2, 0.5, 0.7]), np.array([0.7, 0.5, 0.6])
    losses = []
    for _ in range(20):
        y, backward = sigmoid(x)
        losses.append(((y - target) ** 2).sum())
        x = x - 0.1 * backward(2 * (y - target))
    assert losses[-1] < losses[0]


def gelu_mixed(x, *, wrong):
    """Forward is the tanh approximation of GELU. Backward takes one term from it and the other from the exact GELU.

    Each term is right for its own function, but their sum is the derivative of neither, wrong in the fourth digit. No
    simple hypothesis explains such an error, and gradcheck names none. It reports that nearly every entry is wrong, by
    thousands of times the uncertainty of the oracle.
    """
    scale = np.sqrt(2 / np.pi)
    t = np.tanh(scale * (x + 0.044715 * x**3))

    def backward(dy):
        if wrong:
            steepness = scale * np.exp(-x * x / 2)
        else:
            steepness = scale * (1 + 3 * 0.044715 * x * x) * (1 - t * t)
        return dy * 0.5 * (1 + t + x * steepness)

    return 0.5 * x * (1 + t), backward


def to_three_decimals(gelu):
    """The project's test compares the gradient to three decimals, and the mistake is in the fourth.

    The tolerance was chosen for the error of the approximation. But the derivative of the approximation itself is
    exact.
    """
    x = np.random.default_rng(0).normal(size=50)
    dx = gelu(x)[1](np.ones_like(x))
    numeric = numeric_gradient(lambda x: gelu(x)[0].sum(), x)
    np.testing.assert_almost_equal(dx, numeric, decimal=3)


def relu_of_output(x, *, wrong):
    """The derivative is computed from the output with ≥. Where the unit is off, its output is exactly 0, and 0 ≥ 0.

    So every gradient passes, as if there were no ReLU. With > it would be right.
    """
    y = np.maximum(x, 0.0)

    def backward(dy):
        if wrong:
            dx = dy * (y >= 0)
        else:
            dx = dy * (y > 0)
        return dx

    return y, backward


def on_active_units(relu):
    """A test of ReLU often uses only positive values.

    The mistake was reported because the test accuracy differed by 12 %.
    """
    x, dy = np.array([0.5, 1.0, 3.0]), np.array([1.0, -2.0, 0.5])
    close(relu(x)[1](dy), numeric_gradient(lambda x: dy @ relu(x)[0], x))


def dropout_from_ratio(x, *, keep, wrong):
    """The mask is not saved but reconstructed: it is y / x, and taken to be 1 where x is 0.

    After a ReLU many x are 0, and half of those were dropped.
    """
    y = x * keep

    def backward(dy):
        if wrong:
            dx = dy * np.where(x == 0, 1.0, y / np.where(x == 0, 1.0, x))
        else:
            dx = dy * keep
        return dx

    return y, backward


def on_inputs_that_are_never_zero(dropout):
    """Random inputs are never exactly 0."""
    rng = np.random.default_rng(0)
    x, dy, keep = rng.normal(size=4), rng.normal(size=4), np.array([1.0, 0.0, 0.0, 1.0])
    dx = dropout(x, keep=keep)[1](dy)
    close(dx, numeric_gradient(lambda x: dy @ dropout(x, keep=keep)[0], x))


def squared_error_half(prediction, *, target, wrong):
    """The loss is the mean of the squares; its gradient lacks the factor 2 of the power rule."""
    error = prediction - target

    def backward(dloss):
        if wrong:
            dprediction = dloss * error / error.size
        else:
            dprediction = dloss * 2 * error / error.size
        return dprediction

    return (error**2).mean(), backward


def same_direction(loss):
    """Half of the gradient has the direction of the gradient, and the learning rate can make up for its length.

    A comparison of the angle between gradients, or of the decrease of a loss, does not depend on the length.
    """
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=5), rng.normal(size=5)
    a = loss(prediction, target=target)[1](1.0)
    n = numeric_gradient(lambda p: loss(p, target=target)[0], prediction)
    close(a @ n / np.linalg.norm(a) / np.linalg.norm(n), 1.0)


def total_score(scores, *, wrong):
    """The backward pass of a log-sum-exp returns the probabilities and ignores dy.

    If the loss is minus the score, dy is −1, and an update with the wrong sign increases the loss.
    """
    e = np.exp(scores - scores.max())
    y = np.log(e.sum()) + scores.max()

    def backward(dy):
        if wrong:
            dscores = e / e.sum()
        else:
            dscores = dy * e / e.sum()
        return dscores

    return y, backward


def from_the_score_itself(total):
    """`score.backward()` starts with dy = 1, so a missing factor dy has no effect."""
    scores = np.random.default_rng(0).normal(size=6)
    close(total(scores)[1](1.0), numeric_gradient(lambda s: total(s)[0], scores))


def cross_entropy_ignored(logits, *, targets, wrong):
    """Ignored targets are excluded from the loss but not from its gradient."""
    counted = targets >= 0
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    rows = np.arange(len(targets))

    def backward(dloss):
        dlogits = np.exp(log_p)
        dlogits[rows, targets] -= 1
        if wrong:
            dlogits = dloss * dlogits / counted.sum()
        else:
            dlogits = dloss * dlogits * counted[:, None] / counted.sum()
        return dlogits

    return -log_p[rows, targets][counted].sum() / counted.sum(), backward


def cross_entropy_padding(logits, *, targets, wrong):
    """The mean is taken over all positions, including padding, instead of those that count.

    In the projects named, automatic differentiation followed the loss. In code written by hand, loss and gradient are
    corrected separately: here the loss is corrected, and the gradient still divides by the number of all positions.
    """
    counted = targets >= 0
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    rows = np.arange(len(targets))

    def backward(dloss):
        dlogits = np.exp(log_p) * counted[:, None]
        dlogits[rows, targets] -= counted
        if wrong:
            dlogits = dloss * dlogits / len(targets)
        else:
            dlogits = dloss * dlogits / counted.sum()
        return dlogits

    return -log_p[rows, targets][counted].sum() / counted.sum(), backward


def without_padding(cross_entropy):
    """No target of the test is ignored, so all positions count."""
    logits, targets = np.random.default_rng(0).normal(size=(4, 6)), np.array([2, 0, 5, 3])
    dlogits = cross_entropy(logits, targets=targets)[1](1.0)
    close(dlogits, numeric_gradient(lambda x: cross_entropy(x, targets=targets)[0], logits))


def bias_not_summed(x, weight, bias, *, wrong):
    """The bias is added to every row, so its gradient is a sum over the rows. Here the sum is missing.

    `bias - rate * dbias` broadcasts silently, and from then on every row has a separate bias.
    """

    def backward(dy):
        if wrong:
            dbias = dy
        else:
            dbias = dy.sum(axis=0)
        return dy @ weight.T, x.T @ dy, dbias

    return x @ weight + bias, backward


def the_loss_falls(linear):
    """The loss falls further than it should: with a separate bias for each example, each example can be memorised."""
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    weight, bias = rng.normal(size=(3, 2)), np.zeros(2)
    losses = []
    for _ in range(50):
        y, backward = linear(x, weight, bias)
        losses.append(((y - target) ** 2).mean())
        _, dweight, dbias = backward(2 * (y - target) / y.size)
        weight, bias = weight - 0.1 * dweight, bias - 0.1 * dbias
    assert losses[-1] < losses[0]


def input_gradient_twice(x, weight, *, wrong):
    """The gradient of the input is summed in one loop, and again in the next, which has already updated the weights.

    Half of the result is right; the other half is the gradient at weights that forward did not use.
    """

    def backward(dy):
        dweight = x.T @ dy
        dx = dy @ weight.T
        if wrong:
            dx += dy @ (weight - 0.01 * dweight).T
        return dx, dweight

    return x @ weight, backward


def the_weights_alone(linear):
    """The gradient of the weights is right, and so are all gradients in a network of one layer."""
    rng = np.random.default_rng(0)
    x, weight, dy = rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), rng.normal(size=(4, 2))
    _, dweight = linear(x, weight)[1](dy)
    close(dweight, numeric_gradient(lambda w: (dy * linear(x, w)[0]).sum(), weight))


def bias_past_tanh(x, weight, bias, *, wrong):
    """y = tanh(x W + b): the bias receives the gradient of y, not that of x W + b, which has the factor tanh′."""
    y = np.tanh(x @ weight + bias)

    def backward(dy):
        dz = dy * (1 - y * y)
        if wrong:
            dbias = dy.sum(axis=0)
        else:
            dbias = dz.sum(axis=0)
        return dz @ weight.T, x.T @ dz, dbias

    return y, backward


def at_small_weights(layer):
    """At initial weights of 0.01, tanh is nearly linear, and tanh′ is nearly 1.

    The error is smaller than a tolerance of 1e-3. The exercise mentions no test.
    """
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    weight, bias = 0.01 * rng.normal(size=(3, 2)), np.zeros(2)
    dbias = layer(x, weight, bias)[1](dy)[2]
    numeric = numeric_gradient(lambda b: (dy * layer(x, weight, b)[0]).sum(), bias)
    close(dbias, numeric, tolerance=1e-3)


def dish_at_input(x, weight, bias, *, wrong):
    """z = x W + b, y = z (1 + z / √(1 + z²)) / 2. The activation's derivative is evaluated at x instead of z.

    The activation calls its argument X, and the layer around it uses X for its input. The mistake goes unnoticed only
    if the layer has as many outputs as inputs; otherwise the shapes would not fit. The error has no simple form, and
    gradcheck names none; `gradcheck.steps` finds the line: x stands where z belongs.
    """
    z = x @ weight + bias

    def slope(z):
        return 0.5 + z / np.sqrt(1 + z * z) - 0.5 * z**3 / (1 + z * z) ** 1.5

    def backward(dy):
        if wrong:
            dz = dy * slope(x)
        else:
            dz = dy * slope(z)
        return dz @ weight.T, x.T @ dz, dz.sum(axis=0)

    return z * (1 + z / np.sqrt(1 + z * z)) / 2, backward


def shapes_alone(layer):
    """Every layer of the library is tested in the same way, by types and shapes.

    This test uses 4 input and 4 output features. With 4 and 3 it would have raised an exception.
    """
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(5, 4)), rng.normal(size=(4, 4)), rng.normal(size=4)
    for gradient, array in zip(layer(*inputs)[1](rng.normal(size=(5, 4))), inputs, strict=True):
        assert gradient.shape == array.shape and np.isfinite(gradient).all()


def motion_as_commented(state, *, speed, turn, dt, wrong):
    """The motion of a vehicle in a Kalman filter. The state is position, yaw, speed and the scale of the speedometer.

    The comment on the Jacobian says that the speed is constant, v′ = v, and moves the vehicle. In the code, the
    commanded speed moves the vehicle and replaces the speed in the state. The next state then does not depend on the
    speed, so its column is zero. Both derivations are right, but for two different functions. A gradient must be that
    of the code.
    """
    x, y, yaw, _, scale = state
    cos, sin, way = np.cos(yaw), np.sin(yaw), dt * speed * scale

    def backward(dy):
        jacobian = np.eye(5)
        jacobian[:2, 2] = -way * sin, way * cos
        jacobian[:2, 4] = dt * speed * cos, dt * speed * sin
        if wrong:
            jacobian[:2, 3] = dt * scale * cos, dt * scale * sin
        else:
            jacobian[3, 3] = 0.0
        return jacobian.T @ dy

    return np.array([x + way * cos, y + way * sin, yaw + dt * turn, speed, scale]), backward


def the_filter_runs(motion):
    """The tests of the collection run each program to its end, and compare nothing.

    An extended Kalman filter tolerates errors of the Jacobian: the covariance is wrong, but the measurements still
    correct the estimate.
    """
    rng = np.random.default_rng(0)
    options = {"speed": 1.0, "turn": 0.1, "dt": 0.1}
    truth, estimate, covariance = np.array([0, 0, 0, 0, 1.0]), np.ones(5), np.eye(5)
    for _ in range(50):
        truth, _ = motion(truth, **options)
        estimate, backward = motion(estimate, **options)
        jacobian = np.stack([backward(row) for row in np.eye(5)])
        covariance = jacobian @ covariance @ jacobian.T + 0.01 * np.eye(5)
        gain = covariance[:, :2] @ np.linalg.inv(covariance[:2, :2] + np.eye(2))
        estimate = estimate + gain @ (truth[:2] + rng.normal(size=2) - estimate[:2])
        covariance = covariance - gain @ covariance[:2]
    assert np.linalg.norm(estimate[:2] - truth[:2]) < 1


EXHIBITS = [
    Exhibit(
        "tanh-of-dy",
        "tanh′ at the wrong place",
        (Source("yizt/numpy_neural_network", "issue", 6),),
        tanh_of_dy,
        shape_and_range,
        lambda rng: ((rng.normal(size=(3, 4)),), {}),
    ),
    Exhibit(
        "bugged-sigmoid",
        "x (1 − x)",
        (Source("uptake/numpynet", "file", "numpynet_common.py", "22236ba"),),
        sigmoid_at_input,
        it_learns_something,
        lambda rng: ((rng.normal(size=(3, 4)),), {}),
    ),
    Exhibit(
        "gelu-mixed",
        "A GELU that is differentiated as two functions",
        (Source("ddbourgin/numpy-ml", "file", "numpy_ml/neural_nets/activations/activations.py", "0f5b1ce"),),
        gelu_mixed,
        to_three_decimals,
        lambda rng: ((rng.normal(size=(3, 4)),), {}),
    ),
    Exhibit(
        "relu-zero",
        "A ReLU's derivative at an output of 0",
        (Source("iamtrask/Grokking-Deep-Learning", "pull request", 13),),
        relu_of_output,
        on_active_units,
        lambda rng: ((rng.normal(size=(3, 4)),), {}),
    ),
    Exhibit(
        "dropout-ratio",
        "A dropout that guesses its mask",
        (Source("kaldi-asr/kaldi", "issue", 3890),),
        dropout_from_ratio,
        on_inputs_that_are_never_zero,
        lambda rng: ((np.array([0.0, 1.3, 0.0, -0.4]),), {"keep": np.array([0.0, 2.0, 2.0, 0.0])}),
    ),
    Exhibit(
        "squared-error",
        "Half of a squared error's gradient",
        (Source("Open-Deep-ML/DML-OpenProblem", "issue", 54),),
        squared_error_half,
        same_direction,
        lambda rng: ((rng.normal(size=5),), {"target": rng.normal(size=5)}),
    ),
    Exhibit(
        "dy-ignored",
        "A score that ignores the gradient it is given",
        (Source("k2-fsa/k2", "issue", 341),),
        total_score,
        from_the_score_itself,
        lambda rng: ((rng.normal(size=6),), {}),
    ),
    Exhibit(
        "cross-entropy-ignored",
        "Ignored targets that have a gradient",
        (Source("PaddlePaddle/Paddle", "pull request", 28622),),
        cross_entropy_ignored,
        without_padding,
        lambda rng: ((rng.normal(size=(5, 6)),), {"targets": np.array([2, -1, 0, 5, -1])}),
    ),
    Exhibit(
        "cross-entropy-padding",
        "A mean over padding",
        (Source("tracel-ai/burn", "issue", 5568), Source("eladhoffer/utils.pytorch", "issue", 4)),
        cross_entropy_padding,
        without_padding,
        lambda rng: ((rng.normal(size=(5, 6)),), {"targets": np.array([2, -1, 0, 5, -1])}),
    ),
    Exhibit(
        "bias-broadcast",
        "A bias for each row",
        (Source("jimfleming/differentiation", "issue", 1), Source("deeplearning4j/nd4j", "issue", 2424)),
        bias_not_summed,
        the_loss_falls,
        lambda rng: ((rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), rng.normal(size=2)), {}),
    ),
    Exhibit(
        "input-twice",
        "An input gradient summed twice",
        (Source("itskonrad/miniMNIST-c", "issue", 7),),
        input_gradient_twice,
        the_weights_alone,
        lambda rng: ((rng.normal(size=(4, 3)), rng.normal(size=(3, 2))), {}),
    ),
    Exhibit(
        "bias-past-tanh",
        "A bias that bypasses its activation",
        (Source("arthurdouillard/deepcourse", "issue", 6), Source("arthurdouillard/deepcourse", "pull request", 9)),
        bias_past_tanh,
        at_small_weights,
        lambda rng: ((rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), rng.normal(size=2)), {}),
    ),
    Exhibit(
        "dish-at-input",
        "An activation's derivative at the input of its layer",
        (Source("explosion/thinc", "file", "thinc/layers/dish.py", "95f894f"),),
        dish_at_input,
        shapes_alone,
        lambda rng: ((rng.normal(size=(5, 4)), rng.normal(size=(4, 4)), rng.normal(size=4)), {}),
    ),
    Exhibit(
        "motion-commented",
        "The Jacobian of a comment",
        (
            Source(
                "AtsushiSakai/PythonRobotics",
                "file",
                "Localization/extended_kalman_filter/ekf_with_velocity_correction.py",
                "cfe1e30",
            ),
        ),
        motion_as_commented,
        the_filter_runs,
        lambda rng: ((rng.normal(size=5),), {"speed": 1.3, "turn": 0.4, "dt": 0.5}),
    ),
]
