"""Activations: functions of one number, applied entry by entry.

An entry of x reaches the one entry of y in its own place, so every backward here is dx = dy · f′(x), with no sum.

**ReLU** (Nair and Hinton, 2010):

    y = x where x > 0, else 0                       (1)
    dx = dy where x > 0, else 0                     (2)

At x = 0 the two one-sided derivatives differ, 0 and 1: it is a kink, where (2) chooses 0, as everyone does. A finite
difference that steps across it sees neither, and a check must know that.

**SiLU** or swish (Elfwing et al., 2017), with σ the logistic function,

    σ = 1 / (1 + exp(−x)) = (1 + tanh(x/2)) / 2     (3)
    y = x σ                                         (4)
    dx = dy · σ (1 + x (1 − σ))                     (5)

(5) is the product rule with σ′ = σ (1 − σ). The form with tanh cannot overflow.

**GELU** (Hendrycks and Gimpel, 2016), with Φ and φ the normal distribution and its density,

    Φ = (1 + erf(x/√2)) / 2                         (6)
    y = x Φ                                         (7)
    dx = dy · (Φ + x φ),   φ = exp(−x²/2) / √(2π)   (8)

**GELU, tanh form**, the approximation that GPT-2 was trained with. It replaces Φ by

    u = √(2/π) (x + 0.044715 x³)                    (9)
    Φ = (1 + tanh u) / 2                            (10)
    y = x Φ                                         (11)

and, with du/dx = √(2/π) (1 + 3 · 0.044715 x²) and dΦ/du = (1 − tanh² u) / 2 = 2 Φ (1 − Φ),

    dx = dy · (Φ + x · 2 Φ (1 − Φ) · du/dx)         (12)

The two forms differ by at most 5e-4, so weights survive being moved between them, and a check at a loose
tolerance cannot tell one backward from the other.

Saved for backward: x, and for SiLU and the tanh form also σ or Φ, of x's shape; for the exact GELU only the slope
of (8).
"""

import math

import numpy as np

from minitransformer.layers.elementwise import elementwise


def relu(x):
    """Return x where it is positive, else 0."""
    y = np.where(x.real > 0, x, 0)  # (1)

    def backward(dy):
        return np.where(x > 0, dy, 0)  # (2)

    return y, backward


def silu(x):
    """Return x times its logistic function."""

    def y_and_sigma(x):
        sigma = logistic(x)
        return x * sigma, sigma  # (4)

    y, sigma = elementwise(y_and_sigma, x)

    def backward(dy):
        def dx(dy, x, sigma):
            return dy * silu_slope(x, sigma)  # (5)

        return elementwise(dx, dy, x, sigma)

    return y, backward


def logistic(x):
    """Return σ at x."""
    sigma = np.tanh(0.5 * x)
    sigma += 1
    sigma *= 0.5  # (3)
    return sigma


def silu_slope(x, sigma):
    """Return the slope of SiLU at x, where the logistic function is sigma."""
    slope = 1 - sigma
    slope *= x
    slope += 1
    slope *= sigma  # (5)
    return slope


def gelu(x, *, approximate="none"):
    """Return x times the normal distribution function at x: exact for "none", GPT-2's approximation for "tanh".

    Raises ValueError for another name.
    """
    if approximate == "none":
        return gelu_exact(x)
    if approximate == "tanh":
        return gelu_tanh(x)
    raise ValueError(f"gelu: approximate must be 'none' or 'tanh', not {approximate!r}")


def gelu_exact(x):
    """GELU by the error function, (6) to (8)."""

    def y_and_slope(x):
        distribution, density = fast_normal(x) if x.dtype == np.float32 else normal(x)
        y = x * distribution  # (7)
        slope = density
        slope *= x
        slope += distribution  # (8)
        return y, slope

    y, slope = elementwise(y_and_slope, x)

    def backward(dy):
        return dy * slope  # (8)

    return y, backward


def normal(x):
    """Return the standard normal distribution function Φ and density φ at x, each of x's shape and dtype."""
    from scipy.special import erf  # takes a fifth of a second, which no command should begin with that can do without

    distribution = 0.5 * (1 + erf(x * math.sqrt(0.5)))  # (6)
    density = np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return distribution, density


def fast_normal(x):
    """Return Φ and φ at x, float32, to 2e-7. Five times as fast as `normal`, whose erf takes nearly all of its time.

    Φ = (1 + tanh u) / 2 as in (10), with u a polynomial of seven terms in place of the two of (9), fitted to the exact
    (6) with the least worst error. Where it overflows, beyond |x| = 1000, tanh is ±1 as it should be.
    """
    c0, *middle, c6 = (
        0.797884941,
        0.0363330844,
        -3.25947439e-5,
        -5.53063171e-5,
        3.96477321e-6,
        -1.32266283e-7,
        1.75627755e-9,
    )
    square, u = np.empty_like(x), np.empty_like(x)
    with np.errstate(over="ignore"):
        np.multiply(x, x, out=square)
        np.multiply(square, c6, out=u)
        for c in reversed(middle):  # Horner's rule
            u += c
            u *= square
        u += c0
        u *= x
    distribution = np.tanh(u, out=u)
    distribution *= 0.5
    distribution += 0.5
    square *= -0.5
    density = np.exp(square, out=square)
    density *= 1 / math.sqrt(2 * math.pi)
    return distribution, density


def gelu_tanh(x):
    """GELU by the hyperbolic tangent, (9) to (12)."""
    c = math.sqrt(2 / math.pi)

    def y_and_phi(x):
        u = c * x * (1 + 0.044715 * x * x)  # (9)
        phi_cdf = 0.5 * (1 + np.tanh(u))  # (10)
        return x * phi_cdf, phi_cdf  # (11)

    y, phi_cdf = elementwise(y_and_phi, x)

    def backward(dy):
        def dx(dy, x, phi_cdf):
            du_dx = c * (1 + 3 * 0.044715 * x * x)
            return dy * (phi_cdf + x * 2 * phi_cdf * (1 - phi_cdf) * du_dx)  # (12)

        return elementwise(dx, dy, x, phi_cdf)

    return y, backward
