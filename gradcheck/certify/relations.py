"""Functions that are not rational: their values are random elements of the field that satisfy these relations.

    exp(a + b) = exp a · exp b     exp(c a) = (exp a)^c, c = ¼ … 4     exp(log a) = a     tanh through exp
    log|a b| = log|a| + log|b|     log|a^c| = c log|a|                 log(exp a) = a     cos² + sin² = 1
    √a = r with r² = a             √|a b| = √|a| √|b|                  √(a²) = |a|        erf, sin odd, cos even

An argument is looked up by its field value. If no relation connects an argument to a known one, the value of the
function is a new random element. Every relation is true, so none makes a false identity look true. A relation that is
missing can make a true identity look false.
"""

import contextlib
import decimal
import gc
from fractions import Fraction
from operator import add

from gradcheck.certify import scalar
from gradcheck.certify.constants import PI, element, root_of
from gradcheck.certify.scalar import CannotTell, Number, divide, lift, make, minus, multiply, plus

DIGITS = decimal.Context(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])
QUARTERS = (1, 2, 3, 4, 6, 8, 12, 16)  # exp(a) is E⁴ for a random E, so exp(a · k/4) is E^k


class Denominator:
    """A product of powers, as {atom: exponent}, and its size. An atom is a tuple whose last entry is its size."""

    def __init__(self, powers):
        self.powers, self.size = powers, sum(atom[-1] * k for atom, k in powers.items())


class Run:
    """A random point of the field: all random elements, found by the field values of the functions' arguments."""

    def __init__(self, rng, p):
        self.rng, self.p, self.root_of_pi = rng, p, rng.randrange(1, p)
        self.constants, self.decisions, self.rounded, self.created, self.largest = {}, set(), False, 0, 0
        self.squares, self.elements, self.exps, self.denominators, self.combinations = {}, {}, {}, {}, {}
        self.unit = self.denominator({})
        self.multiples = {s * k * pow(4, -1, p) % p: s * k for k in QUARTERS for s in (1, -1)}

    @contextlib.contextmanager
    def computing(self):
        """Make this the current Run, and set the precision of decimals, within the `with` block."""
        collects, scalar.run = gc.isenabled(), self
        gc.disable()  # the garbage collector would traverse all numbers repeatedly
        try:
            with decimal.localcontext(DIGITS):
                yield
        finally:
            scalar.run = None
            if collects:
                gc.enable()

    @property
    def known(self):
        """Return the number of known field values, to which a new value is compared."""
        return len(self.squares) + len(self.elements) + len(self.exps)

    def denominator(self, powers):
        """Return the Denominator of {atom: exponent}. Equal powers give the same object."""
        key = frozenset(powers.items())
        if key not in self.denominators:
            self.denominators[key] = Denominator(powers)
        return self.denominators[key]

    def combined(self, a, b, how):
        """Combine two Denominators to their product (`how` is operator.add) or least common multiple (`how` is max)."""
        if b is self.unit or a is self.unit:
            return a if b is self.unit else b
        if (a, b, how) not in self.combinations:
            powers = a.powers | {atom: how(a.powers.get(atom, 0), k) for atom, k in b.powers.items()}
            self.combinations[a, b, how] = self.denominator(powers)
        return self.combinations[a, b, how]

    def atom(self, b, k=1):
        """Return the Denominator that is the k-th power of the numerator of b."""
        return self.denominator({(b.v, b.m, b.n): k})

    def element(self, *key, d=None, on=1):
        """Return the random number that belongs to a key, with the decimal value d. The first call draws it."""
        if key not in self.elements:
            self.elements[key] = Number(d, self.rng.randrange(1, self.p), 1, self.unit, key[0], (), on)
        return self.elements[key]

    def odd(self, name, a):
        """Return the field value of the odd function `name` at a."""
        v = self.element(name, min(a.v, self.p - a.v)).v
        return 0 if not a.v else v if a.v < self.p - a.v else self.p - v

    def decide(self, v):
        """Record that the sign of the number with the field value v was used in a comparison."""
        self.decisions.add(min(v % self.p, -v % self.p))

    def product(self, d, powers, op, args):
        """Return the product of [(Number, exponent)] as a Number with the digits d."""
        above, below, n, m = 1, 1, 0, self.unit
        for b, k in powers:
            if k < 0:
                below, n, more = below * pow(b.v, -k, self.p) % self.p, n - k * b.m.size, self.atom(b, -k)
            else:
                above, n = above * pow(b.v, k, self.p) % self.p, n + k * b.n
                more = self.denominator({atom: k * i for atom, i in b.m.powers.items()})
            m = self.combined(m, more, add)
        return make(d, above * pow(below, -1, self.p) % self.p, n, m, op, args, args[0].on)

    def exp(self, u):
        if not u.d.is_finite():
            return lift(float(u.d.exp()))
        return self.product(u.d.exp(), self.exponential(u, 1), "exp", (u,))

    def exponential(self, u, scale):
        """Return exp(scale · u) as a list of (Number, exponent), where the scale is an element of the field.

        The sum u is split into its terms, and constant factors are multiplied into the scale.
        """
        quarters, others, pending = {}, [], [(u, scale)]
        while pending:
            a, c = pending.pop()
            key, (x, y) = c * a.v % self.p, (*a.args, None, None)[:2]
            if not key:
                continue
            if key not in self.exps:
                if a.op in ("add", "subtract"):
                    pending += [(x, c), (y, c if a.op == "add" else -c)]
                elif a.op == "multiply" and not (x.on and y.on):
                    pending.append((y, c * x.v) if not x.on else (x, c * y.v))
                elif a.op == "divide" and not y.on:
                    pending.append((x, c * pow(y.v, -1, self.p)))
                elif a.op == "log" and c % self.p in self.multiples:
                    others += self.powers(x, Fraction(self.multiples[c % self.p], 4))
                else:
                    e = self.element("exp", key)
                    for multiple, k in self.multiples.items():
                        self.exps.setdefault(key * multiple % self.p, (e, k))
            if key in self.exps:
                e, k = self.exps[key]
                quarters[e] = quarters.get(e, 0) + k
        return [*quarters.items(), *others]

    def log(self, a):
        """Return log a as the sum of log |b| over the factors b of a."""
        if not a.d > 0 or not a.d.is_finite():
            return lift(float(a.d.ln()))
        total = lift(0)
        for b, c in factors(a):
            first = b
            while first.op == "add":
                first = first.args[0]
            if first.op == "exp":  # log(exp u + …) = u + log(1 + …)
                total = plus(total, multiply(lift(c), first.args[0]))
                b = divide(b, first)
            if b.v not in (1, self.p - 1):
                leaf = self.element("log", min(b.v, self.p - b.v), d=abs(b.d).ln(), on=b.on)
                total = plus(total, multiply(lift(c), leaf))
        return make(a.d.ln(), total.v, total.n, total.m, "log", (a,), a.on)

    def power(self, a, c):
        """Return a^c for a Fraction c."""
        if c.denominator == 1 and (a.v or c > 0):
            return self.product(a.d ** int(c), [(a, int(c))], "power", (a, c)) if c else lift(1)
        if a.v and not a.d:
            raise CannotTell(
                "the function takes a root of a number that is zero at these inputs, but not at all others (a kink)"
            )
        if not (a.v and a.d > 0 and a.d.is_finite()):
            return lift(0 if c > 0 and not a.v else float("nan" if a.v else "inf"))
        d = a.d.sqrt() ** int(2 * c) if c.denominator == 2 else a.d ** (decimal.Decimal(c.numerator) / c.denominator)
        return self.product(d, self.powers(a, c), "power", (a, c))

    def powers(self, a, c):
        """Return a^c for a positive number a, as a list of (Number, exponent)."""
        found = []
        for b, k in factors(a):
            if b.op == "exp":
                found += self.exponential(b.args[0], element(k * c, 1, 0, 1, self.p))
            else:
                found += self.powers_of_factor(b, k * c)
        return found

    def powers_of_factor(self, b, c):
        """Return |b|^c as a list of (Number, exponent).

        A new root is a random element r, and from then on r² replaces its square (see scalar.make).
        """
        if b.on and c % 2:
            self.decide(b.v)
        b = b if b.d > 0 else minus(b)
        while c.denominator % 2 == 0:
            parts = root_of(b.args[0]) if b.op == "constant" and b.args else None
            if parts is None:
                root = self.element("root", b.v, d=b.d.sqrt(), on=b.on)
                square = root.v**2 % self.p
                self.squares[b.v], self.squares[self.p - b.v] = square, self.p - square
                self.elements["root", square] = root
            else:
                v = element(*parts, 0, 1, self.p)
                root = Number(b.d.sqrt(), v, b.n, self.denominator({("root", b.m, b.m.size): 1}), "root", (), 0)
            b, c = root, 2 * c
        whole, rest = divmod(c, 1)
        return [(b, int(whole))] + ([(self.element("power", b.v, rest), 1)] if rest else [])

    def erf(self, a):
        if not a.d.is_finite():
            return lift(float(error_function(a.d)))
        return make(error_function(a.d), self.odd("erf", a), 1, self.unit, "erf", (a,), a.on)

    def turn(self, a):
        """Return (cos a, sin a) = (1 − t², 2t) / (1 + t²) with t = tan(a/2)."""
        t = self.odd("tan", a)
        below, m = pow(1 + t * t, -1, self.p), self.denominator({("turn", t, 3): 1})
        pairs = zip(cosine_and_sine(a.d), (1 - t * t, 2 * t), strict=True)
        return [make(d, v * below % self.p, 3, m, "turn", (a,), a.on) for d, v in pairs]


def factors(a):
    """Return [(b, c)] with |a| = Π |b|^c, where no b is a product, a quotient or a power."""
    found, pending = [], [(a, Fraction(1))]
    while pending:
        b, c = pending.pop()
        if b.op in ("multiply", "divide"):
            pending += [(b.args[0], c), (b.args[1], c if b.op == "multiply" else -c)]
        elif b.op == "power":
            pending.append((b.args[0], c * b.args[1]))
        else:
            found.append((b, c))
    return found


def error_function(x):
    """Return erf x = 2/√π · exp(−x²) · Σ_k 2^k x^(2k+1) / (1 · 3 · … · (2k+1))."""
    if abs(x) > 12:  # it differs from ±1 by less than 1e-63
        return decimal.Decimal(1).copy_sign(x)
    term, total, k = x, x, 0
    while abs(term) > abs(total) * decimal.Decimal("1e-62"):
        k += 1
        term *= 2 * x * x / (2 * k + 1)
        total += term
    return 2 / PI.sqrt() * (-x * x).exp() * total


def cosine_and_sine(x):
    """Return (cos x, sin x), computed by their power series."""
    with decimal.localcontext() as context:
        context.prec += 30
        x = x.remainder_near(2 * PI)
        term, sums = decimal.Decimal(1), [decimal.Decimal(0), decimal.Decimal(0)]
        for k in range(100):
            sums[k % 2] += term if k % 4 < 2 else -term
            term *= x / (k + 1)
    return +sums[0], +sums[1]
