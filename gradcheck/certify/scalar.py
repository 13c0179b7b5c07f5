"""A real number that is computed twice: to 60 decimal digits, and in a finite field.

The digits decide every comparison. The field value is the value of a formula at a random point: each input, and each
value of a function that is not rational (see relations.py), is replaced by a random element of the field. Two formulas
with equal field values are identical, except with a small probability that grows with their size. The size of a formula
is an upper bound on the degrees of the numerator and the denominator, and on the logarithm to base 2 of the sum of the
absolute values of their coefficients.

Every operation is an addition, a multiplication, a power, or a function of relations.py. If an operand has a tangent
(its derivative along a direction), `differentiable` applies the chain rule.
"""

import decimal
import numbers
import sys
from fractions import Fraction
from typing import Any

import numpy as np

from gradcheck.certify.constants import read
from gradcheck.certify.decimals import PI

EQUAL = decimal.Decimal("1e-40")  # relative: closer numbers are equal in their digits
NOISE = decimal.Decimal("1e-50")
INPUTS, DY, MOVING = 1, 2, 4

run: Any = None  # the current Run (relations.py), set by Run.computing


class CannotTell(Exception):  # noqa: N818 (it is a verdict, not an error)
    """The function can be neither certified nor refused. The message gives the reason."""


def differentiable(slopes):
    """Return a decorator that makes a function of Numbers propagate tangents.

    `slopes(y, *inputs)` returns the derivatives ∂y/∂x with respect to each input x.
    """

    def extended(function):
        def apply(*inputs):
            y = function(*inputs)
            if y.on & MOVING:
                d, v, size = decimal.Decimal(0), 0, 0
                y.slopes = [(slope, x) for slope, x in zip(slopes(y, *inputs), inputs, strict=False) if x.tangent]
                for slope, x in y.slopes:
                    d += slope.d * x.tangent[0]
                    v += slope.v * x.tangent[1]
                    size += slope.size + x.tangent[2] + 1
                y.tangent = d, v % run.p, size
            return y

        return apply

    return extended


@differentiable(lambda y, a, b: (lift(1), lift(1)))
def add(a, b):
    d, v = a.d + b.d, (a.v + b.v) % run.p
    if not v and d.is_finite():
        d = decimal.Decimal(0)
    return Number(d, v, a.size + b.size + 1, "add", (a, b), a.on | b.on)


@differentiable(lambda y, a, b: (b, a))
def multiply(a, b):
    return Number(a.d * b.d, a.v * b.v % run.p, a.size + b.size, "multiply", (a, b), a.on | b.on)


@differentiable(lambda y, a, b: [multiply(b, run.power(a, b.args[0] - 1))])
def rational_power(a, b):
    return run.power(a, b.args[0])


def power(a, b):
    return rational_power(a, b) if b.op == "constant" and b.args else exp(multiply(b, log(a)))


exp = differentiable(lambda y, a: [y])(lambda a: run.exp(a))
log = differentiable(lambda y, a: [run.power(a, -1)])(lambda a: run.log(a))
erf = differentiable(lambda y, a: [lift(2 / np.sqrt(np.pi)) * run.exp(-a * a)])(lambda a: run.erf(a))
sin = differentiable(lambda y, a: [run.turn(a)[0]])(lambda a: run.turn(a)[1])
cos = differentiable(lambda y, a: [-run.turn(a)[1]])(lambda a: run.turn(a)[0])
arctan = differentiable(lambda y, a: [run.power(1 + a * a, -1)])(lambda a: run.arc("arctan", a))
arcsin = differentiable(lambda y, a: [run.power(1 - a * a, Fraction(-1, 2))])(lambda a: run.arc("arcsin", a))


def operator(rule):
    """Return the two methods of a binary operator, such as `__add__` and `__radd__`."""

    def method(self, other):
        return NotImplemented if isinstance(other, np.ndarray) else rule(self, lift(other))

    return method, lambda self, other: rule(lift(other), self)


def comparison(*signs):
    return lambda self, other: order(self, lift(other)) in signs


class Number:
    """A real number, as decimal digits and as an element of the field.

    d          the decimal digits
    v          the field value; if v is known to have an n-th root r, the value is replaced with r^n
    size       the bound on the size of the formula
    op         the operation that produced the number
    args       the operands of this operation
    on         a bit for each kind of variable on which it depends: INPUTS, DY, and MOVING (inputs with a tangent)
    tangent    the derivative along a direction as (d, v, size), or None
    slopes     the terms of the tangent, as [(the derivative with respect to x, x)]
    proof      the numbers from which a function of relations.py has composed the value (see trace.py)
    """

    __slots__ = ("args", "d", "on", "op", "proof", "size", "slopes", "tangent", "v")

    def __init__(self, d, v, size, op, args=(), on=0):
        run.created += 1
        if v in run.squares:
            v, size = run.squares[v]
        if size > run.largest:
            run.largest = size
        self.d, self.v, self.size, self.op, self.args, self.on = d, v, size, op, args, on
        self.tangent, self.slopes, self.proof = None, (), ()

    __add__, __radd__ = operator(add)
    __sub__, __rsub__ = operator(lambda a, b: add(a, -b))
    __mul__, __rmul__ = operator(multiply)
    __truediv__, __rtruediv__ = operator(lambda a, b: multiply(a, rational_power(b, lift(-1))))
    __pow__, __rpow__ = operator(power)
    __lt__, __gt__, __le__, __ge__ = comparison(-1), comparison(1), comparison(-1, 0), comparison(1, 0)
    __eq__, __ne__ = comparison(0), comparison(-1, 1, None)

    def __hash__(self):
        if self.on:
            raise CannotTell("the function puts a value that depends on the inputs into a set or a dictionary")
        return hash(self.v)

    def __neg__(self):
        return multiply(lift(-1), self)

    def __abs__(self):
        return -self if self < 0 else self

    def __bool__(self):
        return self != 0

    def __float__(self):
        if self.on:
            raise CannotTell("the function converts a value that depends on the inputs to a float")
        return float(self.d)

    def conjugate(self):
        return self


def lift(value):
    """Convert a constant to a Number, an exact real number. A Number is returned unchanged."""
    if type(value) is Number:
        return value
    if isinstance(value, (np.generic, np.ndarray)) and not np.ndim(value):
        return lift(value.item())
    value = float("nan") if value is None else value  # an entry of np.empty
    if not isinstance(value, numbers.Real):
        raise CannotTell(f"the function computes with a value of type {type(value).__name__}")
    if value not in run.constants:
        run.constants[value] = constant(value)
    return run.constants[value]


def constant(value):
    """Create the Number for a constant. If it is rational, `args` contains a Fraction."""
    if isinstance(value, float) and not np.isfinite(value):
        return Number(decimal.Decimal(value), 0, 0, "constant")
    meaning = read(value) if isinstance(value, float) else (Fraction(value), Fraction(1), 0)
    run.rounded |= meaning is None
    q, s, k = meaning or (Fraction(value), Fraction(1), 0)
    d = digits(q) if (s, k) == (1, 0) else digits(q) * digits(s).sqrt() * PI.sqrt() ** k
    v = run.residue(q) * pow(run.residue(s), (run.p + 1) // 4, run.p) * pow(run.root_of_pi, k, run.p) % run.p
    number = Number(d, v, bits(q) + bits(s) + abs(k), "constant", (q,) if (s, k) == (1, 0) else ())
    number.proof = (value if isinstance(value, float) else None, q, s, k)
    return number


def bits(q):
    return q.numerator.bit_length() + q.denominator.bit_length()


def digits(q):
    return decimal.Decimal(q.numerator) / q.denominator


def order(a, b):
    """Return -1, 0 or 1 if a < b, a = b or a > b, and None if one of them is NaN.

    Raises CannotTell if the numbers are equal only at these inputs, or if they differ and depend on dy.
    """
    if not (a.d.is_finite() and b.d.is_finite()):
        return None if a.d.is_nan() or b.d.is_nan() else (a.d > b.d) - (a.d < b.d)
    difference, on = abs(a.d - b.d), a.on | b.on
    is_small = difference <= EQUAL * max(abs(a.d), abs(b.d))
    is_small |= "add" in (a.op, b.op) and 0 < difference <= NOISE  # all digits may be lost to cancellation
    if a.v != b.v and on:
        if on & DY:
            raise CannotTell("backward compares values that depend on dy, but it must be linear in dy")
        if is_small:
            raise CannotTell(
                "the function compares two values that are equal at these inputs, but not at all others (a tie)"
            )
        decide(a, b)
    return 0 if is_small else 1 if a.d > b.d else -1


def decide(a, b):
    """Record which line of code compared the two numbers, and the result."""
    frame = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").startswith(("numpy", "scipy", "gradcheck.certify")):
        frame = frame.f_back
    place = (frame.f_code.co_filename, frame.f_lineno) if frame else ("", 0)
    known, difference = run.decisions.setdefault(place, {}), (a.v - b.v) % run.p
    if run.p - difference not in known:
        known[difference] = bool(a.d > b.d)
