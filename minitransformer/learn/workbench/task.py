"""The task of an exercise as HTML: the docstrings of its file, with typeset equations."""

from html import escape

from minitransformer.book.derivations import names_of, statements
from minitransformer.book.observation import docstrings
from minitransformer.book.page import drawing
from minitransformer.book.prose import blocks, inline
from minitransformer.book.typesetting import mathml
from minitransformer.learn.workspace import PAGE_TEXT

WORDS = "<details><summary>what dX, ←, · and other words and signs mean</summary><ul>{}</ul></details>"


def task_of(text: str, name: str) -> str:
    """Return the docstrings of an exercise's text, except the title. Raises SyntaxError if it is not Python."""
    equations: dict[tuple, list] = {}
    for statement in statements(text, name):
        if not statement.in_prose:
            equations.setdefault((statement.function, statement.text), []).append(statement)
    names = names_of(one for some in equations.values() for one in some)
    parts = []
    for docstring in docstrings(text):
        if docstring.function:
            parts.append(f"<h2><code>{docstring.function.replace('.<locals>', '')}</code></h2>")
        is_header = not docstring.function
        for kind, content in [*blocks(docstring.text)][is_header:]:
            if kind == "prose":
                parts.append(f"<p>{inline(content, names)}</p>")
                continue
            for line in (line.strip() for line in content if line.strip()):
                found = equations.get((docstring.function, line), ())
                parts += [typeset(statement, names) for statement in found] or [drawing([line])]
        parts += [WORDS.format(words())] * is_header
    return "".join(parts)


def words() -> str:
    """Return the items of the list in the learner's page that explains words."""
    _, listed = PAGE_TEXT.split("The words of the exercises:\n\n- ")
    items = listed.partition("\n\n")[0].split("\n- ")
    return "".join(f"<li>{inline(' '.join(item.split()))}</li>" for item in items)


def typeset(statement, names) -> str:
    number = "" if statement.number is None else f'<a class="number" href="#">({statement.number})</a>'
    ranges = "".join(f",&ensp;{mathml(part, names)}" for part in statement.ranges)
    remarks = "".join(f'<span class="quiet">{escape(remark)}</span>' for remark in statement.remarks)
    return f'<div class="equation">{mathml(statement.equation, names)}{ranges}{remarks}{number}</div>'
