"""Activations, losses, layers, a motion: a derivative at the wrong place, a forgotten factor, a sum not taken."""

import numpy as np

from gradcheck.museum.exhibit import Exhibit, Source, close, numeric_gradient


def tanh_of_dy(x, *, wrong):
    """The derivative of tanh is evaluated at the gradient that arrives, not at x, and never multiplied by it."""
    y = np.tanh(x)

    def backward(dy):
        if wrong:
            dx = 1 - np.tanh(dy) ** 2
        else:
            dx = dy * (1 - y * y)
        return dx

    return y, backward


def shape_and_range(tanh):
    """A derivative of tanh lies between 0 and 1 and has the shape of x. So does this one.

    The report mentions no test; one that asserts no value would have passed.
    """
    x = np.random.default_rng(0).normal(size=(3, 4))
    dx = tanh(x)[1](np.ones((3, 4)))
    assert dx.shape == x.shape and np.all((dx > 0) & (dx <= 1))


def sigmoid_at_input(x, *, wrong):
    """σ′ = y (1 − y) holds for the output y. At the input, x (1 − x) is some parabola.

    Its authors called it "bugged_sigmoid" and kept it: "Why does this work?"
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
    """It works, as they say, while the numbers that arrive lie between 0 and 1: the parabola is positive there.

    A gradient of the right sign is enough to make a loss fall.
    """
    x, target = np.array([0.2, 0.5, 0.7]), np.array([0.7, 0.5, 0.6])
    losses = []
    for _ in range(20):
        y, backward = sigmoid(x)
        losses.append(((y - target) ** 2).sum())
        x = x - 0.1 * backward(2 * (y - target))
    assert losses[-1] < losses[0]


def gelu_mixed(x, *, wrong):
    """Forward is the tanh approximation of a GELU. Backward takes one term from it and the other from the exact GELU.

    Each term is right where it comes from. Their sum is the derivative of neither, wrong in the fourth digit. No simple
    hypothesis fits such an error, and gradcheck names none: it shows that nearly every entry is off, by thousands of
    times what the oracle may be.
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
    """The gradient of the project's test is compared to three decimals, and the mistake is in the fourth.

    The tolerance was chosen for the approximation, which is no better than that. But its own derivative is exact.
    """
    x = np.random.default_rng(0).normal(size=50)
    dx = gelu(x)[1](np.ones_like(x))
    numeric = numeric_gradient(lambda x: gelu(x)[0].sum(), x)
    np.testing.assert_almost_equal(dx, numeric, decimal=3)


def relu_of_output(x, *, wrong):
    """The derivative is taken from the output, with ≥. Where the unit is off, its output is exactly 0, and 0 ≥ 0.

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
    """The values that come to mind when one tests a ReLU are positive.

    The report noticed it by a test accuracy that differed by 12 %.
    """
    x, dy = np.array([0.5, 1.0, 3.0]), np.array([1.0, -2.0, 0.5])
    close(relu(x)[1](dy), numeric_gradient(lambda x: dy @ relu(x)[0], x))


def dropout_from_ratio(x, *, keep, wrong):
    """The mask is not saved but guessed: it is y / x, and where x is 0, taken to be 1.

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
    """A random number is never exactly 0."""
    rng = np.random.default_rng(0)
    x, dy, keep = rng.normal(size=4), rng.normal(size=4), np.array([1.0, 0.0, 0.0, 1.0])
    dx = dropout(x, keep=keep)[1](dy)
    close(dx, numeric_gradient(lambda x: dy @ dropout(x, keep=keep)[0], x))


def squared_error_half(prediction, *, target, wrong):
    """The loss is the mean of the squares; its gradient lacks the 2 of the power rule."""
    error = prediction - target

    def backward(dloss):
        if wrong:
            dprediction = dloss * error / error.size
        else:
            dprediction = dloss * 2 * error / error.size
        return dprediction

    return (error**2).mean(), backward


def same_direction(loss):
    """Half of the gradient points where the gradient points. A learning rate makes up for the rest.

    Gradients that are compared by the angle between them, or by how a loss falls, may have any length.
    """
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=5), rng.normal(size=5)
    a = loss(prediction, target=target)[1](1.0)
    n = numeric_gradient(lambda p: loss(p, target=target)[0], prediction)
    close(a @ n / np.linalg.norm(a) / np.linalg.norm(n), 1.0)


def total_score(scores, *, wrong):
    """The backward pass of a log-sum-exp returns the probabilities, and does not look at dy.

    Those who minimized minus the score went uphill.
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
    """`score.backward()` starts with dy = 1, and to forget a factor of 1 is no mistake."""
    scores = np.random.default_rng(0).normal(size=6)
    close(total(scores)[1](1.0), numeric_gradient(lambda s: total(s)[0], scores))


def cross_entropy_ignored(logits, *, targets, wrong):
    """Ignored targets are left out of the loss but not out of its gradient."""
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
    """The mean is taken over all positions, padding included, where it should be over those that count.

    In the projects named, an automatic gradient followed the loss. Written by hand, one of the two is repaired first:
    here the loss is, and the gradient still divides by everything.
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
    """The bias is added to every row, so its gradient is a sum over the rows. Here the rows are returned.

    `bias - rate * dbias` broadcasts without a word, and from then on there is a bias for each row.
    """

    def backward(dy):
        if wrong:
            dbias = dy
        else:
            dbias = dy.sum(axis=0)
        return dy @ weight.T, x.T @ dy, dbias

    return x @ weight + bias, backward


def the_loss_falls(linear):
    """It falls, and further than it should: with a bias for each example, each example can be learnt by heart."""
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

    Half of what goes down is right; the other half is the gradient of a network that did not exist in this step.
    """

    def backward(dy):
        dweight = x.T @ dy
        dx = dy @ weight.T
        if wrong:
            dx += dy @ (weight - 0.01 * dweight).T
        return dx, dweight

    return x @ weight, backward


def the_weights_alone(linear):
    """The gradient of the weights is right, and so is everything in a network of one layer."""
    rng = np.random.default_rng(0)
    x, weight, dy = rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), rng.normal(size=(4, 2))
    _, dweight = linear(x, weight)[1](dy)
    close(dweight, numeric_gradient(lambda w: (dy * linear(x, w)[0]).sum(), weight))


def bias_past_tanh(x, weight, bias, *, wrong):
    """y = tanh(x W + b): the bias receives the gradient of y, not that of x W + b, which tanh′ makes smaller."""
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
    """At weights of 0.01, as a layer starts with, tanh is a straight line and tanh′ is 1.

    The correction is smaller than a tolerance of 1e-3. The exercise mentions no test.
    """
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    weight, bias = 0.01 * rng.normal(size=(3, 2)), np.zeros(2)
    dbias = layer(x, weight, bias)[1](dy)[2]
    numeric = numeric_gradient(lambda b: (dy * layer(x, weight, b)[0]).sum(), bias)
    close(dbias, numeric, tolerance=1e-3)


def dish_at_input(x, weight, bias, *, wrong):
    """z = x W + b, y = z (1 + z / √(1 + z²)) / 2. The activation's derivative is taken at x, the input of the layer.

    Within the activation its argument is called X, and in the layer around it X is something else. As many features go
    in as come out; otherwise the shapes would not fit, and everybody would know. The error has no simple shape, and
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
    """Every layer of the library is put through one test, which looks at types and shapes.

    This one is made with 4 features in and 4 out. With 4 and 3 the test would have raised an exception.
    """
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(5, 4)), rng.normal(size=(4, 4)), rng.normal(size=4)
    for gradient, array in zip(layer(*inputs)[1](rng.normal(size=(5, 4))), inputs, strict=True):
        assert gradient.shape == array.shape and np.isfinite(gradient).all()


def motion_as_commented(state, *, speed, turn, dt, wrong):
    """A vehicle's step, for a Kalman filter. The state is a position, a yaw, the speed and the speedometer's scale.

    The comment over the Jacobian says that the speed stays, v′ = v, and moves the vehicle. In the code the commanded
    speed moves it, and takes the place of the one in the state, on which nothing then depends: its column is zero. Both
    derivations are right, of two different functions. A gradient is that of the code.
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

    An extended Kalman filter forgives a Jacobian much: the covariance is wrong, the estimate is still drawn to what is
    measured.
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
