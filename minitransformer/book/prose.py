"""Convert the text of docstrings to HTML, with typeset formulas. Indented blocks are returned unchanged."""

import re
from html import escape

from minitransformer.book.chapters import PAPERS
from minitransformer.book.formulas import formulas
from minitransformer.book.typesetting import mathml

CODE, PLACEHOLDER = re.compile(r"`([^`]*)`"), "\0"
BLOCK = re.compile(r"^(?:(?P<indented>(?: {4}.*\S.*\n(?:\s*\n)*)+)|(?:(?! {4}).*\S.*\n)+)", re.MULTILINE)
ENCLOSED = re.compile(r"\([^()]*\)")  # a formula in the parentheses of its sentence, such as (H/K)
CITATION = re.compile("|".join(map(re.escape, PAPERS)))


def blocks(text: str):
    """Divide a text into paragraphs ("prose") and the lines of indented blocks ("indented").

    Blank lines end a paragraph, but not an indented block.
    """
    for block in BLOCK.finditer(f"{text}\n"):
        lines = block[0].rstrip().split("\n")
        yield ("indented", lines) if block["indented"] else ("prose", " ".join(map(str.strip, lines)))


def inline(text: str, names: frozenset = frozenset()) -> str:
    """Convert a paragraph to HTML, including code, emphasis and formulas."""
    text = text.replace(PLACEHOLDER, " ")
    papers = {match.span(): f'<a href="{PAPERS[match[0]]}">{match[0]}</a>' for match in CITATION.finditer(text)}
    parts = papers | {match.span(): f"<code>{escape(match[1])}</code>" for match in CODE.finditer(text)}
    for f in formulas(text, names):
        made = mathml(f.node, names, display=False)
        parts[f.first, f.behind] = f"({made})" if ENCLOSED.fullmatch(text[f.first : f.behind]) else made
    markup, at = "", 0
    for first, behind in sorted(parts):
        markup += escape(text[at:first]) + PLACEHOLDER
        at = behind
    markup += escape(text[at:])
    markup = re.sub(r"(?<!\w)\*\*(?=\S)(.+?)\*\*", r"<strong>\1</strong>", markup)
    markup = re.sub(r"(?<![\w*])\*([\w(][^*]*[\w)])\*(?![\w*])", r"<em>\1</em>", markup)
    first, *rest = markup.split(PLACEHOLDER)
    return first + "".join(unbroken(parts[span], after) for span, after in zip(sorted(parts), rest, strict=True))


def unbroken(part, after):
    """Join a part with the punctuation after it, so that no line begins with a comma."""
    mark = re.match("[,.;:]", after)
    if not mark or not part.startswith("<math"):
        return part + after
    before, space, last = part.rpartition(" <math>")
    return f'{before}{space[:1]}<span class="unbroken">{space[1:]}{last}{mark[0]}</span>{after[1:]}'
