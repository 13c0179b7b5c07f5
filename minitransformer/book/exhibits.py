"""The museum of wrong gradients as pages: what real projects had, as it was and as it should be, and what missed it."""

import inspect
from html import escape

from gradcheck.museum import ROOMS, find, listing, outcome
from minitransformer.book.prose import inline


def exhibits(names):
    """The exhibits of a chapter."""
    shown = [exhibit_of(find(name), heading="h3") for name in names]
    return ["<h2>How others went wrong</h2>", *shown] if shown else []


def museum():
    """All exhibits, room by room."""
    body = ["<h1>The museum of wrong gradients</h1>"]
    for room in ROOMS:
        body.append(f"<h2>{inline(' '.join(inspect.getdoc(room).split()))}</h2>")
        body += [exhibit_of(exhibit, heading="h3") for exhibit in room.EXHIBITS]
    return body


def exhibit_of(exhibit, heading):
    """An exhibit: its story, its code, where it was found, and the check that missed it."""
    code = "".join(marked(mark, line) for mark, line in listing(exhibit.function))
    check = "".join(marked(" ", line) for _, line in listing(exhibit.check))
    sources = ", ".join(f'<a href="{escape(s.url)}">{escape(str(s))}</a>' for s in exhibit.sources)
    missed = exhibit.check.__name__.replace("_", " ")
    return (
        f'<section class="exhibit"><{heading} id="{exhibit.name}">{escape(exhibit.title)}</{heading}>'
        f"{paragraphs(exhibit.function)}<p>Found in {sources}.</p><pre>{code}</pre>"
        f"<p>The check that missed it, {escape(missed)}; {escape(outcome(exhibit))}:</p>"
        f"<pre>{check}</pre>{paragraphs(exhibit.check)}</section>"
    )


def paragraphs(function):
    """A docstring."""
    return "".join(f"<p>{inline(' '.join(p.split()))}</p>" for p in inspect.getdoc(function).split("\n\n"))


def marked(mark, line):
    """A line as it was (−), as it should be (+), or as it is in both."""
    kind = {"−": "was", "+": "is"}.get(mark, "both")
    return f'<span class="line {kind}">{escape(f"{mark} {line}")}</span>'
