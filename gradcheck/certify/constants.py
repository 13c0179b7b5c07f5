"""The prime of a run, and the meaning of float constants.

A float constant is usually a rounded form of the number that its author meant. It is read as a simple fraction q, or as
√(s · π^k) with a fraction s of small integers, if it is within 4e-15 of such a number: 0.7978845608028654 is read as
√(2/π). Any other float is read as its exact binary value.

The prime is p = k · M − 1 with a random k, where M is 8 times the product of the odd PRIMES. By quadratic reciprocity
each of PRIMES then has a square root modulo p. Because p mod 4 = 3, s^((p + 1)/4) is the square root of a product s of
PRIMES, with √(s t) = √s √t.
"""

import math
import random
from fractions import Fraction
from functools import cache

CLOSE = 4e-15  # relative: a float within this distance of a simple number is read as that number
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
M = 4 * math.prod(PRIMES)
BITS, ATTEMPTS, ROUNDS = 448, 2**14, 256  # bits of k; numbers tried until one is prime; rounds of the primality test


@cache
def random_prime(seed):
    """Return a random prime k · M − 1. Without a seed, each process draws one prime."""
    rng = random.Random(seed)
    for _ in range(ATTEMPTS):
        n = M * rng.getrandbits(BITS) - 1
        if pow(2, n - 1, n) == 1 and all(pow(rng.randrange(2, n), n // 2, n) in (1, n - 1) for _ in range(ROUNDS)):
            return n
    raise RuntimeError(f"none of {ATTEMPTS} random numbers is prime; try another seed")


@cache
def read(x):
    """Return (q, s, k) with x = q · √(s · π^k), or None if no such number is near x."""
    exact = Fraction(x)
    if exact.denominator <= 2**20:
        return exact, Fraction(1), 0
    if not 1e-200 < abs(x) < 1e200:
        return None
    for q in (exact.limit_denominator(1000), Fraction(f"{x:.7e}"), 1 / Fraction(f"{1 / x:.7e}")):
        if abs(q - exact) <= CLOSE * abs(exact):
            return q, Fraction(1), 0
    for k in (0, -1, 1, -2, 2):
        square = Fraction(x * x / math.pi**k)
        s = square.limit_denominator(200)
        if s <= 200 and abs(s - square) <= 2 * CLOSE * square and has_root(s):
            return Fraction(1 if x > 0 else -1), s, k
    return None


def has_root(s):
    """Return True if all prime factors of the fraction s are among PRIMES."""
    return s > 0 and M**80 % (s.numerator * s.denominator) == 0


def in_words(x):
    """Return a float as text, such as "√(2/π)", or "" if it stands for its exact value."""
    q, s, k = read(x) or (Fraction(x), 1, 0)
    if (s, k) == (1, 0):
        return "" if q == Fraction(x) else str(q)
    roots = math.isqrt(s.numerator), math.isqrt(s.denominator)
    if k in (2, -2) and (roots[0] ** 2, roots[1] ** 2) == (s.numerator, s.denominator):
        above, below = (f"{n if n > 1 else ''}{'π' * (power > 0)}" for n, power in zip(roots, (k, -k), strict=True))
        return f"{'-' if q < 0 else ''}{above or 1}{below and '/' + below}"
    above, below = (f"{n if n > 1 else ''}{'π' * power}" for n, power in ((s.numerator, k), (s.denominator, -k)))
    return f"{'-' if q < 0 else ''}√({above or 1}{below and '/' + below})"
