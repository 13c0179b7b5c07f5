"""Activations, losses, layers, a motion model: a derivative at the wrong point, a missing factor, a missing sum."""

import numpy as np

from gradcheck.museum.exhibit import check_numerically, close, descend, exhibit, numeric_gradient


@exhibit("yizt/numpy_neural_network, issue 6", (3, 4))
def tanh_of_dy(x):
    """tanh′ at the wrong place.

    The derivative of tanh is evaluated at the upstream gradient instead of x, and is not multiplied by it.
    """
    y = np.tanh(x)

    def backward(dy):
        return dy * (1 - y * y)  # wrong: return 1 - np.tanh(dy) ** 2

    return y, backward


@tanh_of_dy.missed_by
def shape_and_range(tanh):
    """A derivative of tanh lies between 0 and 1 and has the shape of x. So does this wrong one.

    The report mentions no test; a test that compares no values would have passed.
    """
    x = np.random.default_rng(0).normal(size=(3, 4))
    dx = tanh(x)[1](np.ones((3, 4)))
    assert dx.shape == x.shape and np.all((dx > 0) & (dx <= 1))


@exhibit("uptake/numpynet, file numpynet_common.py at 22236ba", (3, 4))
def bugged_sigmoid(x):
    """x (1 − x).

    σ′ = y (1 − y) holds for the output y. At the input, x (1 − x) is an unrelated parabola. The authors called it
    "bugged_sigmoid" and kept it: "Why does this work?"
    """
    y = 1 / (1 + np.exp(-x))

    def backward(dy):
        return dy * y * (1 - y)  # wrong: return dy * x * (1 - x)

    return y, backward


@bugged_sigmoid.missed_by
def it_learns_something(sigmoid):
    """It works while the inputs lie between 0 and 1, where the parabola is positive.

    A gradient of the right sign is enough to reduce a loss.
    """
    target = np.array([0.7, 0.5, 0.6])

    def step(x):
        y, backward = sigmoid(x)
        return ((y - target) ** 2).sum(), backward(2 * (y - target))

    descend(step, np.array([0.2, 0.5, 0.7]), rate=0.1)


@exhibit("ddbourgin/numpy-ml, file numpy_ml/neural_nets/activations/activations.py at 0f5b1ce", (3, 4))
def gelu_mixed(x):
    """A GELU that is differentiated as two functions.

    Forward is the tanh approximation of GELU. Backward takes one term from it and the other from the exact GELU. Each
    term is right for its own function, but their sum is the derivative of neither, wrong in the fourth digit. No simple
    hypothesis explains such an error, and gradcheck names none. It reports that nearly every entry is wrong, by
    thousands of times the uncertainty of the oracle.
    """
    scale = np.sqrt(2 / np.pi)
    t = np.tanh(scale * (x + 0.044715 * x**3))

    def backward(dy):
        steepness = scale * (1 + 3 * 0.044715 * x * x) * (1 - t * t)  # wrong: steepness = scale * np.exp(-x * x / 2)
        return dy * 0.5 * (1 + t + x * steepness)

    return 0.5 * x * (1 + t), backward


@gelu_mixed.missed_by
def to_three_decimals(gelu):
    """The project's test compares the gradient to three decimals, and the mistake is in the fourth.

    The tolerance was chosen for the error of the approximation. But the derivative of the approximation itself is
    exact.
    """
    check_numerically(gelu, (50,), dy=np.ones(50), tolerance=1.5e-3)


@exhibit("iamtrask/Grokking-Deep-Learning, pull request 13", (3, 4))
def relu_zero(x):
    """A ReLU's derivative at an output of 0.

    The derivative is computed from the output with ≥. Where the unit is off, its output is exactly 0, and 0 ≥ 0. So
    every gradient passes, as if there were no ReLU. With > it would be right.
    """
    y = np.maximum(x, 0.0)

    def backward(dy):
        return dy * (y > 0)  # wrong: return dy * (y >= 0)

    return y, backward


@relu_zero.missed_by
def on_active_units(relu):
    """A test of ReLU often uses only positive values.

    The mistake was reported because the test accuracy differed by 12 %.
    """
    check_numerically(relu, np.array([0.5, 1.0, 3.0]))


@exhibit("kaldi-asr/kaldi, issue 3890", np.array([0.0, 1.3, 0.0, -0.4]), keep=np.array([0.0, 2.0, 2.0, 0.0]))
def dropout_ratio(x, *, keep):
    """A dropout that reconstructs its mask.

    The mask is not saved. Backward computes it as y / x, and takes it to be 1 where x is 0. After a ReLU many x are 0,
    and half of those were dropped.
    """
    y = x * keep

    def backward(dy):
        return dy * keep  # wrong: return dy * np.where(x == 0, 1.0, y / np.where(x == 0, 1.0, x))

    return y, backward


@dropout_ratio.missed_by
def on_inputs_that_are_never_zero(dropout):
    """Random inputs are never exactly 0."""
    check_numerically(dropout, (4,), keep=np.array([1.0, 0.0, 0.0, 1.0]))


@exhibit("Open-Deep-ML/DML-OpenProblem, issue 54", (5,), target=(5,))
def squared_error(prediction, *, target):
    """Half of a squared error's gradient.

    The loss is the mean of the squares; its gradient lacks the factor 2 of the power rule.
    """
    error = prediction - target

    def backward(dloss):
        return dloss * 2 * error / error.size  # wrong: return dloss * error / error.size

    return (error**2).mean(), backward


@squared_error.missed_by
def same_direction(loss):
    """Half of the gradient has the direction of the gradient, and the learning rate can make up for its length.

    A comparison of the angle between gradients, or of the decrease of a loss, does not depend on the length.
    """
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=5), rng.normal(size=5)
    a = loss(prediction, target=target)[1](1.0)
    n = numeric_gradient(lambda p: loss(p, target=target)[0], prediction)
    close(a @ n / np.linalg.norm(a) / np.linalg.norm(n), 1.0)


@exhibit("k2-fsa/k2, issue 341", (6,))
def dy_ignored(scores):
    """A score that ignores the gradient it is given.

    The backward pass of a log-sum-exp returns the probabilities and ignores dy. If the loss is minus the score, dy is
    −1, and an update with the wrong sign increases the loss.
    """
    e = np.exp(scores - scores.max())
    y = np.log(e.sum()) + scores.max()

    def backward(dy):
        return dy * e / e.sum()  # wrong: return e / e.sum()

    return y, backward


@dy_ignored.missed_by
def from_the_score_itself(total):
    """`score.backward()` starts with dy = 1, so a missing factor dy has no effect."""
    check_numerically(total, (6,), dy=1.0)


@exhibit("PaddlePaddle/Paddle, pull request 28622", (5, 6), targets=np.array([2, -1, 0, 5, -1]))
def cross_entropy_ignored(logits, *, targets):
    """Ignored targets that have a gradient.

    Ignored targets are excluded from the loss but not from its gradient.
    """
    counted = targets >= 0
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    rows = np.arange(len(targets))

    def backward(dloss):
        dlogits = np.exp(log_p)
        dlogits[rows, targets] -= 1
        return dloss * dlogits * counted[:, None] / counted.sum()  # wrong: return dloss * dlogits / counted.sum()

    return -log_p[rows, targets][counted].sum() / counted.sum(), backward


@exhibit("tracel-ai/burn, issue 5568; eladhoffer/utils.pytorch, issue 4", (5, 6), targets=np.array([2, -1, 0, 5, -1]))
def cross_entropy_padding(logits, *, targets):
    """A mean over padding.

    The mean is taken over all positions, including padding, instead of those that count. In the projects named,
    automatic differentiation followed the loss. In code written by hand, loss and gradient are corrected separately:
    here the loss is corrected, and the gradient still divides by the number of all positions.
    """
    counted = targets >= 0
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    rows = np.arange(len(targets))

    def backward(dloss):
        dlogits = np.exp(log_p) * counted[:, None]
        dlogits[rows, targets] -= counted
        return dloss * dlogits / counted.sum()  # wrong: return dloss * dlogits / len(targets)

    return -log_p[rows, targets][counted].sum() / counted.sum(), backward


@cross_entropy_ignored.missed_by
@cross_entropy_padding.missed_by
def without_padding(cross_entropy):
    """No target of the test is ignored, so all positions count."""
    check_numerically(cross_entropy, (4, 6), targets=np.array([2, 0, 5, 3]))


@exhibit("jimfleming/differentiation, issue 1; deeplearning4j/nd4j, issue 2424", (4, 3), (3, 2), (2,))
def bias_broadcast(x, weight, bias):
    """A bias for each row.

    The bias is added to every row, so its gradient is a sum over the rows. Here the sum is missing. `bias - rate *
    dbias` broadcasts silently, and from then on every row has a separate bias.
    """

    def backward(dy):
        dbias = dy.sum(axis=0)  # wrong: dbias = dy
        return dy @ weight.T, x.T @ dy, dbias

    return x @ weight + bias, backward


@bias_broadcast.missed_by
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


@exhibit("itskonrad/miniMNIST-c, issue 7", (4, 3), (3, 2))
def input_twice(x, weight):
    """An input gradient summed twice.

    The gradient of the input is summed in one loop, and again in the next, which has already updated the weights. Half
    of the result is right; the other half is the gradient at weights that forward did not use.
    """

    def backward(dy):
        dweight = x.T @ dy
        dx = dy @ weight.T
        # wrong: dx += dy @ (weight - 0.01 * dweight).T
        return dx, dweight

    return x @ weight, backward


@input_twice.missed_by
def the_weights_alone(linear):
    """The gradient of the weights is right, and so are all gradients in a network of one layer."""
    check_numerically(linear, (4, 3), (3, 2), only=1)


@exhibit("arthurdouillard/deepcourse, issue 6; arthurdouillard/deepcourse, pull request 9", (4, 3), (3, 2), (2,))
def bias_past_tanh(x, weight, bias):
    """A bias that bypasses its activation.

    y = tanh(x W + b): the bias receives the gradient of y, not that of x W + b, which has the factor tanh′.
    """
    y = np.tanh(x @ weight + bias)

    def backward(dy):
        dz = dy * (1 - y * y)
        dbias = dz.sum(axis=0)  # wrong: dbias = dy.sum(axis=0)
        return dz @ weight.T, x.T @ dz, dbias

    return y, backward


@bias_past_tanh.missed_by
def at_small_weights(layer):
    """At initial weights of 0.01, tanh is nearly linear, and tanh′ is nearly 1.

    The error is smaller than a tolerance of 1e-3. The exercise mentions no test.
    """
    weight = 0.01 * np.random.default_rng(0).normal(size=(3, 2))
    check_numerically(layer, (4, 3), weight, np.zeros(2), only=2, tolerance=1e-3)


@exhibit("explosion/thinc, file thinc/layers/dish.py at 95f894f", (5, 4), (4, 4), (4,))
def dish_at_input(x, weight, bias):
    """An activation's derivative at the input of its layer.

    z = x W + b, y = z (1 + z / √(1 + z²)) / 2. The activation's derivative is evaluated at x instead of z. The
    activation calls its argument X, and the layer around it uses X for its input. The mistake goes unnoticed only if
    the layer has as many outputs as inputs; otherwise the shapes would not fit. The error has no simple form, and
    gradcheck names none; `gradcheck.steps` finds the line: x stands where z belongs.
    """
    z = x @ weight + bias

    def slope(z):
        return 0.5 + z / np.sqrt(1 + z * z) - 0.5 * z**3 / (1 + z * z) ** 1.5

    def backward(dy):
        dz = dy * slope(z)  # wrong: dz = dy * slope(x)
        return dz @ weight.T, x.T @ dz, dz.sum(axis=0)

    return z * (1 + z / np.sqrt(1 + z * z)) / 2, backward


@dish_at_input.missed_by
def shapes_alone(layer):
    """Every layer of the library is tested in the same way, by types and shapes.

    This test uses 4 input and 4 output features. With 4 and 3 it would have raised an exception.
    """
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(5, 4)), rng.normal(size=(4, 4)), rng.normal(size=4)
    for gradient, array in zip(layer(*inputs)[1](rng.normal(size=(5, 4))), inputs, strict=True):
        assert gradient.shape == array.shape and np.isfinite(gradient).all()


@exhibit(
    "AtsushiSakai/PythonRobotics, file Localization/extended_kalman_filter/ekf_with_velocity_correction.py at cfe1e30",
    (5,),
    speed=1.3,
    turn=0.4,
    dt=0.5,
)
def motion_commented(state, *, speed, turn, dt):
    """The Jacobian of the model in a comment.

    The motion of a vehicle in a Kalman filter. The state is position, yaw, speed and the scale of the speedometer.
    According to the comment on the Jacobian, the vehicle moves with the speed in the state, which stays the same. In
    the code, the vehicle moves with the commanded speed, which also replaces the speed in the state. The next state
    then does not depend on the old speed, so the column of the speed is zero. Both derivations are right, but for two
    different functions. A gradient must be that of the code.
    """
    x, y, yaw, _, scale = state
    cos, sin, way = np.cos(yaw), np.sin(yaw), dt * speed * scale

    def backward(dy):
        jacobian = np.eye(5)
        jacobian[:2, 2] = -way * sin, way * cos
        jacobian[:2, 4] = dt * speed * cos, dt * speed * sin
        jacobian[3, 3] = 0.0  # wrong: jacobian[:2, 3] = dt * scale * cos, dt * scale * sin
        return jacobian.T @ dy

    return np.array([x + way * cos, y + way * sin, yaw + dt * turn, speed, scale]), backward


@motion_commented.missed_by
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
