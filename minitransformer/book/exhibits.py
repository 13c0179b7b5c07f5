"""Pages of the museum of wrong gradients: wrong code of real projects, its correction, and the check that missed it."""

import inspect
from html import escape

from gradcheck.museum import ROOMS, find, listing, outcome
from minitransformer.book.prose import inline


def exhibits(names):
    shown = [exhibit_of(find(name)) for name in names]
    return (
        ['<section><h2>How others went wrong</h2><div class="exhibits">', *shown, "</div></section>"] if shown else []
    )


def museum():
    body = ["<h1>The museum of wrong gradients</h1>"]
    for room in ROOMS:
        shown = "".join(map(exhibit_of, room.EXHIBITS))
        body.append(f'<h2>{inline(" ".join(inspect.getdoc(room).split()))}</h2><div class="exhibits">{shown}</div>')
    return body


def exhibit_of(exhibit):
    code = "".join(marked(mark, line) for mark, line in listing(exhibit.function))
    check = "".join(marked(" ", line) for _, line in listing(exhibit.check))
    sources = ", ".join(f'<a href="{escape(s.url)}">{escape(str(s))}</a>' for s in exhibit.sources)
    missed = exhibit.check.__name__.replace("_", " ")
    return (
        f'<section class="exhibit"><div class="story"><h3 id="{exhibit.name}">{escape(exhibit.title)}</h3>'
        f"{paragraphs(exhibit.function)}<p>Found in {sources}.</p></div><pre>{code}</pre>"
        f'<p class="story">The check that missed it, {escape(missed)}; {escape(outcome(exhibit))}:</p>'
        f"<pre>{check}</pre>{paragraphs(exhibit.check)}</section>"
    )


def paragraphs(function):
    """Format the docstring of a function as paragraphs."""
    return "".join(f"<p>{inline(' '.join(p.split()))}</p>" for p in inspect.getdoc(function).split("\n\n"))


def marked(mark, line):
    """Format a line of code. `mark` is − for the wrong code, + for the correction, and a space for both."""
    kind = {"−": "was", "+": "is"}.get(mark, "both")
    indentation = len(line) - len(line.lstrip()) + 2
    return f'<span class="line {kind}" style="--in:{indentation}">{escape(f"{mark} {line}")}</span>'
