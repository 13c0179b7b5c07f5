"""Squared ReLU: an activation that grows like x² (So et al., 2021).

Like ReLU it is 0 for negative x, so many hidden features are exactly 0. Unlike ReLU it has no kink: both one-sided
slopes at 0 are 0. Only the second derivative jumps there, from 0 to 2.
"""

import numpy as np

from minitransformer.module import Array, Backward, require_floating


def relu_squared(x: Array) -> tuple[Array, Backward[Array]]:
    """Return x² where x > 0, and 0 elsewhere.

        r = 0 where x ≤ 0, else x                       (1)
        y = r²                                          (2)

    y has x's shape. If x is multiplied by a positive number, y is multiplied by its square. NaN stays NaN.

    Saved for backward: r (...).

    Raises: TypeError if x is not floating-point.
    """
    require_floating("relu_squared", x=x)
    r = np.where(x.real <= 0, 0, x)  # (1)
    y = r * r  # (2)

    def backward(dy):
        """Where x > 0, the slope is 2 x. Elsewhere y is constant, and the slope is 0. In both cases it is 2 r, so

            dx = 2 r · dy                                   (3)

        and no mask is needed, as r is one. With x in place of r, the entries below 0 get a gradient, and a check of
        positive inputs does not notice. A factor 2 that is missing changes only the length of dx, which a test of its
        direction, or of a falling loss, does not notice either.
        """
        dx = 2 * r * dy  # (3) ← r² (2), 0 where x ≤ 0, else x (1)
        return dx

    return y, backward
