"""Activations: functions of one number, applied entry by entry.

An entry of x reaches the one entry of y in its own place: ∂y_i/∂x_j = f′(x_i) δ_ij, where δ_ij is 1 for i = j and 0
otherwise. So the Jacobian is diagonal, and every backward here is dx = dy · f′(x), with no sum.
"""

import math

import numpy as np

from minitransformer.layers.checks import check_gelu
from minitransformer.module import Array, Backward, require_floating


def relu(x: Array) -> tuple[Array, Backward[Array]]:
    """Return x where x > 0, and 0 elsewhere (Nair and Hinton, 2010).

        y = 0 where x ≤ 0, else x                       (1)

    y has x's shape. In this form NaN stays NaN, so that a broken model does not look healthy.

    Saved for backward: off (...), True where x ≤ 0, one byte per entry.

    Raises: TypeError if x is not floating-point.
    """
    require_floating("relu", x=x)
    off = x.real <= 0
    y = np.where(off, 0, x)  # (1)

    def backward(dy):
        """The slope is 1 or 0:

            dx = 0 where x ≤ 0, else dy                     (2)

        At x = 0 the two one-sided derivatives are 0 and 1. (2) chooses 0 at this kink, as is usual. A finite difference
        across it gives neither of them, so a check must treat such entries separately.
        """
        dx = np.where(off, 0, dy)  # (2) ← 0 where x ≤ 0, else x (1)
        return dx

    return y, backward


def silu(x: Array) -> tuple[Array, Backward[Array]]:
    """Return SiLU, also called swish: x times the logistic function σ of x (Hendrycks and Gimpel, 2016).

        σ = 1 / (1 + exp(−x)) = (1 + tanh(x/2)) / 2     (3)
        y = x · σ                                       (4)

    y has x's shape. The form with tanh cannot overflow, but loses digits if σ is much smaller than 1.

    Saved for backward: x (...), σ (...).

    Raises: TypeError if x is not floating-point.
    """
    require_floating("silu", x=x)
    sigma = 0.5 * (1 + np.tanh(0.5 * x))  # (3)
    y = x * sigma  # (4)

    def backward(dy):
        """The product rule, y′ = σ + x · σ′.

        With σ′ = exp(−x) / (1 + exp(−x))² = σ · (1 − σ),

            dx = dy · σ · (1 + x · (1 − σ))                 (5)
        """
        dx = dy * sigma * (1 + x * (1 - sigma))  # (5) ← x · σ (4), σ (3)
        return dx

    return y, backward


def gelu(x: Array, *, approximate: str = "none") -> tuple[Array, Backward[Array]]:
    """Return x Φ(x) (Hendrycks and Gimpel, 2016).

    Φ is the normal distribution function: the probability of a value below x, if values have mean 0 and variance 1.
    If `approximate` is "none", the function is exact. If it is "tanh", the function is the approximation that GPT-2 was
    trained with. The two differ by at most 5e-4, so a model works with either of them, and a check with a loose
    tolerance cannot distinguish their backward passes.

    Raises: TypeError if x is not floating-point; ValueError for another value of `approximate`.
    """
    check_gelu(x, approximate)
    return gelu_exact(x) if approximate == "none" else gelu_tanh(x)


def gelu_exact(x: Array) -> tuple[Array, Backward[Array]]:
    """Return x Φ(x), with Φ the normal distribution function, here by the error function erf of SciPy.

    erf is 2/√π times the integral of exp(−t²) from 0 to the argument of erf.

        Φ = (1 + erf(x/√2)) / 2                         (6)
        y = x · Φ                                       (7)

    The slope y′, which backward needs, is also computed here, because Φ is available. φ = Φ′ is the density of the
    normal distribution, so by the product rule

        φ = exp(−x²/2) / √(2π)                          (8)
        y′ = Φ + x · φ                                  (9)

    Saved for backward: slope (...).
    """
    from scipy.special import erf  # this import takes a fifth of a second, so only the exact form pays for it

    Phi = 0.5 * (1 + erf(x * math.sqrt(0.5)))  # (6)
    y = x * Phi  # (7)
    phi = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)  # (8)
    slope = Phi + x * phi  # (9)

    def backward(dy):
        """An entry of x reaches the one entry of y in its own place, so

            dx = dy · y′                                    (10)

        and neither x nor Φ is needed.
        """
        dx = dy * slope  # (10) ← x · Φ (7), Φ (6)
        return dx

    return y, backward


def gelu_tanh(x: Array) -> tuple[Array, Backward[Array]]:
    """Return x Φ, where a hyperbolic tangent approximates the normal distribution function Φ.

        u = √(2/π) x · (1 + 0.044715 x²)                (11)
        Φ = (1 + tanh u) / 2                            (12)
        y = x · Φ                                       (13)

    The slope of (12) at 0 is that of the normal distribution function, and 0.044715 is fitted (Hendrycks and Gimpel,
    2016).

    Saved for backward: x (...), Φ (...).
    """
    c = math.sqrt(2 / math.pi)
    u = c * x * (1 + 0.044715 * x * x)  # (11)
    Phi = 0.5 * (1 + np.tanh(u))  # (12)
    y = x * Phi  # (13)

    def backward(dy):
        """The product rule, and the chain rule within it.

        With ∂Φ/∂u = (1 − tanh(u)²) / 2 = 2 Φ · (1 − Φ), as tanh(u) = 2 Φ − 1,

            u′ = ∂u/∂x = √(2/π) (1 + 3 · 0.044715 x²)       (14)
            dx = dy · (Φ + x · 2 Φ · (1 − Φ) · u′)          (15)
        """
        u_slope = c * (1 + 3 * 0.044715 * x * x)  # (14) ← √(2/π) x · (1 + 0.044715 x²) (11)
        dx = dy * (Phi + x * 2 * Phi * (1 - Phi) * u_slope)  # (15) ← x · Φ (13), Φ (12)
        return dx

    return y, backward
