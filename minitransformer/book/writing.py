"""Write the book, or single pages in its style, to a folder.

The pages load nothing from the network. The scripts of live ladders are files beside the pages; that of the film is
embedded in its page.
"""

from dataclasses import dataclass, field
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path

from gradcheck import load_cases
from gradcheck.front.streams import counted, one_line, printable
from minitransformer.book import notation
from minitransformer.book.appendix import appendix, cases_by_file, checked, checks, in_the_text, is_it_right, mistakes
from minitransformer.book.chapters import BELIEFS, CHAPTERS, LEAVES, Leaf
from minitransformer.book.choices import choices_page
from minitransformer.book.derivations import DIFFERENT, EQUAL, executed_anywhere, read_derivations
from minitransformer.book.exhibits import beliefs, beliefs_page, exhibits, gallery, museum
from minitransformer.book.film import film_page
from minitransformer.book.five_letters import five_letters
from minitransformer.book.front import front_page
from minitransformer.book.handout import handout, in_code
from minitransformer.book.ideas import idea
from minitransformer.book.index import index_page
from minitransformer.book.live import SCRIPTS, TAGS, untranslated_section
from minitransformer.book.page import Words, cross_linked, details, docstring_page, navigation, whole_page
from minitransformer.book.planted import planted_mistakes
from minitransformer.book.problems import TOPICS
from minitransformer.book.specimens import specimens, specimens_of_cases
from minitransformer.book.trained import trained_section
from minitransformer.book.typesetting import mathml
from minitransformer.book.worked_example import worked_page
from minitransformer.book.worksheets import sheets, small_example, worksheet_page
from minitransformer.system.files import write_atomically
from minitransformer.system.folders import at_work_in
from minitransformer.system.validation import looked_up

STATIC = ("book.css", "book-math.woff2", "LICENSE-book-math.txt", *SCRIPTS)


@dataclass
class Written:
    pages: list = field(default_factory=list)  # paths of the pages, with the start page first
    faults: list = field(default_factory=list)  # one line for each error in the pages


def write_pages(folder, pages, faults=()) -> Written:
    """Write pages, the style sheet and the font. The values of `pages` are arguments of whole_page."""
    contents = {name: files("minitransformer.book").joinpath("static", name).read_bytes() for name in STATIC}
    contents |= {f"{name}.html": printable(whole_page(*page)).encode() for name, page in pages.items()}
    with at_work_in(folder):
        for name, content in contents.items():
            write_atomically(Path(folder) / name, lambda file, content=content: file.write(content))
    return Written([Path(folder) / f"{name}.html" for name in pages], [*faults])


def write_book(folder, exercises, say=lambda text: None) -> Written:
    """Write the whole book. `exercises` maps chapters to exercise names, and say(line) is called for each page."""
    every, bodies = specimens(), {"film": film_page, "museum": museum}
    bodies |= {
        "worked_example": lambda: [*worked_page(), five_letters(), TAGS],
        "identities": gallery,
        "misconceptions": beliefs,
        "notation": partial(docstring_page, LEAVES[-1].title, notation.__doc__),
    }
    derived: dict = {}
    bodies |= {"whys": choices_page, "symbols": lambda: [*index_page(derived), untranslated_section()]}
    pages, ladders, found, verdicts = {"index": None}, {}, [], []
    for before, leaf, after in zip([None, *LEAVES], LEAVES, [*LEAVES[1:], None], strict=False):
        said, numbers = f"{leaf.page}.html", ()
        if leaf.page in bodies:
            body = bodies[leaf.page]()
        else:
            derivations = derived[leaf] = read_derivations(leaf.path, every.get(leaf.file, []))
            cases = cases_by_file().get(leaf.file, [])
            reports = checked(cases)
            words = Words(derivations)
            ladders[leaf.page] = next(iter(words.ladders.values()), None)
            body, numbers = chapter(leaf.title, leaf.path, words, reports, cases, leaf)
            if names := exercises.get(leaf.file):
                body.append(f"<p>To derive it yourself, {in_code(names)}.</p>")
            found += faults(leaf.file, unlisted(derivations), reports)
            verdicts += [s.verdict for s in derivations.statements]
            said += f": {in_numbers(derivations)}"
        pages[leaf.page] = (leaf.title, body, numbers, navigation(before, after))
        say(said)
    pages["index"] = ("minitransformer, the book", front_page(LEAVES, ladders, len(verdicts), verdicts.count(EQUAL)))
    for page, (title, body, *rest) in pages.items():
        pages[page] = (title, [cross_linked("".join(body), {leaf.page for leaf in CHAPTERS} - {page})], *rest)
    return write_pages(folder, pages, found)


def chapter(title, path, words, reports, cases, leaf=None):
    derivations = words.derivations
    words.mistakes = planted = planted_mistakes(path, cases) if derivations.statements else []
    body = [opening(leaf, words) if leaf else f"<h1>{escape(title)}</h1>"]
    body += words.parts(right=lambda function: is_it_right(function, reports, cases))
    body += mistakes(planted)
    body += exhibits(leaf.exhibits if leaf else ())
    body += [
        "<section><h2>Details</h2>",
        details("The paths of values and gradients", words.graphs()),
        details("A small example with exact numbers", *(small_example(leaf.file) if leaf else ())),
        details("Operations and saved arrays", appendix(derivations.runs)),
        details("Certificate and all cases", *checks(reports, cases)),
        details("Equations in the text", *in_the_text(derivations.statements, words.names)),
        details("The file", words.whole_file()),
        f"</section>{TAGS}",
    ]
    return body, words.known


def opening(leaf, words):
    formula = ""
    if leaf.formula:
        statement = executed_anywhere(leaf.formula, words.derivations)
        if statement.verdict != EQUAL:
            raise ValueError(f"contents.md: {leaf.formula}: {statement.in_words}")
        formula = f'<div class="formula-of-all" tabindex="0">{mathml(statement.equation, words.names)}</div>'
    return (
        f'<header><p class="kicker">Chapter {CHAPTERS.index(leaf) + 1}</p><h1>{escape(leaf.title)}</h1>'
        f'<p class="question">{escape(leaf.question)}</p></header>{trained_section(leaf.page)}'
        f"{formula}<p>{escape(leaf.about)}</p>{idea(leaf.page)}"
    )


def in_numbers(derivations):
    verdicts = [s.verdict for s in derivations.statements]
    equal, different = verdicts.count(EQUAL), verdicts.count(DIFFERENT)
    counts = {"equal to their lines": equal, "different": different, "not executed": len(verdicts) - equal - different}
    parts = [f"{count} {words}" for words, count in counts.items() if count or words.startswith("equal")]
    return f"{counted(len(verdicts), 'equation')}, {', '.join(parts)}"


def unlisted(derivations):
    return [s for s in derivations.statements if s.verdict != EQUAL and not s.listed]


def faults(file, statements, reports):
    found = [f"{file}, line {s.line}: {s.text}: {s.in_words}" for s in statements]
    return [one_line(fault) for fault in found + [f"{file}: {x}" for r in reports.values() for x in r.failures()]]


def write_handout(name, folder, exercises, answers=False) -> Written:
    """Write the handout of a chapter, or the key if `answers` is True. Raises ValueError for an unknown chapter.

    `name` is a chapter, or the path of a reader's file, which ends in .py.
    """
    own = Leaf(Path(name).stem, str(Path(name).resolve()), (), "", "", "") if name.endswith(".py") else None
    leaf = own or looked_up(name, {leaf.page: leaf for leaf in CHAPTERS}, "chapter")
    derivations = read_derivations(leaf.path, specimens().get(leaf.file, []))
    body = handout(leaf, derivations, answers, exercises.get(leaf.file, ()))
    return write_pages(folder, {f"{leaf.page}-{'key' if answers else 'handout'}": (leaf.title, body)})


def write_worksheets(name, folder, *, seed=0, level=2, count=1) -> Written:
    """Write worksheets of a topic to one page, and the keys to another. Raises ValueError for an unknown topic."""
    topic = looked_up(name, TOPICS, "worksheet")
    made, pages = sheets(topic, seed=seed, level=level, count=count), {}
    for kind in ("worksheet", "key"):
        body = worksheet_page(topic, made, seed=seed, level=level, answers=kind == "key")
        pages[f"{name}-{level}-{seed}-{kind}"] = (topic.title, body)
    return write_pages(folder, pages)


def write_beliefs(folder, results, pictures) -> Path:
    """Write the page of experiments on beliefs. `pictures` maps experiments to files in the folder."""
    return write_pages(folder, {"index": (BELIEFS, beliefs_page(results, pictures))}).pages[0]


def write_own(path, folder, say=lambda text: None) -> Written:
    """Write the page of a reader's file, whose equations are executed on the inputs of its CASES.

    Raises OSError if the file cannot be read, NotationError if a numbered equation cannot be parsed, and ValueError if
    the file is not Python, contains no equation, or fails when it runs.
    """
    path, cases = Path(path), []
    if not read_derivations(path, ()).statements:
        raise ValueError(f"{path}: its docstrings contain no equation; write one on an indented line that ends in (1)")
    try:
        cases = load_cases(str(path))
    except ImportError as error:
        if not str(error).startswith(f"{path} lists no cases"):
            raise ValueError(str(error)) from error
    try:
        reports = checked(cases)
        derivations = read_derivations(path, specimens_of_cases(path, cases))
    except Exception as error:  # raised by the reader's functions
        raise ValueError(f"{path}: {error}") from error
    body, numbers = chapter(path.stem, path, Words(derivations), reports, cases)
    different = [s for s in derivations.statements if s.verdict == DIFFERENT]
    written = write_pages(folder, {path.stem: (path.stem, body, numbers)}, faults(path, different, reports))
    say(f"{path}: {in_numbers(derivations)}")
    if not cases:
        say(f"{path} has no CASES, so its equations are not executed")
    return written
