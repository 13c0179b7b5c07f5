"""Prose: the text of a docstring as HTML, its indented lines left to whoever knows what they are."""

import re
from html import escape

SUBSCRIPT = re.compile(
    r"(?<![\w`])((?:[dδ∂]?[^\W\d_]\u0302?′?)|Σ|[^\W\d_]{2,}(?=_ij))_([a-z]{1,2}|batch)(?![a-z0-9_(])"
)


def blocks(text: str):
    """Yield ("prose", paragraph) and ("indented", [line, …]) of a docstring, in its order."""
    for paragraph in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n")):
        lines = paragraph.splitlines()
        kinds = ["indented" if line.startswith("    ") else "prose" for line in lines]
        start = 0
        for k in range(1, len(lines) + 1):
            if k == len(lines) or kinds[k] != kinds[start]:
                part = lines[start:k]
                yield (kinds[start], part if kinds[start] == "indented" else " ".join(map(str.strip, part)))
                start = k


def inline(text: str) -> str:
    """Return a paragraph as HTML: `code`, **emphasis** and subscripts."""
    markup = "".join(
        f"<code>{escape(piece[1:-1])}</code>" if piece.startswith("`") else with_subscripts(escape(piece, quote=False))
        for piece in re.split(r"(`[^`]*`)", text)
    )
    return re.sub(r"(?<!\w)\*\*(?=\S)(.+?)\*\*", r"<strong>\1</strong>", markup)


def with_subscripts(markup):
    """x_i with its index below."""
    return SUBSCRIPT.sub(r"\1<sub>\2</sub>", markup)
