"""Muon in place: the cores share the matrices, and the iteration for a long matrix runs on a square one.

A step of nanoGPT's model for a CPU has 24 matrices, and each product of orthogonalize takes about 0.1 ms. Threads that
take a matrix each need 0.6 of the time of a library that divides every product among the cores.

Let X be (M, N) with N > M. Every step of the iteration multiplies X from the left by a symmetric matrix

    Q = a I + b A + c A²,   A = X Xᵀ                (1)

so the result is P X, where P is the product of all Q. A and Q are (M, M) matrices, and the next ones do not need X:

    P′ = Q P                                        (2)
    A′ = X′ X′ᵀ = Q A Q                             (3)

because X′ = Q X and Qᵀ = Q. Five steps with (2) and (3) have 18 products of M³ multiplications and two of M² N. The
iteration on X has 5 M³ and 10 M² N. At N = 4 M these are 26 M³ and 45 M³. From N = 2 M on, (3) is used.

The squares in A lose digits of small singular values: in float32, those below 0.0003 of the largest one have no correct
digit in A. But P is nearly constant there, as every Q is nearly a I. So P X has them with the right size. The numbers
at the lines of update_matrix are those of muon.
"""

import math

import numpy as np

from minitransformer import muon as textbook
from minitransformer.fast.registration import twin_of
from minitransformer.system.cores import ENOUGH_FOR_THREADS, side_by_side

STEPS = 5  # the default of orthogonalize


def a_step(muon_in_place, rng):
    settings = {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.3}
    moves = [
        (*rng.normal(size=(3, *shape)), settings | {"nesterov": len(shape) == 2})
        for shape in ((3, 4), (2, 5), (6, 2), (2, 3, 2))
    ]
    muon_in_place(moves, 0.7)
    return [array for theta, _, m, _ in moves for array in (theta, m)]


@twin_of(textbook.muon_in_place, "38ff6ec01932", repeats=(textbook.muon, textbook.orthogonalize), cases=(a_step,))
def muon_in_place(moves, gradient_scale=1.0):
    """Take a step of Muon for every tuple (theta, g, m, settings) in `moves`. θ and m change in place."""

    def update(matrix):
        update_matrix(*matrix, gradient_scale)

    matrices = [
        (theta[i], g[i], m[i], settings) for theta, g, m, settings in moves for i in np.ndindex(theta.shape[:-2])
    ]
    if sum(theta.size * min(theta.shape) for theta, *_ in matrices) < ENOUGH_FOR_THREADS:
        for matrix in matrices:
            update(matrix)
    else:
        side_by_side(update, matrices)


def update_matrix(theta, g, m, settings, gradient_scale):
    """Take a step for one matrix. The gradient is g · gradient_scale."""
    momentum, (fan_in, fan_out) = settings["momentum"], theta.shape
    theta *= 1 - settings["lr"] * settings["weight_decay"]  # (4)
    g = g * gradient_scale
    m *= momentum
    m += g  # (5)
    u = g + momentum * m if settings["nesterov"] else m  # (6)
    theta -= settings["lr"] * math.sqrt(max(1, fan_out / fan_in)) * orthogonalized(u)  # (7)


def orthogonalized(u):
    """Return orthogonalize(u) for one matrix."""
    wide = u.T if u.shape[0] > u.shape[1] else u
    norm = math.sqrt(np.sum(np.square(wide, dtype=np.float64)))
    X = np.divide(wide, norm or 1, dtype=np.float64).astype(u.dtype)
    is_long = X.shape[1] >= 2 * X.shape[0]
    left = np.eye(len(X), dtype=X.dtype) if is_long else X  # P, or the X of the iteration
    A = X @ X.T
    for step in range(STEPS):
        Q = A @ A
        Q *= textbook.QUINTIC
        Q += textbook.CUBIC * A
        Q.ravel()[:: len(Q) + 1] += textbook.SLOPE  # (1)
        left = Q @ left  # (2)
        if step + 1 < STEPS:
            A = Q @ A @ Q if is_long else left @ left.T  # (3)
    found = left @ X if is_long else left
    return found.T if u.shape[0] > u.shape[1] else found
