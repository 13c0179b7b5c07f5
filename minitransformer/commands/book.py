"""`minitransformer book`: the derivations as typeset and executed pages, generated from the sources."""

from pathlib import Path

from gradcheck.front.streams import counted, say, show_to_the_letter
from minitransformer.commands.options import option, out_option, refuse_without, switch
from minitransformer.module import plain
from minitransformer.system.folders import at_work_in
from minitransformer.system.narrator import Narrator

# The help of all commands must not load the book. A test compares these constants with book/problems.py.
TOPICS = "linear, softmax, cross_entropy, attention, layer_norm, rms_norm, relu, rotary, adamw"
LEVELS = {1: "forward", 2: "also backward", 3: "without the equations"}

HELP = "write the derivations as pages, typeset and executed, next to the code; also handouts and worksheets"

EXAMPLES = """\
  minitransformer book --out book
  minitransformer book --handout layer_norm           add --answers for its key
  minitransformer book --worksheet attention --seed 3 --count 30
  minitransformer book my_layers.py --out mine
  minitransformer book --pdf                          also PDFs, printed by Chromium or Chrome
"""

NOTES = """\
Each chapter is a page with the derivation and the code side by side. Every equation is typeset, linked to its
line, and executed on small numbers. The pages are generated from the sources. They work without a network,
scripts or optional packages. Open index.html in a browser. The last page of the book describes the notation of
equations.

With FILE, the command writes a page about your functions in this style, with numbered equations in docstrings,
and # (1) at the end of the line of an equation. If the file defines CASES, as for python -m gradcheck, the
equations are executed on their inputs.

The exit status is 1 if an equation differs from its line or a gradient is wrong. A line on standard error names
the equation or the gradient.
"""


def add_arguments(parser) -> None:
    words = "Python file with your functions (default: the textbook)"
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help=words)
    out_option(parser, "book", "folder for the pages")
    switch(parser, "--pdf", "also print each page to a PDF with Chromium or Chrome")
    switch(parser, "--quiet", "print only the path of the page, and errors")
    classes = parser.add_argument_group("for a class")
    option(classes, "--handout", "chapter to print on two pages without the answers", metavar="CHAPTER")
    switch(classes, "--answers", "with --handout: write the key")
    option(classes, "--worksheet", f"topic of a page of problems and its key: {TOPICS}", metavar="TOPIC")
    levels = ", ".join(f"{level} {words}" for level, words in LEVELS.items())
    option(classes, "--level", f"with --worksheet: {levels} (default: 2)", type=int, choices=tuple(LEVELS))
    words = "with --worksheet: number of different worksheets (default: 1)"
    option(classes, "--count", words, metavar="N", limits={"minimum": 1})
    words = "with --worksheet: seed of the numbers (default: 0)"
    option(classes, "--seed", words, metavar="N", limits={"minimum": 0})


def run(arguments) -> int:
    settings = {name: getattr(arguments, name) for name in ("level", "count", "seed")}
    settings = {name: value for name, value in settings.items() if value is not None}
    require_options_that_go_together(arguments, settings)

    from minitransformer.book.printing import browser, print_pages

    printer = browser() if arguments.pdf else None
    narrator = Narrator(arguments.quiet)
    with at_work_in(arguments.out), plain():  # the textbook itself, which the pages show
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
    documents = {"FILE": arguments.file, "--handout": arguments.handout, "--worksheet": arguments.worksheet}
    given = [name for name, value in documents.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{given[0]} and {given[1]} cannot be used together")
    handout = "--handout; --worksheet always writes a key"
    refuse_without(arguments.handout is not None, handout, answers=arguments.answers)
    refuse_without(arguments.worksheet is not None, "--worksheet", **settings)


def write(arguments, settings, narrator):
    from minitransformer.book.writing import write_book, write_handout, write_own, write_worksheets
    from minitransformer.learn.exercises import names_by_file

    if arguments.worksheet is not None:
        return write_worksheets(arguments.worksheet, arguments.out, **settings)
    if arguments.handout is not None:
        return write_handout(arguments.handout, arguments.out, names_by_file(), arguments.answers)
    if arguments.file is not None:
        return write_own(arguments.file, arguments.out, narrator.say)
    return write_book(arguments.out, names_by_file(), narrator.say)
