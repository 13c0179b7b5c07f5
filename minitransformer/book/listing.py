"""Format Python code as HTML with line numbers, syntax colours, and links to the equations."""

import io
import keyword
import re
import tokenize
from html import escape

KINDS = {tokenize.COMMENT: "comment", tokenize.STRING: "string", tokenize.NUMBER: "number"}
FAR_BEHIND = re.compile(r"(?<=\S) {3,}$")  # the blanks before a comment that is aligned with others
TAGGED = re.compile(r"\((\d{1,6})\)")


def marks_of(source: str) -> dict:
    """Return {line: [(start column, end column, kind), …]} of the coloured tokens."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = KINDS.get(token.type) or ("keyword" if keyword.iskeyword(token.string) else None)
        if kind and token.start[0] == token.end[0]:
            found.setdefault(token.start[0], []).append((token.start[1], token.end[1], kind))
    return found


def listing(lines, numbers: dict, known: set, marks: dict) -> str:
    """Format lines of code without their common indentation.

    `lines` are (number in the file, text). `numbers` is {line: numbers of its equations}. The equations in `known` are
    on the page, so their numbers become links.
    """
    shared = min((len(text) - len(text.lstrip()) for _, text in lines if text.strip()), default=0)
    return "".join(
        one_line(at, coloured(text, marks.get(at, ()), known, shared), indentation(text) - shared, numbers.get(at, ()))
        for at, text in lines
    )


def indentation(text):
    return len(text) - len(text.lstrip(" "))


def one_line(at, markup, indented, equations):
    """Format a line of code. The CSS variable `--in` indents the rest of a wrapped line."""
    classes = "".join(f" e{number}" for number in equations)
    return (
        f'<span class="line{classes}" id="L{at}" style="--in:{max(indented, 0)}">'
        f'<a class="at" href="#L{at}">{at}</a>{markup}</span>'
    )


def coloured(text, marks, known, start):
    """Return a line from column `start` on, with colours and links to equations."""
    markup, at = "", start
    for first, behind, kind in marks:
        before, inner = text[at:first], escape(text[first:behind])
        if kind == "comment":
            before = FAR_BEHIND.sub("  ", before)
            inner = TAGGED.sub(lambda match: to_equation(match, known), inner)
        markup += f'{escape(before)}<span class="{kind}">{inner}</span>'
        at = behind
    return markup + escape(text[at:])


def to_equation(match, known):
    return f'<a href="#eq-{match[1]}">{match[0]}</a>' if int(match[1]) in known else match[0]
