"""Convert the text of docstrings to HTML. Indented blocks are returned unchanged."""

import re
from html import escape

SUBSCRIPT = re.compile(
    r"(?<![\w.])([dδ∂]?[^\W\d_]\u0302?′?|Σ|id|[^\W\d_]{2,}(?=_ij))_([a-z]{1,2}|batch|\d)(?![a-z0-9_(])"
)
POWER = re.compile(r"\^\(([^()]*)\)")

CODE, PLACEHOLDER = re.compile(r"`([^`]*)`"), "\0"


def blocks(text: str):
    kind, lines = "prose", []
    for line in text.split("\n"):
        its_kind = ("indented" if line.startswith("    ") else "prose") if line.strip() else None
        ends = kind == "prose" if its_kind is None else its_kind != kind
        if ends and any(map(str.strip, lines)):
            yield block(kind, lines)
        lines = [] if ends else lines
        kind = its_kind or kind
        lines.append(line)
    if any(map(str.strip, lines)):
        yield block(kind, lines)


def block(kind, lines):
    if kind == "prose":
        return kind, " ".join(map(str.strip, lines)).strip()
    while not lines[-1].strip():
        lines.pop()
    return kind, lines


def inline(text: str) -> str:
    codes = CODE.findall(text)
    markup = SUBSCRIPT.sub(r"\1<sub>\2</sub>", escape(CODE.sub(PLACEHOLDER, text.replace(PLACEHOLDER, " "))))
    markup = POWER.sub(r"<sup>\1</sup>", markup)
    markup = re.sub(r"(?<!\w)\*\*(?=\S)(.+?)\*\*", r"<strong>\1</strong>", markup)
    markup = re.sub(r"(?<![\w*])\*(\w[^*]*\w)\*(?![\w*])", r"<em>\1</em>", markup)
    first, *rest = markup.split(PLACEHOLDER)
    return first + "".join(f"<code>{escape(code)}</code>{after}" for code, after in zip(codes, rest, strict=True))
