"""The symbols of equations, and the names in the code that correspond to them."""

import unicodedata
from collections.abc import Iterator

from minitransformer.book import notation as n

SHORT = {"eps": "ε", "lam": "λ"}


def symbol_of(name: str) -> str:
    """Return the symbol for a name in the code: x̂ for x_hat, β₁ for beta1, dγ for dgamma."""
    stem = name.removesuffix("_hat")
    hat = "\u0302" if stem != name else ""
    word = stem.rstrip("0123456789")
    digits = "".join(chr(ord("₀") + int(digit)) for digit in stem[len(word) :])
    if letter := greek(word):
        return letter + hat + digits
    if word.startswith("d") and (letter := greek(word[1:])):
        return "d" + letter + hat + digits
    return stem + hat


def greek(word: str) -> str:
    size = "SMALL" if word.islower() else "CAPITAL"
    try:
        return SHORT.get(word) or unicodedata.lookup(f"GREEK {size} LETTER {word.upper()}")
    except KeyError:
        return ""


def texts_of(node) -> tuple[str, ...]:
    if isinstance(node, n.Power):
        return texts_of(node.base)
    if isinstance(node, n.Entry):
        return (node.of.text,)
    return (node.text, node.base) if isinstance(node, n.Symbol) else ()


def names_given(equation: n.Equation) -> list:
    left = equation.sides[0]
    return [node for node in (left.of if isinstance(left, n.Several) else (left,)) if texts_of(node)]


def symbols_in(*nodes) -> Iterator[n.Symbol]:
    return (part for node in nodes for part in n.every_node(node) if isinstance(part, n.Symbol))
