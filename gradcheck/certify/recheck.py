"""Check the computation of a certificate, from a file that certify or same has written.

    python recheck.py FILE …

This program shares no code with the one that wrote the file, and needs only Python. It tests that the modulus is prime,
repeats every operation in the field and in floats, derives the slopes of every function by its own rules, and tests
that each value of exp, log, a root, sine, cosine or erf is composed as their functional equations allow. The file must
list the operations of the function that was certified: this program does not see the function.

Exit status: 0 if the two sides are equal in every file, 1 if they are not, or are not computed as the rows say.
"""

import json
import math
import operator
import random
import sys
from fractions import Fraction
from functools import cache, partialmethod

ROUNDS = 64
CLOSE = 1e-9  # relative difference of the two sides in floats
FLOATS = {"add": operator.add, "multiply": operator.mul, "exp": math.exp, "log": math.log, "erf": math.erf}
FLOATS |= {"sin": math.sin, "cos": math.cos, "arctan": math.atan, "arcsin": math.asin}


class Wrong(Exception):  # noqa: N818 (the message is the verdict)
    """A row does not follow from the rows before it."""


def require(condition, words):
    if not condition:
        raise Wrong(words)


@cache  # the files of one process have the same prime
def is_prime(n):
    """Test by Miller and Rabin. A composite number of the form 4 m + 3 passes with probability below 4^-ROUNDS."""
    draw = random.SystemRandom()
    return n % 4 == 3 and all(pow(draw.randrange(2, n - 1), n // 2, n) in (1, n - 1) for _ in range(ROUNDS))


class Check:
    """The repetition of one file.

    For each row: `values` in the field, `floats` (None for a random element), and `moves` (True if the number depends
    on an input with a direction). The value of a number that has an n-th root r is replaced with rⁿ; `before` has the
    values before that. `elements` maps the definition of each random element to its value.
    """

    def __init__(self, content):
        self.p, self.content, self.rows = int(content["prime"], 16), content, content["rows"]
        self.root_of_pi = int(content["root of pi"], 16)
        self.values, self.before, self.floats, self.moves = [], [], [], []
        self.elements, self.replaced, self.radicands, self.logarithms = {}, {}, {}, {}
        for n, v, r in content["roots"]:
            v, power = int(v, 16), pow(int(r, 16), n, self.p)
            self.replaced |= {v: power, self.p - v: self.p - power}
            if v != power:
                self.radicands[int(r, 16)] = n, v
        self.moving = {row[1] for row in self.rows if row[0] == "direction" and row[2] is not None}

    def run(self):
        require(is_prime(self.p), "the modulus is not a prime of the form 4 n + 3")
        for i, row in enumerate(self.rows):
            try:
                value = getattr(self, f"row_{row[0]}")(*row[1:]) % self.p
                self.before.append(value)
                self.values.append(self.replaced.get(value, value))
                given = int(row[-1], 16) if isinstance(row[-1], str) else self.values[i]
                require(given == self.values[i], "the value is not that of its operands")
            except Wrong as wrong:
                raise Wrong(f"row {i}, {row[0]}: {wrong}") from wrong
            self.floats.append(self.float_of(row))
            self.moves.append(i in self.moving or any(self.moves[j] for j in operands(row)))
        for i, j in self.content["equal"]:
            require(self.values[i] == self.values[j], f"the sides in rows {i} and {j} differ")
            a, b = self.floats[i], self.floats[j]
            is_known = a is not None and b is not None and math.isfinite(a) and math.isfinite(b)
            is_close = not is_known or abs(a - b) <= CLOSE * max(1, abs(a), abs(b))
            require(is_close, f"the sides in rows {i} and {j} differ in floats")
        return len(self.rows), len(self.content["equal"])

    def float_of(self, row):
        """Compute the number of a row in floats, or return None if it is not known."""
        name, numbers = row[0], [self.floats[i] for i in operands(row)]
        try:
            if name == "variable":
                return row[1]
            if name == "constant":
                return float(Fraction(row[2])) * math.sqrt(Fraction(row[3])) * math.pi ** (row[4] / 2)
            if name == "power":
                return numbers[0] ** (float(Fraction(row[2])) if "/" in row[2] else int(row[2]))
            if name == "slopes":
                return sum(self.floats[slope] * self.floats[tangent] for slope, _, tangent in row[2])
            if name in ("direction", "tangent"):
                return self.floats[row[-2 if name == "tangent" else 2]] if row[-1] is not None else 0.0
            return FLOATS[name](*numbers) if name in FLOATS else None
        except (ArithmeticError, TypeError, ValueError):  # also for an operand that is not known
            return None

    def residue(self, q):
        q = Fraction(q)
        return q.numerator * pow(q.denominator, -1, self.p) % self.p

    # Rational operations

    def row_variable(self, _, value):
        return int(value, 16)

    def row_constant(self, x, q, s, k, _):
        root = pow(self.residue(s), (self.p + 1) // 4, self.p)
        require(root * root % self.p == self.residue(s), f"{s} has no square root in the field")
        number = self.float_of(["constant", x, q, s, k])
        require(x is None or abs(x - number) <= 1e-14 * abs(number), f"{x!r} is not {number!r}")
        return self.residue(q) * root * pow(self.root_of_pi, k, self.p)

    def row_add(self, a, b, _):
        return self.values[a] + self.values[b]

    def row_multiply(self, a, b, _):
        return self.values[a] * self.values[b]

    # Other functions. A random element stands for a function of the number that its key gives

    def row_element(self, function, key, value):
        known = self.elements.setdefault((function, *key), int(value, 16))
        require(known == int(value, 16), f"{function} of the same number has two values")
        return known

    def is_element(self, i, *functions):
        return self.rows[i][0] == "element" and self.rows[i][1] in functions

    def logarithm_of(self, i):
        """Return the logarithm of the positive number in row i, which may be a part of exp, a root or a power."""
        if self.is_element(i, "exp"):
            return int(self.rows[i][2][0], 16) * pow(4, -1, self.p)  # the element is exp(key / 4)
        value, exponent = self.definition(i)
        value = self.replaced.get(value, value)
        known = self.logarithms.get(value, self.elements.get(("log", hex(min(value, self.p - value)))))
        require(known is not None, "the logarithm of a factor is not known")
        return self.residue(exponent) * known

    def definition(self, i):
        """Return (v, exponent): the number in row i is v^exponent, as a root or a power by its definition."""
        if self.is_element(i, "power"):
            return int(self.rows[i][2][0], 16), Fraction(self.rows[i][2][1])
        if self.is_element(i, "root"):
            n, v = self.radicands[self.values[i]]
            return v, Fraction(1, n)
        return self.before[i], Fraction(1)

    def product(self, factors):
        return math.prod(pow(self.values[i], k, self.p) for i, k in factors)

    def row_exp(self, u, _, factors, __):
        total = sum(k * self.logarithm_of(i) for i, k in factors)
        require((total - self.values[u]) % self.p == 0, "the factors are not those of the exponential")
        return self.product(factors)

    def row_power(self, a, c, factors, _):
        c, positive = Fraction(c), [self.floats[i] is None or self.floats[i] > 0 for i in [a, *(i for i, _ in factors)]]
        require(c.denominator == 1 or all(positive), "a root of a number that is not positive")
        bases = [(self.definition(i), (self.values[i], Fraction(1)), k) for i, k in factors]
        n = math.lcm(c.denominator, *(definition[1].denominator for definition, _, _ in bases))
        sides = [(1, self.before[a]), (1, self.values[a])]  # before and after the replacement, both to the power n
        for *both, k in bases:
            sides = [
                (x * pow(v, int(e * k * n), self.p) % self.p, y) for (v, e), (x, y) in zip(both, sides, strict=True)
            ]
        equal = any(x == pow(y, int(c * n), self.p) for x, y in sides)
        require(equal, "the factors are not those of the power")
        return self.product(factors)

    def row_log(self, a, terms, _):
        n, product = math.lcm(1, *(Fraction(c).denominator for _, c, _ in terms)), 1
        for term, c, factor in terms:
            product = product * pow(self.values[factor], int(Fraction(c) * n), self.p) % self.p
            is_exponent = self.rows[factor][:2] == ["exp", term]  # the logarithm of exp u is u
            of = int(self.rows[term][2][0], 16) if self.is_element(term, "log") else None
            is_logarithm = of in (self.values[factor], self.p - self.values[factor])
            require(is_exponent or is_logarithm, "a term is not the logarithm of its factor")
        power = pow(self.values[a], n, self.p)
        require(product in (power, self.p - power), "the factors are not those of the number")
        total = sum(self.values[term] * self.residue(c) for term, c, _ in terms) % self.p
        self.logarithms[self.values[a]] = total
        return total

    def rotation(self, a, parts):
        """Return cos a and sin a. Each part is the tangent t of half an angle."""
        c, s, total = 1, 0, 0
        for i, k in parts:
            require(self.is_element(i, "turn"), "a part is no angle")
            t = self.values[i] if k > 0 else -self.values[i]
            total += k * int(self.rows[i][2][0], 16) * pow(4, -1, self.p)
            below = pow(1 + t * t, -1, self.p)
            for _ in range(abs(k)):
                c, s = (c * (1 - t * t) - s * 2 * t) * below % self.p, (s * (1 - t * t) + c * 2 * t) * below % self.p
        require((total - self.values[a]) % self.p == 0, "the parts are not those of the angle")
        return c, s

    row_cos, row_sin = (partialmethod(lambda self, i, a, parts, _: self.rotation(a, parts)[i], i) for i in (0, 1))

    def odd(self, name, a, element, _):
        small = min(self.values[a], self.p - self.values[a])
        known = self.row_element(name, [hex(small)], element)
        return 0 if not self.values[a] else known if small == self.values[a] else -known

    row_erf = partialmethod(odd, "erf")
    row_arctan = partialmethod(odd, "arctan")
    row_arcsin = partialmethod(odd, "arcsin")

    # Derivatives along a direction

    def row_direction(self, x, direction):
        require(direction is not None or not self.moves[x], "a number that moves has no derivative")
        require(direction is None or self.rows[direction][0] == "variable", "the direction is no variable")
        return 0 if direction is None else self.values[direction]

    def row_slopes(self, y, terms):
        row = self.rows[y]
        expected = sorted(x for x in operands(row) if self.moves[x])
        require(sorted(x for _, x, _ in terms) == expected, "an operand is left out")
        for slope, x, tangent in terms:
            of = self.rows[tangent]
            require(of[0] in ("slopes", "direction") and of[1] == x, "the derivative is that of another number")
            require(self.is_slope(row, y, x, slope), f"the slope of {row[0]} is wrong")
        return sum(self.values[slope] * self.values[tangent] for slope, _, tangent in terms)

    def is_slope(self, row, y, x, slope):
        name, s, a, b = row[0], self.values[slope], self.values[x], self.values[y]
        if name == "multiply":
            return s == self.values[row[2] if x == row[1] else row[1]]
        if name in ("sin", "cos"):
            c, sine = self.rotation(x, row[2])
            return s == (c if name == "sin" else -sine % self.p)
        if name == "erf":
            return self.is_slope_of_erf(slope, a)
        if name == "power":
            return (s * a - self.residue(row[2]) * b) % self.p == 0
        zero = {"add": s - 1, "exp": s - b, "log": s * a - 1, "arctan": s * (1 + a * a) - 1}
        zero["arcsin"] = s * s * (1 - a * a) - 1
        return zero[name] % self.p == 0

    def is_slope_of_erf(self, slope, a):
        """Return True if a row is 2/√π · exp(−a²)."""
        factors = sorted(operands(self.rows[slope]), key=lambda i: self.rows[i][0])
        if [self.rows[i][0] for i in factors] != ["constant", "exp"]:
            return False
        is_scale = (self.values[factors[0]] * self.root_of_pi - 2) % self.p == 0
        return is_scale and (self.values[self.rows[factors[1]][1]] + a * a) % self.p == 0

    def row_tangent(self, tangent, _):
        return self.values[tangent]


def operands(row):
    if row[0] in ("add", "multiply"):
        return row[1:3]
    return row[1:2] if row[0] == "power" or row[0] in FLOATS else []


def main(paths):
    status = 0
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                rows, equal = Check(json.load(file)).run()
        except (Wrong, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            print(f"{path}: WRONG: {error}")
            status = 1
        else:
            print(f"{path}: {rows:,} operations repeated, {equal:,} pairs equal")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
