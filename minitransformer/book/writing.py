"""Writing: the whole book to a folder: pages and what they need, and nothing from elsewhere."""

import difflib
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path

from minitransformer.archive import make_folder, write_atomically
from minitransformer.book import notation
from minitransformer.book.appendix import appendix, cases_of, checks
from minitransformer.book.chapter import EQUAL, read_text
from minitransformer.book.chapters import CHAPTERS, Leaf
from minitransformer.book.exhibits import exhibits, museum
from minitransformer.book.handout import handout
from minitransformer.book.page import Words, docstring_page, whole_page
from minitransformer.book.problems import TOPICS
from minitransformer.book.specimens import specimens, specimens_of_cases
from minitransformer.book.worked_example import worked_page
from minitransformer.book.worksheets import sheets, worksheet_page

STATIC = ("book.css", "book-math.woff2", "LICENSE-book-math.txt")
MUSEUM = Leaf("The museum of wrong gradients", "museum")
EXAMPLE = Leaf("One training step, every number", "worked_example")
NOTATION = Leaf("How equations are written", "notation")


def write_book(folder, progress=None) -> dict:
    """Write index.html, a page a chapter, the style and the font to a folder; return {page: (equations, equal ones)}.

    Raises OSError where that fails. `progress(done, of)` is called after each page.
    """
    folder = Path(folder)
    write_static(folder)
    leaves, every, counts = [*CHAPTERS, EXAMPLE, MUSEUM, NOTATION], specimens(), {}
    for k, leaf in enumerate(leaves):
        before = leaves[k - 1] if k else None
        after = leaves[k + 1] if k + 1 < len(leaves) else None
        if leaf is MUSEUM:
            body, numbers = museum(), ()
        elif leaf is EXAMPLE:
            body, numbers = worked_page(), ()
        elif leaf is NOTATION:
            body, numbers = docstring_page(leaf.title, notation.__doc__), ()
        else:
            body, numbers, counts[leaf.page] = chapter(leaf, every.get(leaf.file, []))
        write_page(folder, leaf.page, whole_page(leaf.title, body, before, after, numbers))
        if progress is not None:
            progress(k + 1, len(leaves))
    write_page(folder, "index", whole_page("minitransformer, the book", contents(leaves, counts)))
    return counts


def chapter(leaf, its_specimens):
    """Return the body of a chapter's page, the numbers of its equations, and how many there are and are equal."""
    text = read_text(leaf.path, its_specimens)
    words = Words(leaf.file, text)
    body = [f"<h1>{escape(leaf.title)}</h1>", *words.passages(), *appendix(text.runs)]
    body += [*checks(cases_of(leaf.file)), *exhibits(leaf.exhibits)]
    return body, words.known, (len(text.statements), sum(s.verdict == EQUAL for s in text.statements))


def write_handout(name, folder, answers=False) -> Path:
    """Write the handout of a chapter, or its key; return its path. Raises ValueError for a name that no chapter has."""
    leaf = named(name, {leaf.page: leaf for leaf in CHAPTERS}, "chapter")
    folder = Path(folder)
    text = read_text(leaf.path, specimens().get(leaf.file, []))
    write_static(folder)
    page = f"{name}-{'key' if answers else 'handout'}"
    write_page(folder, page, whole_page(leaf.title, handout(leaf, text, answers)))
    return folder / f"{page}.html"


def write_worksheets(name, folder, *, seed=0, level=2, count=1) -> list[Path]:
    """Write worksheets of a topic to one page, and their keys to another; return both paths.

    Raises ValueError for a name that no topic has, or where there are not so many different ones.
    """
    topic = named(name, TOPICS, "worksheet")
    made = sheets(topic, seed=seed, level=level, count=count)
    folder, pages = Path(folder), []
    write_static(folder)
    for kind in ("worksheet", "key"):
        body = worksheet_page(topic, made, seed=seed, level=level, answers=kind == "key")
        pages.append(folder / f"{name}-{level}-{seed}-{kind}.html")
        write_page(folder, pages[-1].stem, whole_page(topic.title, body))
    return pages


def named(name, known, what):
    """Return what has that name. Raises ValueError, with the nearest, where nothing has."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise ValueError(f"there is no {what} {name!r}; the nearest is {near[0]!r}")
    return known[name]


def write_own(path, cases, folder) -> Path:
    """Write the page of somebody's own file of derivations, executed on the inputs of its cases; return its path.

    Raises NotationError, naming line and column, for a numbered line that is no equation, and OSError.
    """
    folder, path = Path(folder), Path(path)
    text = read_text(path.resolve(), specimens_of_cases(cases))
    words = Words(path.name, text)
    body = [f"<h1>{escape(path.stem)}</h1>", *words.passages(), *appendix(text.runs), *checks(cases)]
    write_static(folder)
    write_page(folder, path.stem, whole_page(path.stem, body, numbers=words.known))
    return folder / f"{path.stem}.html"


def write_static(folder):
    """Make the folder, and write to it what all pages share."""
    make_folder(folder)
    for name in STATIC:
        write(folder / name, files("minitransformer.book").joinpath("static", name).read_bytes())


def write_page(folder, name, page):
    """Write a page."""
    write(folder / f"{name}.html", page.encode())


def write(path, content):
    """Write bytes, whole or not at all."""
    write_atomically(path, partial(put, content=content))


def put(file, content):
    """Write bytes to an open file."""
    file.write(content)


def contents(leaves, counts):
    """The body of the index."""
    equations, equal = (sum(column) for column in zip(*counts.values(), strict=True))
    items = "".join(f'<li><a href="{leaf.page}.html">{escape(leaf.title)}</a></li>' for leaf in leaves)
    return [
        "<h1>minitransformer: how a language model works, and why its gradients are right</h1>",
        "<p>Each chapter is a file of the program: its derivation on one side, the code that computes it on the other. "
        "The book is made from the sources. Point at an equation, and its line lights up.</p>",
        f"<p>Of its {equations} equations {equal} are executed, on small inputs whose values stand beside them, and "
        "equal what their lines compute; the others say why they are not.</p>",
        f'<ol class="contents">{items}</ol>',
    ]
