"""Find the formulas in the prose of docstrings.

A formula is a run of words that the notation can parse, and whose names are all symbols. A symbol is a letter with
marks such as primes, or a name that an equation of the file contains. A name of several letters is part of a formula
only next to an operator, so that "used" and "scores" remain words. An "a" is the article unless an operator is next to
it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from minitransformer.book import notation as n
from minitransformer.book.symbols import symbols_in

OPERATORS = (*n.RELATIONS, "·", "+", "−", "/")
FUNCTIONS = {*n.PREFIX_FUNCTIONS, "mean", "min", "max", "softmax", "log_softmax", "onehot"}
REFERENCE = re.compile(r"\(\d+\)")  # a reference to an equation
HIDDEN = re.compile(r"`[^`]*`|\([^()]*\.\.\.[^()]*\)")  # code and shapes
ASSUMING = re.compile(r"\b(?:for|if|with|when|where|at|unless|as|in|of)(?: a)?$", re.IGNORECASE)
MARKS = "0123456789₀₁₂₃₄₅₆₇₈₉′"
NOT_NAMES = ("do", "go")  # they look like gradients of o
AND = ("", ",", "and", ", and")
MOST = 40  # largest number of words in a formula


@dataclass(frozen=True)
class Formula:
    first: int  # index of the first character
    behind: int  # index of the character after the formula
    node: object  # the parsed Equation or expression
    is_assumed: bool = False  # True if the sentence assumes the equation, such as `γ = 1` after "for" or "if"

    @property
    def is_equation(self) -> bool:
        return isinstance(self.node, n.Equation)


@lru_cache(maxsize=4096)
def formulas(text: str, names: frozenset = frozenset()) -> tuple[Formula, ...]:
    """Return the formulas of a paragraph. `names` are the symbols of more than one letter."""
    shown, found = HIDDEN.sub(lambda match: "`" * len(match[0]), text), []
    for formula in (f for run in runs(shown, names | FUNCTIONS) for f in longest(shown, run[:MOST])):
        before = shown[: formula.first].rstrip(" (")
        follows = bool(found) and found[-1].is_assumed and shown[found[-1].behind : formula.first].strip() in AND
        is_assumed = is_simple(formula.node) and (follows or ASSUMING.search(before) is not None)
        found.append(replace(formula, is_assumed=is_assumed))
    return tuple(found)


def relations_outside(text, found) -> list[str]:
    """Return the relation signs that are not part of a formula, with the word on each side."""
    inside = {k for formula in found for k in range(formula.first, formula.behind)}
    shown = HIDDEN.sub(lambda match: "`" * len(match[0]), text)
    signs = re.finditer(rf"\S+ ([{''.join(n.RELATIONS)}]) \S+", shown)
    return [sign[0] for sign in signs if sign.start(1) not in inside]


def runs(text, names) -> Iterator[list]:
    """Yield runs of mathematical words as lists of character ranges. Punctuation outside of parentheses ends a run."""
    run: list = []
    words = list(re.finditer(r"\S+", text))
    for word, after in zip(words, [*words[1:], None], strict=True):
        bare = word[0].rstrip(".,;:")
        beside = (text[run[-1][0] : run[-1][1]].endswith(OPERATORS) or bare == "A") if run else False
        is_article = bare.lstrip("(") in ("a", "A") and not beside and not (after and after[0].startswith(OPERATORS))
        if is_article or not is_mathematical(bare, names):
            yield from [run] * bool(run)
            run = []
            continue
        run.append((word.start(), word.start() + len(bare)))
        so_far = text[run[0][0] : run[-1][1]]
        if bare != word[0] and so_far.count("(") <= so_far.count(")"):
            yield run
            run = []
    yield from [run] * bool(run)


def is_mathematical(word, names):
    if not word or REFERENCE.fullmatch(word):
        return False
    try:
        tokens = n.tokens(word, 0)
    except n.NotationError:
        return False
    found = [text for kind, text, *_ in tokens if kind == "name"]
    bare = [text.removeprefix("∂") for text in found if not is_symbol(text)]
    return not any(names.isdisjoint((text, text.partition("_")[0], f"d{text}")) for text in bare)


def is_symbol(name):
    """Return True if `name` is a letter with marks, or the gradient or derivative of one."""
    stem = name.partition("_")[0].removeprefix("∂").rstrip(MARKS).replace("\u0302", "")
    return name not in (*n.WORDS, *NOT_NAMES) and (len(stem) == 1 or (len(stem) == 2 and stem[0] == "d"))


def longest(text, run):
    """Return the longest formula in a run of words, and those before and after it."""
    for length in range(len(run), 0, -1):
        for start in range(len(run) - length + 1):
            first, behind = without_bracket(text, run[start][0], run[start + length - 1][1])
            node = parsed(text[first:behind])
            if node is not None and is_formula(node):
                its_own = Formula(first, behind, node)
                return [*longest(text, run[:start]), its_own, *longest(text, run[start + length :])]
    return []


def without_bracket(text, first, behind):
    words = text[first:behind]
    excess = words.count("(") - words.count(")")
    return first + (excess > 0 and words.startswith("(")), behind - (excess < 0 and words.endswith(")"))


@lru_cache(maxsize=8192)
def parsed(text):
    try:
        parser = n.Parser(text, 0)
        node = parser.sum()
        return node if parser.next.kind == "end" else n.parse(text)
    except n.NotationError:
        return None


def is_simple(node):
    simple = n.Symbol | n.Number
    return isinstance(node, n.Equation) and all(
        isinstance(side.terms[0][1] if isinstance(side, n.Sum) and len(side.terms) == 1 else side, simple)
        for side in node.sides
    )


def is_formula(node):
    if isinstance(node, n.Equation):
        return True
    factors = [*node.factors] if isinstance(node, n.Beside) else [node]
    is_word = any(isinstance(f, n.Symbol) and not (f.subscript or is_symbol(f.text)) for f in factors)
    is_prose = isinstance(node, n.Call) and all(isinstance(a, n.Number) for a in node.arguments)  # of mean 0
    return not is_word and not is_prose and any(symbols_in(node))
