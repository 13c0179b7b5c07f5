"""`minitransformer book`: the derivations as pages, made from the sources, typeset and executed."""

from pathlib import Path

from gradcheck.command_line import whole_number
from minitransformer.narrator import Narrator

# As the help of all commands is made, what knows them is not loaded yet; a test holds these to it.
TOPICS = "linear, softmax, cross_entropy, attention, layer_norm, rms_norm, relu, rotary, adamw"
LEVELS = "1 forward, 2 also backward, 3 without the equations"

HELP = "the derivations as pages: typeset, executed, beside the code"

DESCRIPTION = """\
Write the book: a page a chapter, the derivation on one side and the code on the other, every equation typeset, linked
to its line, and executed on small inputs. It is made from the sources, so it cannot differ from them. The pages need
no network and no script; open index.html in a browser.

With a FILE, the page of your own functions in this style: equations in docstrings, numbered, and the line of each ends
in # (1). If the file lists CASES, as for python -m gradcheck, the equations are executed on their inputs.
"""

EPILOG = """\
examples:
  minitransformer book --out book
  minitransformer book --handout layer_norm          and --answers
  minitransformer book --worksheet attention --seed 3 --count 30
  minitransformer book my_layers.py --out mine
  minitransformer book --pdf                        also as PDFs, printed by Chromium, Chrome or Firefox

How equations are written is the last page of the book.
"""


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a Python file of your own")
    parser.add_argument(
        "--out", type=Path, default=Path("book"), metavar="FOLDER", help="where to write (default: book)"
    )
    classes = parser.add_argument_group("for a class")
    classes.add_argument("--handout", metavar="CHAPTER", help="a chapter of two pages with the answers left out")
    classes.add_argument("--answers", action="store_true", help="with --handout: its key")
    classes.add_argument("--worksheet", metavar="TOPIC", help=f"a page to fill in by hand, and its key: {TOPICS}")
    classes.add_argument("--level", type=int, choices=(1, 2, 3), default=2, help=f"{LEVELS} (default: 2)")
    classes.add_argument("--count", type=whole_number(1, "--count"), default=1, metavar="N", help="so many, none twice")
    classes.add_argument("--seed", type=whole_number(0, "--seed"), default=0, metavar="N", help="of the numbers")
    parser.add_argument("--pdf", action="store_true", help="print each page to a PDF beside it")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments) -> int:
    """Write the book, or a page."""
    from minitransformer.book.printing import browser, print_pages
    from minitransformer.book.writing import write_book, write_handout, write_own, write_worksheets

    printer = browser() if arguments.pdf else None
    narrator = Narrator(arguments.quiet)
    if arguments.worksheet is not None:
        settings = {"seed": arguments.seed, "level": arguments.level, "count": arguments.count}
        pages = write_worksheets(arguments.worksheet, arguments.out, **settings)
        page = pages[0]
    elif arguments.handout is not None:
        page = write_handout(arguments.handout, arguments.out, arguments.answers)
        pages = [page]
    elif arguments.file is not None:
        page = write_own(arguments.file, own_cases(arguments.file), arguments.out)
        pages = [page]
    else:
        with narrator.progress("writing", "pages") as progress:
            write_book(arguments.out, progress)
        page, pages = arguments.out / "index.html", sorted(arguments.out.glob("*.html"))
    if printer is not None:
        with narrator.progress("printing", "pages") as progress:
            print_pages(printer, pages, progress)
    narrator.say(f"{page}: open it in a browser")
    return 0


def own_cases(path):
    """Return the cases of a file, none where it lists none. Raises what reading and importing it raises."""
    from gradcheck.cases import load_cases

    if "CASES" not in path.read_text("utf-8"):
        return []
    return load_cases(str(path))
