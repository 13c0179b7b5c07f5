"""Notation: how equations are written in docstrings, for authors; and the tree that one parses to.

An equation stands on a line of its own, indented by four blanks or more, and ends, two blanks or more behind it, in its
number; the line of code that computes it ends in a comment that begins with that number. Several equations stand on one
line with two blanks or more between them. Words beside an equation, such as `(summed over positions)`, are a remark,
and are printed as they are. A line that ends in no number explains: it is executed too where it is an equation, and is
otherwise printed as it is.

        dβ = Σ_p dy    dγ = Σ_p dy · x̂    dx̂ = dy · γ       (n)

What a name holds when its function returns is what its equation is compared with; so a name is assigned once.

**Names** are a letter or a word, with a hat (`x̂`), primes (`m′`), digits (`β₁`, `norm1`) or a subscript (`W_up`). A
subscript of the letters c d i j k n o p t v is one of indices: `x_i` is an entry of x, `y_po` one of a matrix; p
numbers positions, which are the first axis, and the others count the last ones. A gradient begins with d: `dx̂` is
∂L/∂x̂. Known without being assigned are π, ∞ and ½.

**Products.** A dot multiplies entry by entry, `γ · x̂`. Names side by side are a product of matrices, `x W`, of a
number and anything, `2 x`, or of entries, `e_i δ_ij`. What stands side by side binds closest: `1/2h` is 1/(2h), and `r³
(x_i − μ)/C` is (r³ (x_i − μ))/C. Dot and stroke bind alike, from left to right; but a fraction without blanks is one
factor, so that `a · 1/C` is a · (1/C), which is the same number and another picture.

**Powers** `x²`, `β₁ᵗ`, `β₁^(t−k)`; the transpose `Wᵀ`, of the last two axes; the root `√x`, `√(σ² + ε)`; the length
`‖x‖`.

**Sums** reach to the next + or −, so `Σ y · dy` is Σ (y · dy). Σ runs over the last axis, which it keeps, as one of
length 1, and `mean(x)` does so too; beside entries `x_i` that one is an entry as well. `Σ_j` runs over an index, `Σ_p`
over all positions, every axis but the last, and `Σ_batch` over every axis but the last two.

**Functions** take parentheses, `mean(x)`, `min(a, b)`, or in the case of exp, log, tanh, erf, cos and sin what stands
next: `log Σ exp(x)`. `f′` is the derivative of f, a function of one number, and `fᵀ(dy)` f's backward of dy.

**Relations.** Besides `=`, which may stand several times, `≤`, `≥`, `<`, `>` and `≠` hold for all entries.

**Ranges.** Beside an equation, `k = 1 … t` says how far an index runs, where it is not along an axis.

**Entries.** `W[id]` is a row, `P[t, 2i]` an entry; `[c = t]` is 1 where c = t and 0 elsewhere, and so is `δ_ij`;
`∂y_i/∂x_j` is a derivative; `x where keep, else 0` chooses entry by entry.
"""

import re
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache

SUPERSCRIPTS = {"²": "2", "³": "3", "ᵗ": "t"}
PREFIX_FUNCTIONS = ("exp", "log", "tanh", "erf", "cos", "sin")
INDICES = "cdijknoptv"
WORDS = ("where", "else", "for", "and", "with", "over", "is")  # of English, which no name can be
RELATIONS = ("=", "≤", "≥", "<", ">", "≠")
LONGEST = 200  # in tokens: so deep is nothing nested that ends

LETTER = "(?:(?![Σᵀᵗ²³½ⁿ₀₁₂₃₄₅₆₇₈₉])[^\\W\\d_])"
TOKEN = re.compile(
    rf"""(?P<blank>\ +)
    |(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?|½)
    |(?P<name>∂?{LETTER}+\u0302?[₀₁₂₃₄₅₆₇₈₉]*\d*′*(?:_(?:{LETTER}|\d)+(?=\W|_|$|[ᵀᵗ²³]))*)
    |(?P<superscript>[²³ᵗᵀ])
    |(?P<sign>[-+−·/()\[\]{{}},=≤≥<>≠…‖√Σ^_∞])""",
    re.VERBOSE,
)
NUMBERED = re.compile(r"(.*\S) {2,}\((\d{1,6})\) *")


class NotationError(ValueError):
    """A line that is no equation of this grammar: `column` says where, from 1."""

    def __init__(self, message, column):
        super().__init__(message)
        self.column = column


@dataclass(frozen=True)
class Number:
    """A number as it is written."""

    text: str


@dataclass(frozen=True)
class Symbol:
    """A name, `subscript` included: `x`, `x̂`, `W_up`, `y_ij`."""

    text: str

    @property
    def base(self):
        """The name without its subscript."""
        return self.text.partition("_")[0]

    @property
    def subscript(self):
        """The indices after the first underscore; nothing where something else stands there, as in W_up."""
        letters = self.text.partition("_")[2]
        return letters if set(letters) <= set(INDICES) else ""


@dataclass(frozen=True)
class Sum:
    """Terms with their signs, (+1 or −1, node)."""

    terms: tuple


@dataclass(frozen=True)
class Dot:
    """A product entry by entry."""

    left: object
    right: object


@dataclass(frozen=True)
class Beside:
    """Factors side by side."""

    factors: tuple


@dataclass(frozen=True)
class Fraction:
    """A quotient, entry by entry."""

    above: object
    below: object


@dataclass(frozen=True)
class Power:
    """A power, entry by entry."""

    base: object
    exponent: object


@dataclass(frozen=True)
class Transpose:
    """The transpose of the last two axes."""

    of: object


@dataclass(frozen=True)
class Root:
    """A square root."""

    of: object


@dataclass(frozen=True)
class Norm:
    """The length ‖x‖."""

    of: object


@dataclass(frozen=True)
class Total:
    """Σ, over the last axis where `index` is empty."""

    index: str
    of: object


@dataclass(frozen=True)
class Call:
    """A function of arguments; of its backward, where `transposed`."""

    function: Symbol
    arguments: tuple
    transposed: bool = False


@dataclass(frozen=True)
class Entry:
    """W[id]."""

    of: Symbol
    at: tuple


@dataclass(frozen=True)
class Condition:
    """A comparison, or something that is true or false."""

    left: object
    relation: str = ""
    right: object = None


@dataclass(frozen=True)
class Indicator:
    """[condition]."""

    condition: Condition


@dataclass(frozen=True)
class Derivative:
    """∂y/∂x."""

    of: object
    by: object


@dataclass(frozen=True)
class Where:
    """A choice, entry by entry."""

    value: object
    condition: Condition
    otherwise: object


@dataclass(frozen=True)
class Range:
    """first … last."""

    first: object
    last: object


@dataclass(frozen=True)
class Several:
    """Expressions with commas between them."""

    of: tuple


@dataclass(frozen=True)
class Equation:
    """Expressions that are said to be equal (or, with relations other than =, otherwise related)."""

    sides: tuple
    relations: tuple


@dataclass(frozen=True)
class Remark:
    """Words beside an equation."""

    text: str


@dataclass(frozen=True)
class Line:
    """A line of a docstring: what stands in it, and its number, or None."""

    parts: tuple
    number: int | None


@lru_cache(maxsize=4096)
def parse_line(text: str) -> Line:
    """Parse a line, an equation or several and their number.

    Raises NotationError where no part is an equation, or one that has a = is none.
    """
    numbered = NUMBERED.fullmatch(text)
    body, number = (numbered[1], int(numbered[2])) if numbered else (text, None)
    parts, error = [], None
    for match in re.finditer(r"\S(?:.*?\S)??(?= {2,}(?![= ])|$)", body):
        try:
            parts.append(parse(match[0].rstrip(","), match.start()))
        except NotationError as fault:
            if "=" in match[0] and not match[0].startswith("("):
                raise
            parts.append(Remark(match[0]))
            error = error or fault
    if not any(isinstance(part, Equation) for part in parts):
        raise error or NotationError("there is no equation", 1)
    return Line(tuple(parts), number)


def is_numbered(text: str) -> bool:
    """Whether a line ends in the number of an equation."""
    return NUMBERED.fullmatch(text) is not None


def parse(text: str, start: int = 0) -> Equation:
    """Parse one equation. `start` is where it begins in its line, for the column of an error."""
    return Parser(text, start).equation()


class Parser:
    """A parser by recursive descent: one method for each level of the grammar, from the loosest to the closest."""

    def __init__(self, text, start):
        self.tokens = tokens(text, start)
        self.at = 0
        self.within_norm = False

    def next(self):
        """The next token that is no blank, as (kind, text, where), or the end."""
        at = self.at
        while at < len(self.tokens) and self.tokens[at][0] == "blank":
            at += 1
        _, text, where = self.tokens[-1]
        return self.tokens[at] if at < len(self.tokens) else ("end", "", where + len(text))

    def peek(self):
        """The text of the next token that is no blank, or ''."""
        return self.next()[1]

    def kind(self):
        """The kind of the next token that is no blank."""
        return self.next()[0]

    def adjacent(self):
        """Whether the next token follows without a blank."""
        return self.at < len(self.tokens) and self.tokens[self.at][0] != "blank"

    def take(self, expected=None):
        """Move past the next token, and return its text."""
        kind, text, _ = self.next()
        if kind == "end":
            self.fail(f"the line ends where {expected or 'something'} is expected")
        if expected is not None and text != expected:
            self.fail(f"{expected!r} is expected, not {text!r}")
        while not self.adjacent():
            self.at += 1
        self.at += 1
        return text

    def fail(self, message):
        """Raise NotationError at the next token."""
        raise NotationError(message, self.next()[2] + 1)

    def equation(self):
        """Sides with = between them."""
        sides, relations = [self.several()], []
        while self.peek() in RELATIONS:
            relations.append(self.take())
            sides.append(self.several())
        if self.kind() != "end":
            self.fail(f"{self.peek()!r} is not expected here")
        if not relations:
            self.fail("'=' is expected")
        return Equation(tuple(sides), tuple(relations))

    def several(self):
        """Expressions with commas between them."""
        first = self.choice()
        if self.peek() != ",":
            return first
        entries = [first]
        while self.peek() == ",":
            self.take()
            entries.append(self.choice())
        return Several(tuple(entries))

    def choice(self):
        """`value where condition, else otherwise`, or a range, or a sum."""
        value = self.sum()
        if self.peek() == "…":
            self.take()
            return Range(value, self.sum())
        if self.peek() != "where":
            return value
        self.take()
        condition = self.condition()
        self.take(",")
        self.take("else")
        return Where(value, condition, self.sum())

    def condition(self):
        """A comparison."""
        left = self.sum()
        if self.peek() not in RELATIONS:
            return Condition(left)
        return Condition(left, self.take(), self.sum())

    def sum(self):
        """Terms with + and − between them."""
        sign = -1 if self.peek() == "−" and self.take() else 1
        terms = [(sign, self.term())]
        while self.peek() in ("+", "−"):
            sign = 1 if self.take() == "+" else -1
            terms.append((sign, self.term()))
        return terms[0][1] if len(terms) == 1 and sign == 1 else Sum(tuple(terms))

    def term(self):
        """Factors with · and / between them."""
        node = self.beside()
        while self.peek() in ("·", "/"):
            node = Dot(node, self.fraction()) if self.take() == "·" else Fraction(node, self.beside())
        return node

    def fraction(self):
        """A factor after a dot, and what is below it where no blank is before the stroke."""
        node = self.beside()
        while self.adjacent() and self.peek() == "/":
            self.take()
            node = Fraction(node, self.beside())
        return node

    def beside(self):
        """Factors side by side, the last of which may be a sum over all that follows in the term."""
        factors = [self.total() if self.peek() == "Σ" else self.factor()]
        while self.begins_factor():
            factors.append(self.total() if self.peek() == "Σ" else self.factor())
        return factors[0] if len(factors) == 1 else Beside(tuple(factors))

    def begins_factor(self):
        """Whether what comes next belongs to the product."""
        kind, text = self.kind(), self.peek()
        if kind == "name":
            return text not in WORDS
        return kind == "number" or text in ("(", "√", "Σ", "[", "∞") or (text == "‖" and not self.within_norm)

    def total(self):
        """Σ, with an index or none."""
        self.take("Σ")
        index = ""
        if self.adjacent() and self.peek() == "_":
            self.take()
            if self.kind() != "name":
                self.fail("an index is expected below Σ")
            index = self.take()
        return Total(index, self.term())

    def factor(self):
        """Something with its powers, entries and arguments."""
        node = self.primary()
        while self.adjacent():
            text = self.peek()
            if text == "ᵀ":
                self.take()
                called = isinstance(node, Symbol) and self.adjacent() and self.peek() == "("
                node = Call(node, self.arguments(), transposed=True) if called else Transpose(node)
            elif text in SUPERSCRIPTS:
                exponent = SUPERSCRIPTS[self.take()]
                node = Power(node, Number(exponent) if exponent.isdigit() else Symbol(exponent))
            elif text == "^":
                self.take()
                node = Power(node, self.primary())
            elif text == "(" and isinstance(node, Symbol):
                node = Call(node, self.arguments())
            elif text == "[" and isinstance(node, Symbol):
                self.take()
                node = Entry(node, self.entries("]"))
            else:
                break
        if isinstance(node, Symbol) and node.text in PREFIX_FUNCTIONS and self.begins_factor():
            return Call(node, (self.total() if self.peek() == "Σ" else self.factor(),))
        return node

    def arguments(self):
        """(a, b)."""
        self.take("(")
        return self.entries(")")

    def entries(self, closing):
        """Expressions up to the closing bracket."""
        entries = [self.choice()]
        while self.peek() == ",":
            self.take()
            entries.append(self.choice())
        self.take(closing)
        return tuple(entries)

    def primary(self):
        """A number, a name, or something in brackets."""
        kind, text = self.kind(), self.peek()
        if kind == "number":
            return Number(self.take())
        if kind == "name":
            if text.startswith("∂"):
                return self.derivative()
            if text in WORDS:
                self.fail(f"{text!r} is a word, where a name is expected")
            return Symbol(self.take())
        if text == "∞":
            return Number(self.take())
        if text == "(":
            self.take()
            node = self.sum()
            self.take(")")
            return node
        if text == "[":
            self.take()
            condition = self.condition()
            self.take("]")
            return Indicator(condition)
        if text == "‖":
            self.take()
            self.within_norm = True
            node = self.sum()
            self.within_norm = False
            self.take("‖")
            return Norm(node)
        if text == "√":
            self.take()
            return Root(self.primary())
        return self.fail(f"{text!r} is not expected here" if text else "the line ends too early")

    def derivative(self):
        """∂y_i/∂x_j."""
        of = self.with_powers(Symbol(self.take().removeprefix("∂")))
        self.take("/")
        if not self.peek().startswith("∂"):
            self.fail("∂ is expected below the stroke of a derivative")
        return Derivative(of, Symbol(self.take().removeprefix("∂")))

    def with_powers(self, node):
        """A name with its square."""
        while self.adjacent() and self.peek() in SUPERSCRIPTS:
            node = Power(node, Number(SUPERSCRIPTS[self.take()]))
        return node


def tokens(text, start):
    """Return [(kind, text, where)] of a line."""
    found, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise NotationError(f"{text[at]!r} is no sign of this notation", start + at + 1)
        found.append((match.lastgroup, match[0], start + at))
        at = match.end()
    if not found:
        raise NotationError("there is nothing", start + 1)
    if len(found) > LONGEST:
        raise NotationError(f"more than {LONGEST} signs are no equation", start + 1)
    return found


def children(node):
    """Yield the nodes directly below a node."""
    for f in fields(node) if is_dataclass(node) else ():
        value = getattr(node, f.name)
        yield from (v for v in flat(value) if is_dataclass(v))


def flat(value):
    """Yield what is in nested tuples."""
    if isinstance(value, tuple):
        for entry in value:
            yield from flat(entry)
    else:
        yield value
