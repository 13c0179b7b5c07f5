"""Gradients at the limits of every checker: steps, ties and single wrong entries."""

import numpy as np

from gradcheck.museum.exhibit import right


@right((3, 4))
def rounded(x):
    def backward(dy):
        return dy * np.cos(x)

    return np.round(np.sin(x), 6), backward


@right(np.array([1.7, 0.6]))
def fixed_point(x):
    y = np.ones_like(x)
    while np.max(np.abs(y - np.cos(y) * x)) > 1e-6:
        y = (y + np.cos(y) * x) / 2

    def backward(dy):
        return dy * np.cos(y) / (1 + x * np.sin(y))

    return y, backward


@right(np.array([0.5, 1.2, 0.5, 0.5, -0.3]))
def median_of_equals(x):
    """median-of-all-equals: PaddlePaddle/Paddle, pull request 42385
        return dy * (x == x[middle])
    Every entry that equals the median receives its whole gradient. It was found in a review.
    """
    middle = np.argsort(x)[len(x) // 2]

    def backward(dy):
        dx = np.zeros_like(x)
        dx[middle] = dy
        return dx

    return np.sort(x)[len(x) // 2], backward


@right(np.array([0.5, 1.2, 1.2, 0.5, 1.2]))
def largest_of_equals(x):
    def backward(dy):
        return dy * (x == x.max()) / (x == x.max()).sum()

    return x.max(), backward


@right(np.random.default_rng(3).normal(size=(60, 50)))
def sine_of_many(x):
    """one-of-many:
        dx = dy * np.cos(x) * (1 + 1e-3 * (np.arange(x.size).reshape(x.shape) == 1_234))
    One entry of 3,000 is wrong by 0.1 %. The norm of the gradient is right to 2e-5.

    one-lost-of-many:
        dx = dy * np.cos(x) * (np.arange(x.size).reshape(x.shape) != 1_234)
    One entry of 3,000 is zero. A random sample of the entries seldom contains it.
    """

    def backward(dy):
        dx = dy * np.cos(x)
        return dx

    return np.sin(x), backward


@right((4,))
def wave(x):
    """wave-ignored:
        return dy.copy()
    A wave of small amplitude and large slope is ignored. Steps that span many of its periods do not show the mistake.
    """

    def backward(dy):
        return dy * (1 + 3 * np.cos(3e4 * x))

    return x + 1e-4 * np.sin(3e4 * x), backward
