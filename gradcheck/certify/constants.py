"""The prime of a run, and the meaning of float constants.

A float constant is usually a rounded form of the number that its author meant. It is read as q · √r · π^(k/2), with a
simple fraction q and a small integer r, if it is within 4e-15 of such a number: 0.7978845608028654 is read as √(2/π).
Any other float is read as its exact binary value.

The prime is p = k · M − 1 with a random k, where M is 8 times the product of the odd PRIMES. By quadratic reciprocity
each of PRIMES then has a square root modulo p, and because p mod 4 = 3, the square root of a is a^((p + 1)/4).
"""

import math
import random
from decimal import Decimal
from fractions import Fraction
from functools import cache

CLOSE = 4e-15  # relative: a float within this distance of a simple number is read as that number
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
M = 4 * math.prod(PRIMES)
BITS, ATTEMPTS, ROUNDS = 320, 2**14, 160  # bits of k; numbers tried until one is prime; rounds of the primality test


@cache
def random_prime(seed):
    """Return a random prime k · M − 1. If the seed is None, it is drawn by the operating system, once per process."""
    rng = random.Random(seed)
    for _ in range(ATTEMPTS):
        n = M * rng.getrandbits(BITS) - 1
        if pow(2, n - 1, n) == 1 and all(pow(rng.randrange(2, n), n // 2, n) in (1, n - 1) for _ in range(ROUNDS)):
            return n
    raise RuntimeError(f"none of {ATTEMPTS} random numbers is prime; try another seed")


@cache
def read(x):
    """Return (q, r, k, is_known) with x = q · √r · π^(k/2), where r is a square-free product of PRIMES.

    `is_known` is False if x is not close to a simple number of this form, and is read as its exact binary value.
    """
    exact = Fraction(x)
    if exact.denominator <= 2**20 or not 1e-200 < abs(x) < 1e200:
        return exact, 1, 0, exact.denominator <= 2**20
    for q in (exact.limit_denominator(1000), Fraction(f"{x:.7e}"), 1 / Fraction(f"{1 / x:.7e}")):
        if abs(q - exact) <= CLOSE * abs(exact):
            return q, 1, 0, True
    for k in (0, -1, 1, -2, 2):
        square = Fraction(x * x / math.pi**k)
        near = square.limit_denominator(200)
        if 0 < near <= 200 and abs(near - square) <= 2 * CLOSE * square and (parts := root_of(near)):
            return (parts[0] if x > 0 else -parts[0]), parts[1], k, True
    return exact, 1, 0, False


def root_of(q):
    """Return (c, r) with √q = c · √r, where r is a square-free product of PRIMES, or None if there is no such r."""
    number, c, r = q.numerator * q.denominator, Fraction(1, q.denominator), 1
    for prime in PRIMES:
        while number % prime**2 == 0:
            number, c = number // prime**2, c * prime
        if number % prime == 0:
            number, r = number // prime, r * prime
    rest = math.isqrt(number)
    return (c * rest, r) if rest**2 == number else None


def element(q, r, k, root_of_pi, p):
    """Return q · √r · π^(k/2) modulo p."""
    roots = [pow(prime, (p + 1) // 4, p) for prime in PRIMES if r % prime == 0]
    return math.prod([q.numerator, pow(q.denominator, -1, p), pow(root_of_pi, k, p), *roots]) % p


def decimal_of(q, r=1, k=0):
    """Return q · √r · π^(k/2) as a Decimal."""
    value = Decimal(q.numerator) / Decimal(q.denominator)
    return value * Decimal(r).sqrt() * PI.sqrt() ** k if (r, k) != (1, 0) else value


def in_words(x):
    """Return the number for which a float stands, such as "√(2/π)", or "" if it is read as its exact binary value."""
    q, r, k, _ = read(x)
    if (r, k) == (1, 0):
        return "" if q == Fraction(x) else str(q)
    square = q * q * r
    above, below = ("π" * max(k, 0)), ("π" * max(-k, 0))
    above = f"{square.numerator}{above}" if square.numerator > 1 or not above else above
    below = f"{square.denominator}{below}" if square.denominator > 1 or not below else below
    return ("-" if q < 0 else "") + (f"√({above}/{below})" if below != "1" else f"√({above})")
