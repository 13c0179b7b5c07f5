"""The syntax of equations in docstrings, and its parser.

An equation is written on a separate line, indented by at least four spaces. Its number follows in parentheses after at
least two spaces. The line of code that computes the equation ends in a comment that begins with the same number. A line
may contain several equations, separated by at least two spaces. Text next to an equation, such as `(summed over
positions)`, is a remark and is printed unchanged. An indented line without a number is executed if it is an equation,
and printed unchanged otherwise. An equation in a sentence, such as `y = 2 x`, is typeset and executed as well.

        dβ = Σ_p dy    dγ = Σ_p dy · x̂    dx̂ = dy · γ       (n)

An equation is compared with the value that its name has when the function returns. Each name should therefore be
assigned only once.

**Names** are a letter or a word, with a hat (`x̂`), primes (`m′`), digits (`β₁`, `norm1`) or a subscript (`W_up`). A
subscript that consists of the letters c d i j k n o p t v is a list of indices: `x_i` is an entry of the vector x, and
`y_po` an entry of the matrix y. The indices p and t count positions: if an array has more axes than indices, they count
the first axis. The other indices count the last axes. The name of a gradient begins with d: `dx̂` is ∂L/∂x̂. The
constants π, ∞ and ½ are predefined.

**Products.** A dot multiplies elementwise, `γ · x̂`. Adjacent factors are a matrix product, `x W`, a multiple, `2 x`, or
a product of entries, `e_i δ_ij`. Adjacent factors bind most tightly: `1/2h` is 1/(2h), and `r³ (x_i − μ)/C` is
(r³ (x_i − μ))/C. Dot and slash have equal precedence and associate from left to right. A fraction without spaces is one
factor, so that `a · 1/C` is typeset as a · (1/C), which has the same value.

**Powers** are written `x²`, `x⁻¹`, `β₁ᵗ` or `β₁^(t−k)`, the transpose (of the last two axes) `Wᵀ`, roots `√x` or
`√(σ² + ε)`, and the norm `‖x‖`.

**Sums** extend to the next + or −, so `Σ y · dy` is Σ (y · dy). Σ sums over the last axis and keeps it with length 1.
`mean(x)` is the sum divided by the length. In an equation of entries such as `x_i`, the result is a number. `Σ_j` sums
over the index j, `Σ_p` over all positions (every axis but the last), and `Σ_batch` over all axes but the last two.

**Functions** take arguments in parentheses, `mean(x)`, `min(a, b)`. The functions exp, log, tanh, erf, cos and sin can
also be applied to the next factor: `log Σ exp(x)`. An index of mean, max, min or softmax is the axis along which they
are applied, `mean_i(x_i)`, or an index of the result, `softmax_i(x)`. `diag(y)` is the matrix with the entries of y on
its diagonal, and `tr(A)` a trace. `f′` is the derivative of a function f of one number, and `fᵀ(dy)`
is the backward pass of f applied to dy.

**Relations.** `=` may occur several times in an equation. `≤`, `≥`, `<`, `>` and `≠` must hold for all entries.

**Ranges.** `k = 1 … t` after an equation gives the range of an index that does not count an axis.

**Entries.** `W[id]` is a row, `P[t, 2i]` an entry. `S_{t−1}` is an entry whose index is an expression; outside of the
array it is 0, as the state before the first step. `[c = t]` is 1 where c = t and 0 elsewhere; `δ_ij` is 1 where i = j.
`∂y_i/∂x_j` is a derivative, `∂y/∂x` the Jacobian (for an elementwise function, its diagonal), and `x where keep, else
0` selects elementwise.
"""

import re
import unicodedata
from collections import namedtuple
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, make_dataclass
from functools import lru_cache
from typing import Any

PREFIX_FUNCTIONS = ("exp", "log", "tanh", "erf", "cos", "sin")
INDICES = "cdijknoptv"
WORDS = ("where", "else", "for", "and", "with", "over", "is")  # English words that cannot be names
RELATIONS = ("=", "≤", "≥", "<", ">", "≠")
LONGEST = 200  # largest number of tokens in an equation, which also bounds the depth of recursion

RAISED = "⁻⁰¹²³⁴⁵⁶⁷⁸⁹ᵀᵗⁱʲᵏᵐⁿᵖ"
LETTER = f"(?:(?![Σ½₀₁₂₃₄₅₆₇₈₉{RAISED}])[^\\W\\d_])"
TOKEN = re.compile(
    rf"""(?P<blank>\ +)
    |(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?|½)
    |(?P<name>∂?{LETTER}+\u0302?\u0307?[₀₁₂₃₄₅₆₇₈₉]*\d*′*(?:_(?:{LETTER}|\d)+(?=\W|_|$|[{RAISED}])|_[{{(][^{{}}()]+[}})])*)
    |(?P<superscript>ᵀ|[{RAISED}]+?(?=ᵀ|[^{RAISED}]|$))
    |(?P<sign>[-+−·/()\[\]{{}},=≤≥<>≠…‖√Σ∂^_∞])""",
    re.VERBOSE,
)
NUMBERED = re.compile(r"(.*\S) {2,}\((\d{1,6})\) *")


Token = namedtuple("Token", "kind text offset is_adjacent")  # is_adjacent: it follows without a blank


class NotationError(ValueError):
    """Raised if a line is not an equation of this notation. `column` is the column of the error, counted from 1."""

    def __init__(self, message, column):
        super().__init__(message)
        self.column = column


@dataclass(frozen=True)
class Symbol:
    text: str

    @property
    def base(self):
        return self.text.partition("_")[0]

    @property
    def subscript(self):
        """Return the indices after the underscore, or "" for a word as in W_up."""
        letters = self.text.partition("_")[2]
        return letters if set(letters) <= set(INDICES) else ""


def node(name: str, names: str, **defaults) -> Any:
    return make_dataclass(
        name, [(f, object, field(default=defaults.get(f, MISSING))) for f in names.split()], frozen=True
    )


Number = node("Number", "text")
Sum = node("Sum", "terms")  # (+1 or −1, node), …
Dot = node("Dot", "left right")  # an elementwise product
Beside = node("Beside", "factors")  # a product of adjacent factors
Fraction = node("Fraction", "above below")  # an elementwise quotient
Power = node("Power", "base exponent")  # an elementwise power
Transpose = node("Transpose", "of")  # of the last two axes
Root = node("Root", "of")
Norm = node("Norm", "of")  # ‖x‖
Total = node("Total", "index of")  # a sum Σ over the index, or over the last axis if the index is empty
Call = node("Call", "function arguments transposed", transposed=False)  # transposed: a call of the backward pass
Entry = node("Entry", "of at is_below", is_below=False)  # W[id], or S_{t−1} below the line
Condition = node("Condition", "left relation right", relation="", right=None)  # without a relation, a truth value
Indicator = node("Indicator", "condition")  # [condition]
Derivative = node("Derivative", "of by")  # ∂y/∂x
Where = node("Where", "value condition otherwise")  # an elementwise selection
Range = node("Range", "first last")  # first … last
Several = node("Several", "of")  # expressions separated by commas
Remark = node("Remark", "text")  # the text next to an equation


@dataclass(frozen=True)
class Equation:
    sides: tuple
    relations: tuple


@dataclass(frozen=True)
class Line:
    parts: tuple
    number: int | None


@lru_cache(maxsize=4096)
def parse_line(text: str) -> Line:
    """Parse a line of one or more equations and their number. Raises NotationError."""
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
        raise error or NotationError("the line contains no equation", 1)
    return Line(tuple(parts), number)


def parse(text: str, start: int = 0) -> Equation:
    return Parser(text, start).equation()


class Parser:
    """A recursive descent parser with one method per precedence level, lowest first."""

    def __init__(self, text, start):
        self.tokens = tokens(text, start)
        self.at = 0
        self.within_norm = False

    @property
    def next(self):
        return self.tokens[self.at]

    def take(self, expected=None):
        """Consume the next token and return its text. Raises NotationError if the text is not `expected`."""
        token = self.next
        if token.kind == "end":
            self.fail(f"the line ends where {expected or 'something'} is expected")
        if expected is not None and token.text != expected:
            self.fail(f"{expected!r} is expected, not {token.text!r}")
        self.at += 1
        return token.text

    def fail(self, message):
        raise NotationError(message, self.next.offset + 1)

    def equation(self):
        sides, relations = [self.several()], []
        while self.next.text in RELATIONS:
            relations.append(self.take())
            sides.append(self.several())
        if self.next.kind != "end":
            self.fail(f"{self.next.text!r} is not expected here")
        if not relations:
            self.fail("'=' is expected")
        return Equation(tuple(sides), tuple(relations))

    def several(self):
        entries = self.listed()
        return entries[0] if len(entries) == 1 else Several(entries)

    def listed(self):
        entries = [self.choice()]
        while self.next.text == ",":
            self.take()
            entries.append(self.choice())
        return tuple(entries)

    def choice(self):
        value = self.sum()
        if self.next.text == "…":
            self.take()
            return Range(value, self.sum())
        if self.next.text != "where":
            return value
        self.take()
        condition = self.condition()
        self.take(",")
        self.take("else")
        return Where(value, condition, self.sum())

    def condition(self):
        left = self.sum()
        if self.next.text not in RELATIONS:
            return Condition(left)
        return Condition(left, self.take(), self.sum())

    def sum(self):
        sign = -1 if self.next.text == "−" and self.take() else 1
        terms = [(sign, self.term())]
        while self.next.text in ("+", "−"):
            sign = 1 if self.take() == "+" else -1
            terms.append((sign, self.term()))
        return terms[0][1] if len(terms) == 1 and sign == 1 else Sum(tuple(terms))

    def term(self):
        node = self.beside()
        while self.next.text in ("·", "/"):
            node = Dot(node, self.fraction()) if self.take() == "·" else Fraction(node, self.beside())
        return node

    def fraction(self):
        node = self.beside()
        while self.next.is_adjacent and self.next.text == "/":
            self.take()
            node = Fraction(node, self.beside())
        return node

    def beside(self):
        factors = []
        while not factors or self.begins_factor():
            factors.append(self.total() if self.next.text == "Σ" else self.factor())
        return factors[0] if len(factors) == 1 else Beside(tuple(factors))

    def begins_factor(self):
        kind, text = self.next.kind, self.next.text
        if kind == "name":
            return text not in WORDS
        return kind == "number" or text in ("(", "√", "Σ", "[", "∞", "∂") or (text == "‖" and not self.within_norm)

    def sum_within_norm(self):
        self.within_norm = True
        node = self.sum()
        self.within_norm = False
        return node

    def total(self):
        self.take("Σ")
        index = ""
        if self.next.is_adjacent and self.next.text == "_":
            self.take()
            if self.next.kind != "name":
                self.fail("an index is expected below Σ")
            index = self.take()
        sign = -1 if self.next.text == "−" and self.take() else 1
        return Total(index, self.term() if sign == 1 else Sum(((-1, self.term()),)))

    def factor(self):
        node = self.primary()
        while self.next.is_adjacent:
            text = self.next.text
            if text == "ᵀ":
                self.take()
                called = isinstance(node, Symbol) and self.next.is_adjacent and self.next.text == "("
                node = Call(node, self.enclosed("(", ")", self.listed), transposed=True) if called else Transpose(node)
            elif self.next.kind == "superscript":
                node = Power(node, self.exponent())
            elif text == "^":
                self.take()
                node = Power(node, self.primary())
            elif text == "(" and isinstance(node, Symbol):
                node = Call(node, self.enclosed("(", ")", self.listed))
            elif text == "[" and isinstance(node, Symbol):
                node = Entry(node, self.enclosed("[", "]", self.listed))
            else:
                break
        if isinstance(node, Symbol) and node.text in PREFIX_FUNCTIONS and self.begins_factor():
            return Call(node, (self.total() if self.next.text == "Σ" else self.factor(),))
        if isinstance(node, Symbol) and node.base == "mean" and self.begins_factor():  # mean_i x_i
            return Call(node, (self.term(),))
        return node

    def exponent(self):
        text = unicodedata.normalize("NFKD", self.take())
        exponent = Number(text.lstrip("−")) if text.lstrip("−").isdigit() else Symbol(text.lstrip("−"))
        return Sum(((-1, exponent),)) if text.startswith("−") else exponent

    def enclosed(self, opening, closing, within):
        self.take(opening)
        found = within()
        self.take(closing)
        return found

    def primary(self):
        kind, text = self.next.kind, self.next.text
        if kind == "number" or text == "∞":
            return Number(self.take())
        if kind == "name":
            if text.startswith("∂"):
                return self.derivative()
            if text in WORDS:
                self.fail(f"expected a name, not the word {text!r}")
            return self.named(self.take())
        if text == "∂":  # ∂(log y_i)/∂x_j
            self.take()
            return self.with_respect_to(self.primary())
        if text == "(":
            return self.enclosed("(", ")", self.sum)
        if text == "[":
            return Indicator(self.enclosed("[", "]", self.condition))
        if text == "‖":
            return Norm(self.enclosed("‖", "‖", self.sum_within_norm))
        if text == "√":
            self.take()
            return Root(self.primary())
        return self.fail(f"{text!r} is not expected here" if text else "the line ends too early")

    def named(self, text):
        """Parse a name, which may have indices such as x_i, or expressions as indices such as S_{t−1}."""
        base, brace, indices = re.fullmatch(r"(.*?)(?:_([{(])(.*)[})])?", text).groups()
        if not brace:
            return Symbol(text)
        if re.fullmatch(rf"{LETTER}+(?:,\s*{LETTER}+)*", indices):
            return Symbol(f"{base}_{''.join(re.findall(LETTER, indices))}")
        return Entry(Symbol(base), Parser(indices, self.tokens[self.at - 1].offset + len(base) + 2).listed(), True)

    def derivative(self):
        of = self.named(self.take().removeprefix("∂"))
        if of.text in PREFIX_FUNCTIONS:
            of = Call(of, (self.factor(),))
        return self.with_respect_to(self.raised(of))

    def raised(self, node):
        while self.next.is_adjacent and self.next.kind == "superscript":
            node = Power(node, self.exponent())
        return node

    def with_respect_to(self, of):
        self.take("/")
        if not self.next.text.startswith("∂"):
            self.fail("∂ is expected in the denominator of a derivative")
        return Derivative(of, self.raised(Symbol(self.take().removeprefix("∂"))))


def tokens(text, start):
    """Split a line into Tokens. The last Token has the kind "end"."""
    found, at, is_adjacent = [], 0, True
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise NotationError(f"{text[at]!r} is not a character of this notation", start + at + 1)
        if match.lastgroup != "blank":
            found.append(Token(match.lastgroup, match[0], start + at, is_adjacent))
        at, is_adjacent = match.end(), match.lastgroup != "blank"
    if not found:
        raise NotationError("the equation is empty", start + 1)
    if len(found) > LONGEST:
        raise NotationError(f"an equation may have at most {LONGEST} tokens, not {len(found)}", start + 1)
    return [*found, Token("end", "", found[-1].offset + len(found[-1].text), False)]


def children(node):
    for f in fields(node) if is_dataclass(node) else ():
        value = getattr(node, f.name)
        yield from (v for v in flat(value) if is_dataclass(v))


def every_node(node):
    yield node
    for child in children(node):
        yield from every_node(child)


def flat(value):
    if isinstance(value, tuple):
        for entry in value:
            yield from flat(entry)
    else:
        yield value
