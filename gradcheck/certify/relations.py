"""Functions that are not rational, such as exp, log and the roots.

The value of such a function is a random element of the field, subject to these relations:

    exp(a + b) = exp a · exp b     exp(c a) = (exp a)^c, c = ¼ … 4     exp(log a) = a     tanh through exp
    log|a b| = log|a| + log|b|     log|a^c| = c log|a|                 log(exp a) = a     erf, arctan, arcsin odd
    √a = r with r² = a             √|a b| = √|a| √|b|                  √(a²) = |a|        cube and fifth roots likewise
    cos a + i sin a = exp(i a), of modulus 1, with the first two relations of exp

If the two sides agree in their digits but not in the field, they are computed once more with two further relations:
products of sums among the terms of an exponent are expanded, and common factors are taken out of sums under a root.

An argument is looked up by its field value. If no relation connects an argument to a known one, the value of the
function is a new random element. Every relation is true, so none makes a false identity look true. A missing relation
can make a true identity look false.
"""

import contextlib
import decimal
from fractions import Fraction
from functools import cache

from gradcheck.certify import scalar
from gradcheck.certify.constants import has_root
from gradcheck.certify.decimals import PI, arctangent, cosine_and_sine, error_function
from gradcheck.certify.scalar import NOISE, CannotTell, Number, bits, digits, lift, multiply

DIGITS = decimal.Context(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])
QUARTERS = (1, 2, 3, 4, 6, 8, 12, 16)  # exp(a) is E⁴ for a random E, so exp(a · k/4) is E^k
ROOTS = (2, 3, 5)


class Run:
    """A random point of the field, and the values of functions at this point.

    The value of a function is looked up by the name of the function and the field value of its argument.

        constants    maps each constant to its Number
        decisions    {line of code that compares values: {difference of the field values: True if the first is greater}}
        rounded      True if a float constant was read as its exact binary value
        created      how many Numbers were created
        largest      the largest size of a Number
        expands      True if exponents are expanded and common factors are taken out of sums
    """

    def __init__(self, rng, p, expands=False):
        self.rng, self.p, self.expands, self.root_of_pi = rng, p, expands, rng.randrange(1, p)
        self.constants, self.decisions, self.rounded, self.created, self.largest = {}, {}, False, 0, 0
        self.squares, self.elements, self.parts, self.sums = {}, {}, {}, {}
        self.raised = cache(lambda v, k: pow(v, k, p))
        self.multiples = {s * k * pow(4, -1, p) % p: s * k for k in QUARTERS for s in (1, -1)}

    @contextlib.contextmanager
    def computing(self):
        """Make this run the current one and set the decimal precision within a `with` block."""
        scalar.run = self
        try:
            with decimal.localcontext(DIGITS):
                yield
        finally:
            scalar.run = None

    @property
    def known(self):
        """The number of known field values."""
        return sum(map(len, (self.squares, self.elements, self.parts, self.sums)))

    def residue(self, q):
        return q.numerator * pow(q.denominator, -1, self.p) % self.p

    def element(self, *key, d=None, on=1):
        """Return the Number that belongs to `key`. Its field value is random."""
        if key not in self.elements:
            self.elements[key] = Number(d, self.rng.randrange(1, self.p), 1, key[0], (), on)
            self.elements[key].proof = key
        return self.elements[key]

    def odd(self, name, a):
        v = self.element(name, min(a.v, self.p - a.v)).v
        return 0 if not a.v else v if a.v < self.p - a.v else self.p - v

    def product(self, d, powers, op, args):
        v, size = 1, 0
        for b, k in powers:
            v, size = v * self.raised(b.v, k) % self.p, size + abs(k) * b.size
        number = Number(d, v, size, op, args, args[0].on)
        number.proof = tuple(powers)
        return number

    def exponential(self, u, scale, name="exp"):
        """Return exp(scale · u) as a list of (Number, exponent).

        The sum u is split into its terms. A sum that was split before has the same factors, even if its terms are now
        grouped in another way. If `name` is "turn", the result is exp(i · scale · u), and each Number is the tangent of
        half an angle.
        """
        quarters, others, pending, whole = {}, [], [(u, scale)], (name, scale * u.v % self.p)
        if whole in self.sums:
            return self.sums[whole]
        while pending:
            a, c = pending.pop()
            key, (x, y) = (name, c * a.v % self.p), (*a.args, None, None)[:2]
            if not key[1]:
                continue
            if key not in self.parts:
                if a.op == "add":
                    pending += [(x, c), (y, c)]
                elif a.op == "multiply" and not (x.on and y.on):
                    pending.append((y, c * x.v) if not x.on else (x, c * y.v))
                elif self.expands and a.op == "multiply" and "add" in (x.op, y.op):
                    x, y = (x, y) if y.op == "add" else (y, x)
                    pending += [(multiply(x, term), c) for term in y.args]
                elif a.op == "log" and name == "exp" and c % self.p in self.multiples:
                    others += self.powers(x, Fraction(self.multiples[c % self.p], 4))
                else:
                    e = self.element(*key)
                    for multiple, k in self.multiples.items():
                        self.parts.setdefault((name, key[1] * multiple % self.p), (e, k))
            if key in self.parts:
                e, k = self.parts[key]
                quarters[e.v] = e, quarters.get(e.v, (e, 0))[1] + k
        found = [*quarters.values(), *others]
        for multiple, k in self.multiples.items() if u.op in ("add", "multiply") else ():
            if all(n * k % 4 == 0 for _, n in found):
                self.sums.setdefault((name, whole[1] * multiple % self.p), [(e, n * k // 4) for e, n in found])
        return found

    def exp(self, u):
        if not u.d.is_finite():
            return lift(float(u.d.exp()))
        return self.product(u.d.exp(), self.exponential(u, 1), "exp", (u,))

    def log(self, a):
        """Return log a as the sum of log |b| over the factors b of a."""
        if not a.d.is_finite() or not (is_positive(a) or a > 0):
            return lift(float(a.d.ln()))
        terms = []  # (term, its factor, the number of which it is the logarithm)
        for b, c in factors(a):
            first = b
            while first.op == "add":
                first = first.args[0]
            if first.op == "exp":  # log(exp u + …) = u + log(1 + …)
                terms.append((first.args[0], c, first))
                b = multiply(b, self.power(first, -1))
            if b.v not in (1, self.p - 1):
                element = self.element("log", min(b.v, self.p - b.v), d=abs(b.d).ln(), on=b.on)
                terms.append((element, c, b))
        v = sum(term.v * self.residue(c) for term, c, _ in terms) % self.p
        number = Number(a.d.ln(), v, sum(term.size + bits(c) + 1 for term, c, _ in terms), "log", (a,), a.on)
        number.proof = tuple(terms)
        return number

    def power(self, a, c):
        if not c:
            return lift(1)
        if c < 0 and a.on & scalar.DY:
            raise CannotTell("backward divides by values that depend on dy, but it must be linear in dy")
        if a.v and not a.d and (c < 0 or c.denominator > 1):
            raise CannotTell(
                "the function takes a root of a number that is zero at these inputs, but not at all others (a kink)"
            )
        if not a.d.is_finite() or not (a.d > 0 or (a.d and c.denominator == 1) or (a.v and c > 0)):
            return lift(float(a.d ** digits(c)))
        if c.denominator == 1:
            return self.product(1 / a.d if c == -1 else a.d ** int(c), [(a, int(c))], "power", (a, c))
        d = a.d.sqrt() ** int(2 * c) if c.denominator == 2 else a.d ** digits(c)
        return self.product(d, self.powers(a, c), "power", (a, c))

    def powers(self, a, c):
        """Return a^c for a positive number a, as a list of (Number, exponent)."""
        found = []
        for b, k in factors(a):
            k *= c
            if b.op == "exp":
                found += self.exponential(b.args[0], self.residue(k))
                continue
            b = abs(b)
            if b.v == 1:
                continue
            for n in ROOTS:
                while k.denominator % n == 0:
                    b, k = self.root(b, n), n * k
            whole, rest = divmod(k, 1)
            found.append((b, int(whole)))
            if rest:
                found.append((self.element("power", b.v, rest), 1))
        return found

    def root(self, a, n):
        """Return the n-th root of a.

        The roots of some constants are known. For other numbers, a random root r is drawn, and rⁿ replaces the field
        value of a (see scalar.Number).
        """
        if n == 2 and a.op == "constant" and a.args and has_root(a.args[0]):
            number = Number(a.d.sqrt(), pow(a.v, (self.p + 1) // 4, self.p), a.size, "constant")
            number.proof = (None, Fraction(1), *a.args, 0)
            return number
        d = a.d.sqrt() if n == 2 else a.d ** digits(Fraction(1, n))
        r = self.element("root", n, a.v, d=d, on=a.on)
        power = pow(r.v, n, self.p)
        self.squares[a.v], self.squares[self.p - a.v] = (power, n), (self.p - power, n)
        self.elements["root", n, power] = r
        return r

    def erf(self, a):
        if not a.d.is_finite():
            return lift(1 if a.d > 0 else -1)
        return Number(error_function(a.d), self.odd("erf", a), 1, "erf", (a,), a.on)

    def arc(self, name, a):
        """Compute arctan a or arcsin a."""
        below = 1 - a.d * a.d
        if name == "arcsin" and below <= NOISE:  # at ±1, but for the last digits
            return Number((PI / 2).copy_sign(a.d), self.odd(name, a), 1, name, (a,), a.on)
        d = a.d if name == "arctan" else a.d / below.sqrt()
        return Number(arctangent(d), self.odd(name, a), 1, name, (a,), a.on)

    def turn(self, a):
        """Return (cos a, sin a), by rotating (1, 0) through each part of the angle a."""
        c, s, size, parts = 1, 0, 0, self.exponential(a, 1, "turn")
        for e, k in parts:
            t = e.v if k > 0 else -e.v
            below = pow(1 + t * t, -1, self.p)
            x, y = (1 - t * t) * below % self.p, 2 * t * below % self.p
            for _ in range(abs(k)):
                c, s = (c * x - s * y) % self.p, (s * x + c * y) % self.p
            size += 3 * abs(k)
        pair = [Number(d, v, size, "turn", (a,), a.on) for d, v in zip(cosine_and_sine(a.d), (c, s), strict=True)]
        for number, function in zip(pair, ("cos", "sin"), strict=True):
            number.proof = (function, parts)
        return pair


def is_positive(a):
    """Return True if a number is positive for all inputs: sums, products and powers of exponentials and constants."""
    pending = [a]
    while pending:
        b = pending.pop()
        if b.op in ("add", "multiply"):
            pending += b.args
        elif b.op == "power" and b.args and b.args[1] % 2:
            pending.append(b.args[0])
        elif b.op not in ("exp", "power", "root") and (b.on or not b.d > 0):
            return False
    return True


def factors(a):
    """Return a list of (b, c) with |a| = Π |b|^c, where no b is a product or a power."""
    found, pending = [], [(a, Fraction(1))]
    while pending:
        b, c = pending.pop()
        if b.op == "multiply":
            pending += [(b.args[0], c), (b.args[1], c)]
        elif b.op == "power":
            pending.append((b.args[0], c * b.args[1]))
        elif b.op == "add" and scalar.run.expands:
            for base, k in common_factors(b).values():
                found.append((base, c * k))
                b = multiply(b, scalar.run.power(base, Fraction(-k)))
            found.append((b, c))
        else:
            found.append((b, c))
    return found


def common_factors(a):
    """Return {field value: (b, k)} such that b^k divides every term of a sum, with whole k > 0."""
    if a.op == "multiply":
        x, y = map(common_factors, a.args)
        return x | {v: (b, k + x.get(v, (b, 0))[1]) for v, (b, k) in y.items()}
    if a.op == "power" and a.args[1] > 0 and a.args[1].denominator == 1:
        return {v: (b, k * int(a.args[1])) for v, (b, k) in common_factors(a.args[0]).items()}
    if a.op == "add":
        x, *others = [common_factors(term) for term in a.args if term.v]
        return {v: (b, min([k, *(y[v][1] for y in others)])) for v, (b, k) in x.items() if all(v in y for y in others)}
    return {a.v: (a, 1)} if a.on else {}
