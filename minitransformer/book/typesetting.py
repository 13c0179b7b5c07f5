"""Typesetting: an expression of the notation as MathML, which browsers set by themselves."""

from html import escape

from minitransformer.book import notation as n

# How closely each kind of node holds together; a looser one within a closer one is put in parentheses.
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
ITALIC = 1  # a name of one letter is set in italics by the browser
THIN = '<mspace width="0.2em"/>'
APPLY, TIMES = "<mo>&#x2061;</mo>", "<mo>&#x2062;</mo>"


def mathml(equation: n.Equation, names=(), *, only_left=False) -> str:
    """Return the <math> element of an equation, or of its left side and the = after it.

    `names` are those whose gradients are set as d and the name.
    """
    setter = Setter(frozenset(names))
    sides = [setter.set(side) for side in equation.sides]
    if only_left:
        return f"<math>{row(sides[0] + operator('='))}</math>"
    body = sides[0] + "".join(operator(r) + side for r, side in zip(equation.relations, sides[1:], strict=True))
    return f'<math display="block">{row(body)}</math>'


def names_in(nodes) -> set[str]:
    """Return the names below some nodes, without their subscripts."""
    found = set()
    for node in nodes:
        if isinstance(node, n.Symbol):
            found.add(node.base)
        found |= names_in(n.children(node))
    return found


class Setter:
    """Sets nodes: a method for each kind."""

    def __init__(self, names):
        self.names = names

    def set(self, node, within=RANGE):
        """The MathML of a node, in parentheses where it holds together less closely than what it stands in."""
        markup = getattr(self, type(node).__name__.lower())(node)
        return fenced("(", markup, ")") if LEVEL.get(type(node), FACTOR) < within else markup

    def number(self, node):
        return "<mfrac><mn>1</mn><mn>2</mn></mfrac>" if node.text == "½" else f"<mn>{node.text}</mn>"

    def symbol(self, node):
        base, _, subscript = node.text.partition("_")
        if len(base) > ITALIC and subscript and len(subscript) > len("ij") and not node.subscript and base.isalpha():
            return f"<mi>{escape(node.text)}</mi>"  # min_lr
        markup = self.name(base)
        return f"<msub>{row(markup)}{row(letters(subscript))}</msub>" if subscript else markup

    def name(self, text):
        """A name without subscript: letters, a hat, digits, primes."""
        if text.startswith("d") and text[1:].rstrip("′") in {name.rstrip("′") for name in self.names}:
            return f"<mi>d</mi>{self.name(text[1:])}"
        stem = text.rstrip("′")
        digits = stem[len(stem.rstrip("0123456789₀₁₂₃₄₅₆₇₈₉")) :]
        letter = stem.removesuffix(digits).removesuffix("\u0302") if digits or "\u0302" in stem else stem
        markup = f"<mi>{escape(letter)}</mi>"
        if "\u0302" in stem:
            markup = f'<mover accent="true">{markup}<mo stretchy="false">^</mo></mover>'
        if digits:
            plain = "".join(chr(ord("0") + ord(c) - ord("₀")) if c > "9" else c for c in digits)
            markup = f"<msub>{markup}<mn>{plain}</mn></msub>"
        primes = len(text) - len(stem)
        return f"<msup>{markup}<mo>{'′' * primes}</mo></msup>" if primes else markup

    def sum(self, node):
        (sign, first), *others = node.terms
        markup = ("<mo>−</mo>" if sign < 0 else "") + self.set(first, TERM)
        return markup + "".join(operator("+" if s > 0 else "−") + self.set(term, TERM) for s, term in others)

    def dot(self, node):
        return self.set(node.left, TERM) + operator("·") + self.set(node.right, TERM)

    def beside(self, node):
        last = len(node.factors) - 1
        # A sum may stand last without parentheses, since it takes all that follows anyway.
        within = [TERM if isinstance(f, n.Total) and k == last else FACTOR for k, f in enumerate(node.factors)]
        return THIN.join(self.set(factor, level) for factor, level in zip(node.factors, within, strict=True))

    def fraction(self, node):
        return f"<mfrac>{row(self.set(node.above))}{row(self.set(node.below))}</mfrac>"

    def power(self, node):
        return f"<msup>{row(self.set(node.base, self.closest(node.base)))}{row(self.set(node.exponent))}</msup>"

    def transpose(self, node):
        return f"<msup>{row(self.set(node.of, self.closest(node.of)))}<mi>⊤</mi></msup>"

    def closest(self, node):
        """The level below which the base of a power is put in parentheses: a fraction too, and a call is not."""
        return FACTOR + isinstance(node, n.Fraction)

    def root(self, node):
        return f"<msqrt>{self.set(node.of)}</msqrt>"

    def norm(self, node):
        return fenced("‖", self.set(node.of), "‖")

    def total(self, node):
        sign = '<mo movablelimits="false">∑</mo>'
        sign = f"<munder>{sign}{row(letters(node.index))}</munder>" if node.index else sign
        return f"{sign}{THIN}{self.set(node.of, TERM)}"

    def call(self, node):
        function = self.symbol(node.function)
        if node.transposed:
            function = f"<msup>{row(function)}<mi>⊤</mi></msup>"
        return function + APPLY + fenced("(", comma(self.set(argument) for argument in node.arguments), ")")

    def entry(self, node):
        return self.symbol(node.of) + fenced("[", comma(self.set(at) for at in node.at), "]")

    def condition(self, node):
        left = self.set(node.left)
        return left if not node.relation else left + operator(node.relation) + self.set(node.right)

    def indicator(self, node):
        return fenced("[", self.condition(node.condition), "]")

    def derivative(self, node):
        of, by = (f"<mi>∂</mi>{self.set(part)}" for part in (node.of, node.by))
        return f"<mfrac>{row(of)}{row(by)}</mfrac>"

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


def row(markup):
    """One element for several."""
    return f"<mrow>{markup}</mrow>"


def operator(sign):
    """A sign between two expressions."""
    return f"<mo>{escape(sign)}</mo>"


def comma(entries):
    """Expressions with commas between them."""
    return '<mo separator="true">,</mo>'.join(entries)


def fenced(opening, markup, closing):
    """An expression in brackets that grow with it."""
    return row(f'<mo form="prefix" fence="true">{opening}</mo>{markup}<mo form="postfix" fence="true">{closing}</mo>')


def letters(text):
    """The letters of a subscript: indices in italics, words upright."""
    if not text:
        return ""
    if set(text) <= set(n.INDICES) and text != "up":
        return "".join(f"<mi>{letter}</mi>" for letter in text)
    return f"<mi>{escape(text)}</mi>"
