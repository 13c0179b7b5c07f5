"""SwiGLU's product in blocks (see elementwise.py), which saves its two inputs and nothing else.

silu(g) and its slope are worked out again in backward: to keep silu(g) and σ took a quarter more memory for a Llama's
whole training step, and no less time, since an array that is not written need not be read.
"""

import numpy as np

from minitransformer.fast.digests import twin_of
from minitransformer.fast.elementwise import elementwise
from minitransformer.layers import feed_forward as textbook


@twin_of(textbook.swiglu, "86fee3d21a5d")
def swiglu(g, u):
    """Return silu(g) · u, for g and u of one shape. Saved for backward: g (...), u (...)."""
    textbook.check_arguments(g, u)

    def gated(g, u):
        return g * logistic(g) * u  # (7) (8)

    def backward(dp):
        def factors(dp, g, u):
            sigma = logistic(g)
            return dp * u * silu_slope(g, sigma), dp * (g * sigma)  # (9) (10)

        return elementwise(factors, dp, g, u)

    return elementwise(gated, g, u), backward


def logistic(x):
    """Return σ at x."""
    sigma = np.tanh(0.5 * x)
    sigma += 1
    sigma *= 0.5
    return sigma


def silu_slope(x, sigma):
    """Return the slope of SiLU at x, where the logistic function is sigma."""
    slope = 1 - sigma
    slope *= x
    slope += 1
    slope *= sigma
    return slope
