"""Softplus: −log σ(−x), which is what bounds an objective from below.

y is never negative. For large x it grows like x, with slope 1; for very negative x both y and its slope vanish, so
what has been achieved pulls no more.
"""

import numpy as np

from minitransformer.module import Array, Backward, require_floating


def softplus(x: Array) -> tuple[Array, Backward[Array]]:
    """Return log(1 + exp(x)), of x's shape. Raises TypeError for an x that is not floating-point.

    Written as it stands it overflows for large x and loses every digit for very negative x; with the larger of 0 and x
    taken out of the logarithm, the exponent is never positive:

        y = max(x, 0) + log(1 + exp(−|x|))              (1)

    Saved for backward: x (...).
    """
    require_floating("softplus", x=x)
    positive = x.real > 0
    y = np.where(positive, x, 0) + np.log1p(np.exp(np.where(positive, -x, x)))  # (1)

    def backward(dy):
        """The derivative of log(1 + exp(x)) is the logistic function, whichever way y was computed:

            σ = (1 + tanh(x/2)) / 2    dx = dy · σ          (2)

        As σ is never more than 1, there is a bound on what one pair can pull.
        """
        sigma = 0.5 * (1 + np.tanh(0.5 * x))  # (2)
        dx = dy * sigma  # (2)
        return dx

    return y, backward
