"""Format Python code as HTML, with line numbers, colours and links to equations."""

import io
import keyword
import re
import tokenize
from dataclasses import dataclass
from html import escape

from minitransformer.book.observation import docstrings

KINDS = {tokenize.COMMENT: "comment", tokenize.STRING: "string", tokenize.NUMBER: "number"}
FAR_BEHIND = re.compile(r"(?<=\S) {3,}$")  # the blanks before a comment that is aligned with others
TAGGED = re.compile(r"\((\d{1,6})\)")
FORMATTER = re.compile(r" *# fmt: (on|off)$")


@dataclass(frozen=True)
class Passage:
    """A docstring and the code up to the next docstring. `lines` contains (line number in the file, text)."""

    function: str  # qualified name of the documented function, or "" for the docstring of the file
    docstring: str
    lines: tuple


def passages(source: str) -> list[Passage]:
    """Divide a file into passages. Code without a docstring belongs to the preceding passage."""
    text, quoted, found = source.split("\n"), docstrings(source), []
    for this, behind in zip(quoted, [*(after.begins for after in quoted[1:]), len(text) + 1], strict=True):
        numbers = [*range(this.begins, this.first), *range(this.last + 1, behind)]
        lines = [(n, text[n - 1]) for n in numbers if not FORMATTER.match(text[n - 1])]
        lines = [(n, line) for n, line in lines if line.strip() or n != this.last + 1]
        filled = [k for k, (_, line) in enumerate(lines) if line.strip()]
        found.append(Passage(this.function, this.text, tuple(lines[filled[0] : filled[-1] + 1] if filled else ())))
    return found


def marks_of(source: str) -> dict:
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = KINDS.get(token.type) or ("keyword" if keyword.iskeyword(token.string) else None)
        if kind and token.start[0] == token.end[0]:
            found.setdefault(token.start[0], []).append((token.start[1], token.end[1], kind))
    return found


def listing(lines, numbers: dict, known: set, marks: dict, anchored: set) -> str:
    """Format numbered lines of code as HTML, without the common indentation.

    `numbers` maps lines to equation numbers, and `marks` maps lines to the tokens to be coloured. `known` contains the
    equation numbers on the page, and `anchored` its anchors, to which those of the lines are added. The CSS variable
    `--in` indents the rest of a wrapped line.
    """
    shared = min((len(text) - len(text.lstrip()) for _, text in lines if text.strip()), default=0)
    made = ""
    for at, text in lines:
        classes = "".join(f" e{number}" for number in numbers.get(at, ()))
        indented = max(len(text) - len(text.lstrip(" ")) - shared, 0)
        anchor = "" if f"L{at}" in anchored else f' id="L{at}"'
        anchored.add(f"L{at}")
        made += (
            f'<span class="line{classes}"{anchor} style="--in:{indented}">'
            f'<a class="at" href="#L{at}">{at}</a>{coloured(text, marks.get(at, ()), known, shared)}</span>'
        )
    return made


def coloured(text, marks, known, start):
    markup, at = "", start
    for first, behind, kind in marks:
        before, inner = text[at:first], escape(text[first:behind])
        if kind == "comment":
            before = FAR_BEHIND.sub("  ", before)
            inner = TAGGED.sub(lambda m: f'<a href="#eq-{m[1]}">{m[0]}</a>' if int(m[1]) in known else m[0], inner)
        markup += f'{escape(before)}<span class="{kind}">{inner}</span>'
        at = behind
    return markup + escape(text[at:])
