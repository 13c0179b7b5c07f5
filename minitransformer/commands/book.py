"""`minitransformer book`: the derivations as pages, made from the sources, typeset and executed."""

from argparse import SUPPRESS
from pathlib import Path

from minitransformer.system.narrator import Narrator
from minitransformer.system.terminal import counted, say, show_to_the_letter, whole_number

# As the help of all commands is made, what knows these is not loaded yet; a test holds them to it.
TOPICS = "linear, softmax, cross_entropy, attention, layer_norm, rms_norm, relu, rotary, adamw"
LEVELS = {1: "forward", 2: "also backward", 3: "without the equations"}

HELP = "the derivations as pages: typeset, executed, beside the code"

DESCRIPTION = """\
Write the book: a page a chapter, the derivation on one side and the code on the other, every equation typeset, linked
to its line, and executed on small numbers. It is made from the sources, so it cannot differ from them. The pages load
nothing from elsewhere and need no script; open index.html in a browser. No extra is needed.

With a FILE, the page of your own functions in this style: equations in docstrings, numbered, and the line of each ends
in # (1). If the file lists CASES, as for python -m gradcheck, the equations are executed on their inputs.

Exit status 1 where an equation differs from its line or a gradient is wrong; then a line says which.
"""

EPILOG = """\
examples:
  minitransformer book --out book
  minitransformer book --handout layer_norm           and with --answers its key
  minitransformer book --worksheet attention --seed 3 --count 30
  minitransformer book my_layers.py --out mine
  minitransformer book --pdf                          also as PDFs, printed by Chromium or Chrome

How equations are written is the last page of the book.
"""


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a Python file of your own")
    parser.add_argument(
        "--out", type=Path, default=Path("book"), metavar="FOLDER", help="where to write (default: book)"
    )
    parser.add_argument("--pdf", action="store_true", help="print each page to a PDF beside it: by Chromium or Chrome")
    parser.add_argument("--quiet", action="store_true", help="print the path of the page alone, and errors")
    classes = parser.add_argument_group("for a class")
    classes.add_argument("--handout", metavar="CHAPTER", help="a chapter of two pages with the answers left out")
    classes.add_argument("--answers", action="store_true", help="with --handout: its key")
    classes.add_argument("--worksheet", metavar="TOPIC", help=f"a page to fill in by hand, and its key: {TOPICS}")
    for name, kind, words in (
        ("level", {"type": int, "choices": tuple(LEVELS)}, f"{said_of_levels()} (default: 2)"),
        ("count", {"type": whole_number(1, "--count"), "metavar": "N"}, "so many, none twice (default: 1)"),
        ("seed", {"type": whole_number(0, "--seed"), "metavar": "N"}, "of the numbers (default: 0)"),
    ):
        classes.add_argument(f"--{name}", default=SUPPRESS, help=f"with --worksheet: {words}", **kind)


def said_of_levels():
    """What the levels are, for the help."""
    return ", ".join(f"{level} {words}" for level, words in LEVELS.items())


def run(arguments) -> int:
    """Write the book, or a page of its kind; return 1 where something that it says is wrong."""
    settings = {name: value for name, value in vars(arguments).items() if name in ("level", "count", "seed")}
    require_options_that_go_together(arguments, settings)

    from minitransformer.book.printing import browser, print_pages

    printer = browser() if arguments.pdf else None
    narrator = Narrator(arguments.quiet)
    written = write(arguments, settings, narrator)
    if printer is not None:
        narrator.say(f"printing {counted(len(written.pages), 'page')}")
        print_pages(printer, written.pages)
    for fault in written.faults:
        say(fault)
    narrator.say("open in a browser:")
    show_to_the_letter(written.pages[0])
    return 1 if written.faults else 0


def require_options_that_go_together(arguments, settings):
    """Raise ValueError, naming the options, unless they ask for one thing."""
    asked = {"FILE": arguments.file, "--handout": arguments.handout, "--worksheet": arguments.worksheet}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{given[0]} and {given[1]} are two things: give one of them")
    if arguments.answers and arguments.handout is None:
        raise ValueError("--answers is for --handout; a worksheet comes with its key")
    if settings and arguments.worksheet is None:
        raise ValueError(f"--{next(iter(settings))} is for --worksheet")


def write(arguments, settings, narrator):
    """Write what the options ask for; return what has been Written."""
    from minitransformer.book.writing import write_book, write_handout, write_own, write_worksheets
    from minitransformer.learn.exercises import names_by_file

    if arguments.worksheet is not None:
        return write_worksheets(arguments.worksheet, arguments.out, **settings)
    if arguments.handout is not None:
        return write_handout(arguments.handout, arguments.out, names_by_file(), arguments.answers)
    if arguments.file is not None:
        return write_own(arguments.file, arguments.out, narrator.say)
    return write_book(arguments.out, names_by_file(), narrator.say)
