"""`minitransformer book`: the derivations as pages, made from the sources, typeset and executed."""

import sys
from pathlib import Path

from minitransformer.narrator import Narrator

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
    parser.add_argument("--pdf", action="store_true", help="print each page to a PDF beside it")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments) -> int:
    """Write the book, or a page."""
    from minitransformer.book.printing import browser, print_pages
    from minitransformer.book.writing import write_book, write_own

    printer = browser() if arguments.pdf else None
    narrator = Narrator(arguments.quiet)
    if arguments.file is not None:
        page = write_own(arguments.file, own_cases(arguments.file), arguments.out)
        pages = [page]
    else:
        with narrator.progress("writing", "pages") as progress:
            write_book(arguments.out, progress)
        page, pages = arguments.out / "index.html", sorted(arguments.out.glob("*.html"))
    if printer is not None:
        with narrator.progress("printing", "pages") as progress:
            print_pages(printer, pages, progress)
    print(f"{page}: open it in a browser", file=sys.stderr)
    return 0


def own_cases(path):
    """Return the cases of a file, none where it lists none. Raises what reading and importing it raises."""
    from gradcheck.cases import load_cases

    if "CASES" not in path.read_text("utf-8"):
        return []
    return load_cases(str(path))
