"""Convert expressions of the notation to MathML. Browsers render it without a library."""

import re
import unicodedata
from html import escape
from itertools import groupby

from minitransformer.book import notation as n

# The precedence of each kind of node. A node inside a node of higher precedence is put in parentheses.
RANGE, CHOICE, SUM, TERM, PRODUCT, FACTOR = range(6)
LEVEL = {
    n.Several: RANGE,
    n.Range: CHOICE,
    n.Where: CHOICE,
    n.Condition: CHOICE,
    n.Sum: SUM,
    n.Dot: TERM,
    n.Total: TERM,
    n.Beside: PRODUCT,
}
HIGH = FACTOR + 1  # for the base of a power, if it is a fraction or a power itself
THIN = '<mspace width="0.2em"/>'
APPLY = "<mo>&#x2061;</mo>"
MINUS = '<mo form="prefix">−</mo>'


def mathml(equation, names=(), *, only_left=False, display=True) -> str:
    """Return an equation or expression as <math> elements. `only_left` selects the left side of an equation."""
    setter = Setter(frozenset(names), display)
    if not isinstance(equation, n.Equation):
        return f"<math>{row(setter.set(equation))}</math>"
    sides = [setter.set(side) for side in equation.sides]
    if only_left:
        return f"<math>{row(sides[0] + operator('='))}</math>"
    first, *others = [operator(r) + side for r, side in zip(equation.relations, sides[1:], strict=True)] or [""]
    opening = '<math display="block">' if display else "<math>"  # a line may be broken before each further relation
    return " ".join(f"{opening}{row(part)}</math>" for part in (sides[0] + first, *others))


def name_set(text: str, names=(), after: str = "") -> str:
    return f"<math>{row(Setter(frozenset(names)).symbol(n.Symbol(text)) + (operator(after) if after else ''))}</math>"


def are_matrices(lines) -> bool:
    counts = [line.count("│") for line in lines if line.strip()]
    return all(count and count % 2 == 0 for count in counts) and not set("─▼▲") & set("".join(lines))


def matrices(lines) -> str:
    """Return equations of matrices, whose rows are drawn with │, as MathML. A blank line ends an equation."""
    made = []
    for _, group in groupby(lines, key=lambda line: bool(line.strip())):
        cells = [line.split("│") for line in group if line.strip()]
        parts = [row(part_between(part)) for part in cells[0][::2]] if cells else []
        for k in range(1, max(map(len, cells), default=0), 2):
            rows = [[entry for entry in re.split(r" {2,}", line[k].strip()) if entry] for line in cells]
            table = "".join(
                f"<mtr>{''.join(f'<mtd>{row(part_between(e))}</mtd>' for e in entries)}</mtr>" for entries in rows
            )
            parts[k // 2] += fenced("[", f"<mtable>{table}</mtable>", "]")
        made += [f'<math display="block">{row("".join(parts))}</math>'] * bool(parts)
    return "".join(made)


def part_between(text: str) -> str:
    """Return an expression, or an equation with an empty side, as MathML."""
    sides = [side.strip() for side in text.split("=")]
    return operator("=").join(row(Setter(()).set(n.parse(f"{side} = 0").sides[0])) if side else "" for side in sides)


class Setter:
    def __init__(self, names, display=True):
        self.names, self.display = names, display

    def set(self, node, within=RANGE):
        markup = getattr(self, type(node).__name__.lower())(node)
        level = TERM if isinstance(node, n.Fraction) and not self.display else LEVEL.get(type(node), FACTOR)
        return fenced("(", markup, ")") if level < within else markup

    def number(self, node):
        return "<mfrac><mn>1</mn><mn>2</mn></mfrac>" if node.text == "½" else f"<mn>{node.text}</mn>"

    def symbol(self, node):
        base, _, subscript = node.text.partition("_")
        if subscript and not node.subscript and len(with_digits_apart(self.without_d(base))[0]) > 1:
            return f"<mi>{escape(node.text)}</mi>"  # a word, log_softmax
        markup = self.name(base)
        return f"<msub>{row(markup)}{row(letters(subscript))}</msub>" if subscript else markup

    def without_d(self, text):
        rest = text[1:].rstrip("′")
        is_gradient = text.startswith("d") and (rest in self.names or len(with_digits_apart(rest)[0]) == 1)
        return text[1:] if is_gradient else text

    def name(self, text):
        if self.without_d(text) != text:
            return f"<mi>d</mi>{self.name(text[1:])}"
        stem = text.rstrip("′")
        letter, digits = with_digits_apart(stem)
        markup = f"<mi>{escape(letter)}</mi>"
        for mark, accent in (("\u0302", "^"), ("\u0307", "˙")):
            if mark in stem:
                markup = f'<mover accent="true">{markup}<mo stretchy="false">{accent}</mo></mover>'
        if digits:
            markup = f"<msub>{markup}<mn>{digits}</mn></msub>"
        primes = len(text) - len(stem)
        return f"<msup>{markup}<mo>{'′' * primes}</mo></msup>" if primes else markup

    def sum(self, node):
        (sign, first), *others = node.terms
        markup = (MINUS if sign < 0 else "") + self.set(first, TERM)
        return markup + "".join(operator("+" if s > 0 else "−") + self.set(term, TERM) for s, term in others)

    def dot(self, node):
        left = self.set(node.left, FACTOR if ends_in_a_sum(node.left) else TERM)
        return left + operator("·") + self.set(node.right, TERM)

    def beside(self, node):
        *others, last = node.factors
        # A sum at the end needs no parentheses, because it extends to the end of the term.
        level = TERM if isinstance(last, n.Total) else FACTOR
        return THIN.join([*(self.set(factor, FACTOR) for factor in others), self.set(last, level)])

    def fraction(self, node):
        if not self.display:  # on one line
            return self.set(node.above, TERM) + operator("/") + self.set(node.below, FACTOR)
        return f"<mfrac>{row(self.set(node.above))}{row(self.set(node.below))}</mfrac>"

    def power(self, node):
        return f"<msup>{row(self.set(node.base, self.closest(node.base)))}{row(self.set(node.exponent))}</msup>"

    def transpose(self, node):
        return f"<msup>{row(self.set(node.of, self.closest(node.of)))}<mi>⊤</mi></msup>"

    def closest(self, node):
        high = isinstance(node, (n.Fraction, n.Power, n.Transpose, n.Derivative)) or node == n.Number("½")
        return HIGH if high else FACTOR

    def root(self, node):
        return f"<msqrt>{self.set(node.of)}</msqrt>"

    def norm(self, node):
        return fenced("‖", self.set(node.of), "‖")

    def total(self, node):
        sign = '<mo movablelimits="false">∑</mo>'
        place = "munder" if self.display else "msub"
        sign = f"<{place}>{sign}{row(letters(node.index))}</{place}>" if node.index else sign
        return f"{sign}{THIN}{self.set(node.of, TERM)}"

    def call(self, node):
        function = self.symbol(node.function)
        if node.transposed:
            function = f"<msup>{row(function)}<mi>⊤</mi></msup>"
        return function + APPLY + fenced("(", comma(self.set(argument) for argument in node.arguments), ")")

    def entry(self, node):
        if node.is_below:
            return f"<msub>{row(self.symbol(node.of))}{row(comma(self.set(at) for at in node.at))}</msub>"
        return self.symbol(node.of) + fenced("[", comma(self.set(at) for at in node.at), "]")

    def condition(self, node):
        left = self.set(node.left)
        return left if not node.relation else left + operator(node.relation) + self.set(node.right)

    def indicator(self, node):
        return fenced("[", self.condition(node.condition), "]")

    def derivative(self, node):
        of, by = (f"<mi>∂</mi>{self.set(part)}" for part in (node.of, node.by))
        return f"<mfrac>{row(of)}{row(by)}</mfrac>" if self.display else row(of + operator("/") + by)

    def where(self, node):
        rows = (
            (self.set(node.value), f"<mtext>where&#xa0;</mtext>{self.condition(node.condition)}"),
            (self.set(node.otherwise), "<mtext>else</mtext>"),
        )
        cells = "".join(f"<mtr><mtd>{row(value)}</mtd><mtd>{row(when)}</mtd></mtr>" for value, when in rows)
        return f'<mo stretchy="true" form="prefix">{{</mo><mtable columnalign="left left">{cells}</mtable>'

    def several(self, node):
        return comma(self.set(entry) for entry in node.of)

    def range(self, node):
        return self.set(node.first) + operator("…") + self.set(node.last)


def ends_in_a_sum(node):
    if isinstance(node, n.Dot):
        return ends_in_a_sum(node.right)
    return ends_in_a_sum(node.factors[-1]) if isinstance(node, n.Beside) else isinstance(node, n.Total)


def with_digits_apart(text):
    letter = text.rstrip("0123456789₀₁₂₃₄₅₆₇₈₉")
    digits = unicodedata.normalize("NFKC", text[len(letter) :])
    letter = letter.rstrip("\u0302\u0307")
    return (letter, digits) if len(letter) == 1 else (letter + digits, "")


def row(markup):
    return f"<mrow>{markup}</mrow>"


def operator(sign):
    return f"<mo>{escape(sign)}</mo>"


def comma(entries):
    return '<mo separator="true">,</mo>'.join(entries)


def fenced(opening, markup, closing):
    return row(f'<mo form="prefix" fence="true">{opening}</mo>{markup}<mo form="postfix" fence="true">{closing}</mo>')


def letters(text):
    if not text:
        return ""
    if set(text) <= set(n.INDICES):
        return "".join(f"<mi>{letter}</mi>" for letter in text)
    return f"<mi>{escape(text)}</mi>"
