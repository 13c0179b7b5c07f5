"""Writing: the book, or a page of its kind, to a folder: pages and what they need, and nothing from elsewhere."""

import difflib
from dataclasses import dataclass, field
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path

from gradcheck import load_cases
from minitransformer.book import notation
from minitransformer.book.appendix import appendix, cases_by_file, checked, checks
from minitransformer.book.beliefs import TITLE, beliefs, beliefs_page
from minitransformer.book.chapters import CHAPTERS, Leaf
from minitransformer.book.derivations import read_derivations
from minitransformer.book.exhibits import exhibits, museum
from minitransformer.book.handout import handout, in_code
from minitransformer.book.page import LEGEND, Words, docstring_page, navigation, whole_page
from minitransformer.book.problems import TOPICS
from minitransformer.book.specimens import specimens, specimens_of_cases, why_not_executed
from minitransformer.book.statements import DIFFERENT, EQUAL
from minitransformer.book.worked_example import worked_page
from minitransformer.book.worksheets import sheets, worksheet_page
from minitransformer.files import write_atomically
from minitransformer.folders import at_work_in
from minitransformer.system.printable import one_line, printable
from minitransformer.system.terminal import counted

STATIC = ("book.css", "book-math.woff2", "LICENSE-book-math.txt")
EXAMPLE = Leaf(
    "One training step, every number",
    "worked_example",
    "A model of two positions, worked out on two pages, as on a board.",
)
MUSEUM = Leaf(
    "The museum of wrong gradients",
    "museum",
    "What others shipped, as it was and as it should be, and the checks that missed it.",
)
BELIEFS = Leaf(
    TITLE,
    "misconceptions",
    "What people believe about language models, each belief as an experiment of two minutes, and what came out.",
)
NOTATION = Leaf("How equations are written", "notation", "For authors, and for pages of your own functions.")


@dataclass
class Written:
    """What has been written: the paths of pages, the first to be opened; and what is wrong with what they say."""

    pages: list = field(default_factory=list)
    faults: list = field(default_factory=list)


def write_book(folder, exercises, say=lambda text: None) -> Written:
    """Write the whole book: index.html, a page a chapter, the style and the font. `say` hears of each page.

    `exercises` are {file of a chapter: names}, as `learn check` knows them.
    Raises OSError where that fails.
    """
    folder, written, counts = Path(folder), Written(), []
    write_static(folder)
    leaves, every = [*CHAPTERS, EXAMPLE, MUSEUM, BELIEFS, NOTATION], specimens()
    notes = partial(docstring_page, NOTATION.title, notation.__doc__)
    bodies = {EXAMPLE: worked_page, MUSEUM: museum, BELIEFS: beliefs, NOTATION: notes}
    for before, leaf, after in zip([None, *leaves], leaves, [*leaves[1:], None], strict=False):
        said, numbers = f"{leaf.page}.html", ()
        if leaf in bodies:
            body = bodies[leaf]()
        else:
            derivations = read_derivations(leaf.path, every.get(leaf.file, []))
            reports = checked(cases_by_file().get(leaf.file, []))
            body, numbers = chapter(leaf.title, leaf.file, derivations, reports, leaf.exhibits)
            body += yourself(exercises.get(leaf.file, ()))
            written.faults += faults(leaf.file, unlisted(leaf.file, derivations), reports)
            counts.append(count(derivations))
            said += f": {in_numbers(derivations)}"
        written.pages.append(write_page(folder, leaf.page, leaf.title, body, numbers, navigation(before, after)))
        say(said)
    written.pages.insert(0, write_page(folder, "index", "minitransformer, the book", contents(leaves, counts)))
    return written


def chapter(title, file, derivations, reports, museum_names=()):
    """Return the body of a chapter's page, and the numbers of its equations. `reports` are those of its checks."""
    words = Words(file, derivations)
    legend = f'<p class="legend">{LEGEND}</p>' if derivations.statements else ""
    body = [f"<h1>{escape(title)}</h1>{legend}", *words.passages(), *appendix(derivations.runs)]
    return [*body, *checks(reports), *exhibits(museum_names)], words.known


def yourself(names):
    """The last line of a chapter that has exercises: their commands."""
    return [f"<p>To derive it yourself, {in_code(names)}.</p>"] if names else []


def count(derivations):
    """How many equations there are, and how many are equal to their lines."""
    return len(derivations.statements), sum(s.verdict == EQUAL for s in derivations.statements)


def in_numbers(derivations):
    """How many equations there are, and what came of executing them, in words."""
    verdicts = [s.verdict for s in derivations.statements]
    equal, different = verdicts.count(EQUAL), verdicts.count(DIFFERENT)
    rest = len(verdicts) - equal - different
    parts = [
        f"{equal} equal to their lines",
        f"{different} different" * bool(different),
        f"{rest} not executed" * bool(rest),
    ]
    return f"{counted(len(verdicts), 'equation')}, {', '.join(filter(None, parts))}"


def unlisted(file, derivations):
    """Return the equations that are neither equal to their lines nor listed as not executed."""
    return [s for s in derivations.statements if s.verdict != EQUAL and not why_not_executed(file, s.text)]


def faults(file, statements, reports):
    """Return a line for each of some equations, and for each wrong gradient."""
    found = [f"{file}, line {s.line}: {s.text}: {s.in_words}" for s in statements]
    return [one_line(fault) for fault in found + [f"{file}: {x}" for r in reports.values() for x in r.failures()]]


def write_handout(name, folder, exercises, answers=False) -> Written:
    """Write the handout of a chapter, or its key; `exercises` as for write_book.

    Raises ValueError for a name that no chapter has, or one without a backward pass; OSError where writing fails.
    """
    leaf = named(name, {leaf.page: leaf for leaf in CHAPTERS}, "chapter")
    body = handout(
        leaf, read_derivations(leaf.path, specimens().get(leaf.file, [])), answers, exercises.get(leaf.file, ())
    )
    folder = Path(folder)
    write_static(folder)
    return Written([write_page(folder, f"{name}-{'key' if answers else 'handout'}", leaf.title, body)])


def write_worksheets(name, folder, *, seed=0, level=2, count=1) -> Written:
    """Write worksheets of a topic to one page, and their keys to another.

    Raises ValueError for a name that no topic has, or where there are not so many different ones; OSError where writing
    fails.
    """
    topic = named(name, TOPICS, "worksheet")
    made, written, folder = sheets(topic, seed=seed, level=level, count=count), Written(), Path(folder)
    write_static(folder)
    for kind in ("worksheet", "key"):
        body = worksheet_page(topic, made, seed=seed, level=level, answers=kind == "key")
        written.pages.append(write_page(folder, f"{name}-{level}-{seed}-{kind}", topic.title, body))
    return written


def write_beliefs(folder, results, pictures) -> Path:
    """Write the page of the Results of experiments on beliefs, `pictures` {name: file in the folder}; return its path.

    Raises OSError where that fails.
    """
    write_static(Path(folder))
    return write_page(Path(folder), "index", TITLE, beliefs_page(results, pictures))


def named(name, known, what):
    """Return what has that name. Raises ValueError, with the nearest, where nothing has."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise ValueError(f"there is no {what} {name!r}; the nearest is {near[0]!r}")
    return known[name]


def write_own(path, folder, say=lambda text: None) -> Written:
    """Write the page of somebody's own file of derivations, executed on the inputs of the CASES that it lists.

    `say` hears how much was executed. Raises ValueError for a file that is no Python, has no equation, or cannot be
    run; NotationError, naming line and column, for a numbered line that is no equation; and OSError.
    """
    folder, path = Path(folder), Path(path)
    if not read_derivations(path, ()).statements:
        raise ValueError(f"{path}: there is no equation in its docstrings, on an indented line that ends in (1)")
    cases = own_cases(path)
    try:
        reports = checked(cases)
        derivations = read_derivations(path, specimens_of_cases(path, cases))
    except Exception as error:  # of a function of theirs
        raise ValueError(f"{path}: {error}") from error
    body, numbers = chapter(path.stem, path.name, derivations, reports)
    write_static(folder)
    page = write_page(folder, path.stem, path.stem, body, numbers)
    say(f"{path}: {in_numbers(derivations)}")
    if not cases:
        say(f"{path} lists no CASES, on whose inputs its equations would be executed")
    different = [s for s in derivations.statements if s.verdict == DIFFERENT]
    return Written([page], faults(path, different, reports))


def own_cases(path):
    """Return the cases of a file, none where it lists none. Raises ValueError where it cannot be imported."""
    try:
        return load_cases(str(path))
    except ImportError as error:
        if str(error).startswith(f"{path} lists no cases"):
            return []
        raise ValueError(str(error)) from error


def write_static(folder):
    """Make the folder, and write to it what all pages share."""
    with at_work_in(folder):
        for name in STATIC:
            write(folder / name, files("minitransformer.book").joinpath("static", name).read_bytes())


def write_page(folder, name, title, body, numbers=(), links="") -> Path:
    """Write a page, with what cannot be printed escaped; return its path."""
    write(folder / f"{name}.html", printable(whole_page(title, body, numbers, links)).encode())
    return folder / f"{name}.html"


def write(path, content):
    """Write bytes, whole or not at all."""
    write_atomically(path, lambda file: file.write(content))


def contents(leaves, counts):
    """The body of the index."""
    equations, equal = (sum(column) for column in zip(*counts, strict=True))
    items = "".join(
        f'<li><a href="{leaf.page}.html">{escape(leaf.title)}</a><br>{escape(leaf.about)}</li>' for leaf in leaves
    )
    return [
        "<h1>minitransformer: how a language model works, and why its gradients are right</h1>",
        "<p>Each chapter is a file of the program: its derivation on one side, the code that computes it on the other. "
        "The book is made from the sources, so that it cannot differ from them.</p>",
        f"<p>Of its {equations} equations {equal} are executed, on small numbers that stand with them, and equal what "
        "their lines compute; the others say why they are not.</p>",
        "<p>To derive a chapter yourself, on paper: <code>minitransformer book --handout layer_norm</code>; "
        f"{in_code()}.</p>",
        f'<ol class="contents">{items}</ol>',
    ]
