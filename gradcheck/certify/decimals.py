"""Functions of decimal numbers, to the precision of the decimal context."""

from decimal import Decimal, getcontext

__all__ = ["PI", "arctangent", "cosine_and_sine", "error_function"]

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")


def series(term, ratio):
    """Return the sum of a series with the first term `term`. ratio(k) is term k divided by term k − 1."""
    total, k = term, 0
    while abs(term) > Decimal(10) ** -(getcontext().prec + 10):
        k += 1
        term *= ratio(k)
        total += term
    return total


def error_function(x):
    """Compute erf x = 2/√π · exp(−x²) · Σ_k 2^k x^(2k+1) / (1 · 3 · … · (2k+1))."""
    if abs(x) > 12:  # erf x differs from ±1 by less than 1e-63
        return Decimal(1).copy_sign(x)
    return 2 / PI.sqrt() * (-x * x).exp() * series(x, lambda k: 2 * x * x / (2 * k + 1))


def cosine_and_sine(x):
    x = x.remainder_near(2 * PI)
    cosine = series(Decimal(1), lambda k: -x * x / (2 * k * (2 * k - 1)))
    return cosine, series(x, lambda k: -x * x / (2 * k * (2 * k + 1)))


def arctangent(x):
    """Compute arctan x, by halving the angle until the series converges fast."""
    doublings = 0
    while abs(x) > Decimal("0.1"):
        x, doublings = x / (1 + (1 + x * x).sqrt()), doublings + 1
    return 2**doublings * series(x, lambda k: -x * x * (2 * k - 1) / (2 * k + 1))
