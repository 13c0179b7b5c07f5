"""Format the index of symbols, with definitions and uses, and of the book's terms."""

import re
from html import escape

from minitransformer.book.chapters import PACKAGE, TERMS
from minitransformer.book.derivations import names_of
from minitransformer.book.observation import docstrings
from minitransformer.book.pictures import table
from minitransformer.book.prose import inline
from minitransformer.book.symbols import names_given, symbols_in, texts_of
from minitransformer.book.typesetting import name_set

NOTATION = PACKAGE / "NOTATION.md"
# Symbols, separated by commas, and their meaning in NOTATION.md.
MEANING = re.compile(r"^    (\S+(?:, \S+)*)  +(\S.*(?:\n {7,}\S.*)*)$", re.MULTILINE)
COLUMNS = re.compile(r"(?<=\S) {2,}(?=[A-Z](?:, [A-Z])?  )")  # the gap between two symbols on a line
OPENING = (
    "A name that begins with d is a gradient: dx is the gradient of the loss with respect to x and has the shape of x. "
    "Its equation is that of the chapter which defines or uses x. An index below a letter chooses an entry."
)


def index_page(derived: dict) -> list:
    """Return the body of the page of symbols and terms. `derived` contains the Derivations of each chapter."""
    names = frozenset().union(*(names_of(d.statements) for d in derived.values()))
    meanings: dict = {}
    for text, said in MEANING.findall(COLUMNS.sub("\n    ", NOTATION.read_text("utf-8"))):
        said = " ".join(said.split())
        for one in text.split(", "):
            meanings.setdefault(one.removesuffix("_ij"), []).append(f"{text}: {said}" if "," in text else said)
    defined: dict = {}
    used: dict = {}
    for leaf, derivations in derived.items():
        for s in derivations.statements:
            left = [texts_of(node)[-1] for node in names_given(s.equation)] if s.number is not None else []
            for text in left:
                defined.setdefault(text, {}).setdefault((leaf, s.number))
            for text in {symbol.base if symbol.subscript else symbol.text for symbol in symbols_in(*s.equation.sides)}:
                used.setdefault(text, {}).setdefault(leaf)
    rows: list = []
    explained: dict = {}  # {meaning of several symbols: the first of them}
    for text in sorted(used.keys() | defined.keys(), key=lambda text: (text.lower(), text)):
        if not (text.startswith("d") and len(text) > 1 and {text[1:], text[1:].partition("_")[0]} & used.keys()):
            places = (f"{link(leaf, f'#eq-{number}')} ({number})" for leaf, number in defined.get(text, ()))
            uses = ", ".join(map(link, used.get(text, ())))
            meaning = meaning_of(text, meanings, used.get(text, ()))
            first = explained.setdefault(meaning, text)
            said = escape(meaning) if first == text or not meaning else f"see {name_set(first, names)}"
            rows.append((name_set(text, names), said, ", ".join(places), uses))
    return [
        f"<h1>Symbols and terms</h1><p>{OPENING}</p>",
        table("symbol | meaning | defined in | chapters that use it", rows, "index"),
        "<h2>Terms</h2><dl>",
        *(term_of(term, meaning, derived) for term, meaning in TERMS.items()),
        "</dl>",
    ]


def meaning_of(text, meanings, leaves) -> str:
    """Return the meanings of a symbol that apply to `leaves`.

    A symbol without an entry has the meanings of its base: y1 has those of y, and y′ those of X′. A meaning that ends
    with file names in parentheses applies only to these chapters.
    """
    if text in meanings:
        return "; ".join(dict.fromkeys(meanings[text]))
    letter = "X′" if text.endswith("′") else text.partition("_")[0].rstrip("0123456789₁₂")
    parts = [part for meaning in meanings.get(letter, ()) for part in meaning.split("; ")]
    files = [set(re.findall(r"\w+", part[part.rindex("(") :])) if part.endswith(")") else None for part in parts]
    pages = {leaf.page for leaf in leaves}
    return "; ".join(part for part, names in zip(parts, files, strict=True) if names is None or names & pages)


def term_of(term, meaning, derived):
    pattern = re.compile(rf"\b{re.escape(term)}", re.IGNORECASE)
    texts = {leaf: [" ".join(part.text.split()) for part in docstrings(d.source)] for leaf, d in derived.items()}
    uses = [leaf for leaf, parts in texts.items() if any(map(pattern.search, parts))]
    return f"<dt>{escape(term)}</dt><dd>{inline(meaning)} {', '.join(map(link, uses))}</dd>"


def link(leaf, anchor=""):
    return f'<a href="{leaf.page}.html{anchor}">{escape(leaf.title)}</a>'
