"""A museum of wrong gradients from real projects and real questions.

An exhibit shows the mistake in a few lines written for this purpose, with the correct lines and the source. It also
shows a check in the style of the authors that does not detect the mistake, the reason, and the report of gradcheck. The
check and gradcheck run each time the exhibit is shown.
"""

import difflib
import functools
import inspect
import shutil
import textwrap
from importlib import import_module

from gradcheck.front.exits import OK, Parser
from gradcheck.front.program import started_as
from gradcheck.front.streams import show
from gradcheck.museum.exhibit import numeric_gradient, url
from gradcheck.museum.variants import variants

__all__ = [
    "CASES", "EXHIBITS", "RIGHTS", "ROOMS", "catalogue", "corpus", "find", "numeric_gradient", "outcome", "page", "url",
]  # fmt: skip

_NAMES = "softmax normalization attention modern accumulation activations losses networks models arithmetic limits"
_FILES = [import_module(f"{__name__}.{name}") for name in _NAMES.split()]
_FUNCTIONS = {file: [f for f in vars(file).values() if hasattr(f, "cases")] for file in _FILES}
_EVERY = [function for functions in _FUNCTIONS.values() for function in functions]

ROOMS = {file: [c for f in functions for c in f.cases if c.check] for file, functions in _FUNCTIONS.items()}
ROOMS = {file: exhibits for file, exhibits in ROOMS.items() if exhibits}
EXHIBITS = tuple(exhibit for exhibits in ROOMS.values() for exhibit in exhibits)
RIGHTS = tuple(case for function in _EVERY for case in function.rights)
CASES = (*EXHIBITS, *(case for function in _EVERY for case in function.cases if not case.check))

OWN = "made for this corpus"


@functools.cache
def corpus():
    """Return all cases of the museum, and variants with other mistakes."""
    return CASES + tuple(variants([right for right in RIGHTS if right.function.__module__ != _FILES[-1].__name__]))


def museum_parser():
    parser = Parser(
        "python -m gradcheck museum",
        "Show wrong gradients that real projects shipped or asked about, the checks that missed them,\n"
        "and the report of gradcheck. Each check runs when it is shown.",
    )
    words = "number or name of an exhibit or a case (default: list them)"
    parser.add_argument("exhibit", metavar="EXHIBIT", nargs="?", help=words)
    parser.add_argument("--all", action="store_true", help="show every exhibit")
    return parser


def museum(arguments):
    width = min(shutil.get_terminal_size((88, 24)).columns, 100)
    if arguments.all:
        show("\n\n".join(page(exhibit, width) for exhibit in EXHIBITS))
    else:
        show(catalogue(width) if arguments.exhibit is None else page(find(arguments.exhibit), width))
    return OK


def find(key):
    """Return the case with this name or number, given as text. Raises LookupError."""
    keys = {str(number): case for number, case in enumerate(CASES, 1)} | {case.name: case for case in CASES}
    if key in keys:
        return keys[key]
    near = difflib.get_close_matches(key, [case.name for case in CASES], n=1, cutoff=0.0)[0]
    raise LookupError(f"there is no exhibit {key}: give a number from 1 to {len(CASES)}, or a name such as {near}")


def catalogue(width=88):
    lines, numbers = ["Wrong gradients, each from a real project or a real question", ""], {}
    for number, case in enumerate(CASES, 1):
        numbers[case] = f"  {number:>3}  {case.name:<26}"
    for room, exhibits in ROOMS.items():
        lines += [*textwrap.wrap(inspect.getdoc(room), width), ""]
        lines += [*(f"{numbers[exhibit]} {exhibit.title}" for exhibit in exhibits), ""]
    lines += ["Further cases, each with a few words in place of a check that missed it", ""]
    lines += [f"{numbers[case]} {'; '.join(case.sources) or OWN}" for case in CASES[len(EXHIBITS) :]]
    return "\n".join([*lines, "", f"{started_as('gradcheck')} museum 1     shows the first; --all shows all exhibits"])


def page(case, width=88):
    """Return the page of a case, with the reports of gradcheck and of the exhibit's check."""
    heading = f"{CASES.index(case) + 1}. {case.title}"
    lines = [heading, "═" * min(len(heading), width), ""]
    lines += [f"  {line}" for source in case.sources for line in (source, url(source))] or [f"  {OWN}"]
    lines += ["", *textwrap.wrap(case.story, width), "", "The code: − wrong lines, + right lines", ""]
    lines += [f"  {mark} {line}".rstrip() for mark, line in case.lines]
    if case.check:
        lines += ["", "The check that missed it", "", *(f"    {line}".rstrip() for line in case.check_lines)]
        lines += ["", f"  → {outcome(case)}", "", *textwrap.wrap(case.reason, width)]
    for version in ("wrong", "right"):
        lines += ["", f"The report of gradcheck on the {version} version", ""]
        for line in str(case.examine(version == "wrong")).splitlines():
            indent = "    " + " " * (len(line) - len(line.lstrip()))
            lines += textwrap.wrap(line.strip(), width, initial_indent=indent, subsequent_indent=f"{indent}  ")
    return "\n".join(lines)


def outcome(exhibit):
    """Run the check of an exhibit on the wrong version, and describe the result."""
    try:
        exhibit.run_check(exhibit.version(wrong=True))
    except AssertionError as error:
        return f"it fails: {error}"
    return "it passes on the wrong version"
