"""A real number, computed twice: to 60 decimal digits, and in a finite field.

The digits decide every comparison. The field value is the value of a formula at a random point, at which inputs, and
functions that are not rational (relations.py), are random elements. Two formulas with equal field values are the same
formula, except with a small probability, which grows with their size. The size is a bound on the degree and on the
logarithm to base 2 of the sum of the coefficients' absolute values. `n` bounds the size of the numerator. The
denominator `m` is a product of powers of divisors.

A number may have a tangent, which is its derivative along a direction. Every operation applies the chain rule to it.
"""

import decimal
import numbers
import operator
from fractions import Fraction

import numpy as np

from gradcheck.certify import constants

EQUAL = decimal.Decimal("1e-40")  # relative: closer numbers are equal in their digits
LOST = "a number that is not zero has the field value zero"

INPUTS, DY = 1, 2

run = None  # the current Run (relations.py), set by Run.computing


class CannotTell(Exception):  # noqa: N818 (it is a verdict, not an error)
    """The function can be neither certified nor refused; the message gives the reason."""


def both_sides(rule):
    """Return a binary operator's two methods, such as __add__ and __radd__. The other operand may be any number."""

    def forward(self, other):
        return NotImplemented if isinstance(other, np.ndarray) else rule(self, lift(other))

    return forward, lambda self, other: rule(lift(other), self)


def comparison(*signs):
    """Return the method of a comparison that is True if `order(a, b)` is one of the signs."""
    return lambda self, other: order(self, lift(other)) in signs


def _quotient(a, b):
    y = divide(a, b)
    slope = plus(a.tangent, minus(times(b.tangent, y)))
    return y.moving(None if slope is None else divide(slope, b))


def _power(a, b):
    if not (b.op == "constant" and b.args):
        return (b * a.log()).exp()
    y = run.power(a, b.args[0])
    return y if a.tangent is None else y.moving(multiply(multiply(b, run.power(a, b.args[0] - 1)), a.tangent))


class Number:
    """A real number with its digits d and field value v.

    `n` is the size of its numerator and `m` its Denominator. `op` and `args` are the operation and the operands that
    produced it. `on` has a bit for each kind of variable on which the number depends: INPUTS and DY.
    """

    __slots__ = ("args", "d", "m", "n", "on", "op", "tangent", "v")

    def __init__(self, d, v, n, m, op, args, on):
        self.d, self.v, self.n, self.m, self.op, self.args, self.on = d, v, n, m, op, args, on
        self.tangent = None

    def moving(self, tangent):
        self.tangent = tangent
        return self

    __add__, __radd__ = both_sides(lambda a, b: add(a, b).moving(plus(a.tangent, b.tangent)))
    __sub__, __rsub__ = both_sides(lambda a, b: add(a, b, -1).moving(plus(a.tangent, minus(b.tangent))))
    __mul__, __rmul__ = both_sides(lambda a, b: multiply(a, b).moving(plus(times(a.tangent, b), times(b.tangent, a))))
    __truediv__, __rtruediv__ = both_sides(_quotient)
    __pow__, __rpow__ = both_sides(_power)
    __lt__, __gt__, __le__, __ge__ = comparison(-1), comparison(1), comparison(-1, 0), comparison(1, 0)
    __eq__, __ne__ = comparison(0), comparison(-1, 1, None)
    __hash__ = object.__hash__

    def __neg__(self):
        return minus(self).moving(minus(self.tangent))

    def __abs__(self):
        return -self if self < 0 else self

    def __bool__(self):
        return self != 0

    def __float__(self):
        if self.on:
            raise CannotTell("the function converts a value that depends on the inputs to a float")
        return float(self.d)

    def exp(self):
        y = run.exp(self)
        return y.moving(times(self.tangent, y))

    def log(self):
        return run.log(self).moving(None if self.tangent is None else divide(self.tangent, self))

    def sqrt(self):
        return self ** Fraction(1, 2)

    def tanh(self):
        e = (2 * self).exp()
        return (e - 1) / (e + 1) if e.d.is_finite() else lift(1)

    def erf(self):
        density = multiply(lift(2 / np.sqrt(np.pi)), run.exp(minus(multiply(self, self))))
        return run.erf(self).moving(times(self.tangent, density))

    def sin(self):
        cosine, sine = run.turn(self)
        return sine.moving(times(self.tangent, cosine))

    def cos(self):
        cosine, sine = run.turn(self)
        return cosine.moving(minus(times(self.tangent, sine)))

    def conjugate(self):
        return self


# Tangents, where None stands for zero.


def plus(s, t):
    return t if s is None else s if t is None else add(s, t)


def minus(t):
    return None if t is None else multiply(lift(-1), t)


def times(t, a):
    return None if t is None else multiply(t, a)


# Operations on values, without tangents. A rational constant is a constant again if both operands are.


def add(a, b, sign=1):
    if a.op == b.op == "constant" and a.args and b.args:
        return lift(a.args[0] + sign * b.args[0])
    d, v = (a.d + b.d if sign == 1 else a.d - b.d), (a.v + sign * b.v) % run.p
    if not v and d and d.is_finite():
        if abs(d) > EQUAL * abs(a.d):
            raise CannotTell(LOST)
        d = decimal.Decimal(0)
    m = a.m if a.m is b.m else run.combined(a.m, b.m, max)
    n = m.size + max(a.n - a.m.size, b.n - b.m.size) + 1
    return make(d, v, n, m, "add" if sign == 1 else "subtract", (a, b), a.on | b.on)


def multiply(a, b):
    if a.op == b.op == "constant" and a.args and b.args:
        return lift(a.args[0] * b.args[0])
    m = run.combined(a.m, b.m, operator.add)
    return make(a.d * b.d, a.v * b.v % run.p, a.n + b.n, m, "multiply", (a, b), a.on | b.on)


def divide(a, b):
    if not b.v and b.d and b.d.is_finite():
        raise CannotTell(LOST)
    is_regular = b.v and b.d.is_finite()  # the field value of a division by zero or infinity is 0
    v = a.v * pow(b.v, -1, run.p) % run.p if is_regular else 0
    m = run.combined(a.m, run.atom(b), operator.add)
    return make(a.d / b.d, v, a.n + b.m.size, m, "divide", (a, b), a.on | b.on)


def make(d, v, n, m, op, args, on):
    """Return a new Number. If it is the square of a known root, its field value is computed from the root."""
    run.created += 1
    if v in run.squares:
        v, n, m = run.squares[v], 2, run.unit
    if n + m.size > run.largest:
        run.largest = n + m.size
    return Number(d, v, n, m, op, args, on)


def lift(value):
    """Convert a constant to a Number. A Number is returned unchanged."""
    if type(value) is Number:
        return value
    if isinstance(value, (np.generic, np.ndarray)) and not np.ndim(value):
        return lift(value.item())
    value = float("nan") if value is None else value  # an entry of np.empty
    if not isinstance(value, numbers.Real):
        raise CannotTell(f"the function computes with a value of type {type(value).__name__}")
    if value not in run.constants:
        run.constants[value] = _constant(value)
    return run.constants[value]


def _constant(value):
    if isinstance(value, float) and not np.isfinite(value):
        return Number(decimal.Decimal(value), 0, 0, run.unit, "constant", (), 0)
    q, r, k, is_known = constants.read(value) if isinstance(value, float) else (Fraction(value), 1, 0, True)
    run.rounded |= not is_known
    v = constants.element(q, r, k, run.root_of_pi, run.p)
    if q and not v:
        raise CannotTell(LOST)
    n, below = (q.numerator * r).bit_length() + max(k, 0), q.denominator.bit_length() + max(-k, 0)
    m = run.unit if k == 0 and q.denominator == 1 else run.denominator({("constant", q.denominator, k, below): 1})
    return Number(constants.decimal_of(q, r, k), v, n, m, "constant", (q,) if (r, k) == (1, 0) else (), 0)


def order(a, b):
    """Return -1, 0 or 1 for a < b, a = b or a > b, and None if one is NaN. Raises CannotTell at a tie."""
    if not (a.d.is_finite() and b.d.is_finite()):
        return None if a.d.is_nan() or b.d.is_nan() else (a.d > b.d) - (a.d < b.d)
    difference = a.d - b.d
    is_small, on = abs(difference) <= EQUAL * max(abs(a.d), abs(b.d)), a.on | b.on
    if a.v == b.v and not is_small:
        raise CannotTell(LOST)
    if a.v != b.v and on:
        if on & DY:
            raise CannotTell("backward compares values that depend on dy, but it must be linear in dy")
        if is_small:
            raise CannotTell(
                "the function compares two values that are equal at these inputs, but not at all others (a tie)"
            )
        run.decide(a.v - b.v)
    return 0 if is_small else 1 if difference > 0 else -1
