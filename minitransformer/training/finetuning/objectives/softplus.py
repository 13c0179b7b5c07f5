"""Softplus: −log σ(−x), which bounds an objective from below.

y is never negative. For large x it grows like x, with slope 1. For very negative x both y and its slope vanish, so
pairs that are already right no longer contribute.
"""

import numpy as np

from minitransformer.module import Array, Backward, require_floating


def softplus(x: Array) -> tuple[Array, Backward[Array]]:
    """Return log(1 + exp(x)) for each entry of x.

    This formula overflows for large x and loses all digits for very negative x. If the larger of 0 and x is moved out
    of the logarithm, the exponent is never positive:

        y = max(x, 0) + log(1 + exp(−|x|))              (1)

    Raises TypeError if x is not floating-point.
    Saved for backward: x (...).
    """
    require_floating("softplus", x=x)
    positive = x.real > 0
    y = np.where(positive, x, 0) + np.log1p(np.exp(np.where(positive, -x, x)))  # (1)

    def backward(dy):
        """The derivative of log(1 + exp(x)) is the logistic function, for either form of y:

            σ = (1 + tanh(x/2)) / 2    dx = dy · σ          (2)

        Since 0 ≤ σ ≤ 1, the effect of a single pair is bounded.
        """
        sigma = 0.5 * (1 + np.tanh(0.5 * x))  # (2)
        dx = dy * sigma  # (2)
        return dx

    return y, backward
