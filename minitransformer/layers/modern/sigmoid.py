"""The sigmoid: a number between 0 and 1, the opening of a gate.

The gated delta rule (delta_rule.py) needs two such numbers for each head and position. Far from 0 on either side, the
gate is open or closed whatever the input changes, and nearly no gradient passes.
"""

import numpy as np

from minitransformer.module import Array, Backward, require_floating


def sigmoid(x: Array) -> tuple[Array, Backward[Array]]:
    """Return 1 / (1 + exp(−x)), of x's shape, in the form that never overflows:

        y = ½ (1 + tanh(x / 2))                         (1)

    Saved for backward: y (...).

    Raises: TypeError if x is not floating-point.
    """
    require_floating("sigmoid", x=x)
    y = 0.5 * (1 + np.tanh(0.5 * x))  # (1)

    def backward(dy):
        """The derivative of tanh is 1 − tanh², and by (1) tanh(x / 2) is 2 y − 1. So that of y is

            (1 − (2 y − 1)²) / 4 = y (1 − y)
            dx = dy · y · (1 − y)                       (2)

        The slope is at most 1/4, in the middle, and the same on both sides: y and 1 − y may be exchanged. So a gate
        with the wrong sign has the right slope for the sign that it has, and only its values show the error.
        """
        dx = dy * y * (1 - y)  # (2) ← ½ (1 + tanh(x / 2)) (1)
        return dx

    return y, backward
