"""A listing: Python code as HTML, each line with its number, coloured, and tied to the equations that it carries."""

import io
import keyword
import re
import tokenize
from html import escape

KINDS = {tokenize.COMMENT: "comment", tokenize.STRING: "string", tokenize.NUMBER: "number"}
FAR_BEHIND = re.compile(r"(?<=\S) {3,}$")  # the blanks before a comment that is aligned with others
TAGGED = re.compile(r"\((\d{1,6})\)")


def listing(lines, numbers: dict, known: set) -> str:
    """Return lines, (number in the file, text), as HTML.

    `numbers` are {line: equations that it carries}, of which those that are `known` have an equation on the page.
    """
    return "".join(one_line(at, text, [n for n in numbers.get(at, ()) if n in known], known) for at, text in lines)


def one_line(at, text, equations, known):
    """A line of code; `--in` is how many blanks it begins with, for where it goes on if it is too long."""
    classes = "".join(f" e{number}" for number in equations)
    indentation = len(text) - len(text.lstrip(" "))
    markup = coloured(text, known)
    return (
        f'<span class="line{classes}" id="L{at}" style="--in:{indentation}">'
        f'<a class="at" href="#L{at}">{at}</a>{markup}</span>'
    )


def coloured(text, known):
    """A line with its comments, strings and keywords marked, and the numbers of equations linked to them."""
    markup, at = "", 0
    try:
        found = list(tokenize.generate_tokens(io.StringIO(text.strip() + "\n").readline))
    except (tokenize.TokenError, SyntaxError):  # a line of a longer statement
        return escape(text)
    indent = len(text) - len(text.lstrip())
    for token in found:
        kind = KINDS.get(token.type) or ("keyword" if keyword.iskeyword(token.string) else None)
        if kind and token.start[0] == 1 and token.end[0] == 1:
            start, end = token.start[1] + indent, token.end[1] + indent
            before, inner = text[at:start], escape(text[start:end])
            if kind == "comment":
                before = FAR_BEHIND.sub("  ", before)
                inner = TAGGED.sub(lambda match: to_equation(match, known), inner)
            markup += f'{escape(before)}<span class="{kind}">{inner}</span>'
            at = end
    return markup + escape(text[at:])


def to_equation(match, known):
    """The number of an equation, linked to it where it is on the page."""
    return f'<a href="#eq-{match[1]}">{match[0]}</a>' if int(match[1]) in known else match[0]
