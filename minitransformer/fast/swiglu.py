"""SwiGLU's product in blocks (see elementwise.py), which saves only its two inputs.

Backward computes silu(g) and its slope again. Saving silu(g) and σ instead would take a quarter more memory in a
training step of Llama. It would not save time, because these arrays would be written and read.
"""

import numpy as np

from minitransformer.fast.elementwise import elementwise
from minitransformer.fast.registration import twin_of
from minitransformer.layers import feed_forward as textbook
from minitransformer.layers.activations import silu
from minitransformer.layers.checks import check_swiglu


@twin_of(textbook.swiglu, "23637aec9194", repeats=(silu,), cases=("swiglu",))
def swiglu(g, u):
    """Return silu(g) · u for g and u of the same shape. Saved for backward: g (...), u (...)."""
    check_swiglu(g, u)

    def gated(g, u):
        return (g * (0.5 * np.tanh(0.5 * g) + 0.5) * u,)  # (7) (8)

    def backward(dp):
        def factors(dp, g, u):
            sigma = 0.5 * np.tanh(0.5 * g) + 0.5
            slope = 1 - sigma
            slope *= g
            slope += 1
            slope *= sigma
            return dp * u * slope, dp * (g * sigma)  # (9) (10)

        return elementwise(factors, dp, g, u)

    return elementwise(gated, g, u)[0], backward
