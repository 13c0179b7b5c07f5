"""A museum of wrong gradients, each of which a real project shipped or a real person asked about.

An exhibit shows the mistake in a few lines written for this purpose, with the correct lines and the source, a check in
the style of the authors that does not detect it, the reason, and the report of gradcheck. The check and gradcheck run
each time the exhibit is shown.

The same reasons recur. dy or γ consists of ones, a mask masks nothing, or axes have equal length. The tolerance is as
large as the mistake. The test requires only that the loss falls, and any gradient of the right sign makes it fall. A
layer is checked only together with the one loss that hides its mistake. The test compares only shapes.

The rules of gradcheck follow from this list: inputs, parameters and dy are random and of order 1, axes have different
lengths, masks and dropout are active, and all gradients are compared entry by entry, in float64, with a tolerance
between rounding errors and mistakes.
"""

import difflib
import functools
import inspect
import shutil
import textwrap

from gradcheck.command_line import Parser, one_line, say, show
from gradcheck.museum import (
    accumulation,
    activations,
    arithmetic,
    attention,
    elementwise,
    limits,
    losses,
    models,
    networks,
    normalization,
    softmax,
)
from gradcheck.museum.exhibit import Exhibit, Right, listing, numeric_gradient, url

__all__ = [
    "CASES", "EXHIBITS", "RIGHTS", "ROOMS", "catalogue", "corpus", "find", "listing", "main", "numeric_gradient",
    "outcome", "page", "url",
]  # fmt: skip

_OF_EXHIBITS = softmax, normalization, attention, accumulation, elementwise
_OF_CASES = *_OF_EXHIBITS, activations, arithmetic, losses, models, networks, limits


def _within(room, kind):
    return [thing for thing in vars(room).values() if isinstance(thing, kind)]


ROOMS = {room: _within(room, Exhibit) for room in _OF_EXHIBITS}
EXHIBITS = tuple(exhibit for exhibits in ROOMS.values() for exhibit in exhibits)
RIGHTS = tuple(getattr(thing, "right", thing) for room in _OF_CASES for thing in _within(room, (Exhibit, Right)))
CASES = (*EXHIBITS, *(case for right in RIGHTS for case in right.cases))

OK, USAGE = 0, 2
OWN = "made for this corpus"


@functools.cache
def corpus():
    """Return CASES and the variants, in which mistakes of gradcheck/mistakes are made in right functions."""
    from gradcheck.museum.variants import variants

    return CASES + tuple(variants([right for right in RIGHTS if right.function.__module__ != limits.__name__]))


def main(argv=None):
    arguments = _parser().parse_args(argv)
    width = min(shutil.get_terminal_size((88, 24)).columns, 100)
    if arguments.all:
        show("\n\n".join(page(exhibit, width) for exhibit in EXHIBITS))
    elif arguments.exhibit is None:
        show(catalogue(width))
    else:
        try:
            show(page(find(arguments.exhibit), width))
        except LookupError as error:
            say(f"gradcheck museum: {one_line(error.args[0])}")
            return USAGE
    return OK


def _parser():
    parser = Parser(
        "museum",
        "Show wrong gradients that real projects shipped or asked about, the checks that missed them,\n"
        "and the report of gradcheck. Each check runs when it is shown.",
    )
    parser.add_argument(
        "exhibit", metavar="EXHIBIT", nargs="?", help="number or name of an exhibit or a case (default: list them)"
    )
    parser.add_argument("--all", action="store_true", help="show every exhibit")
    return parser


def find(key):
    """Return the exhibit or case with this name or number, given as text. Raises LookupError."""
    if key.isdecimal():
        if len(key) < 9 and 1 <= int(key) <= len(CASES):
            return CASES[int(key) - 1]
        raise LookupError(f"there is no exhibit {key}: they are numbered from 1 to {len(CASES)}")
    names = [case.name for case in CASES]
    if key not in names:
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)[0]
        raise LookupError(f"there is no exhibit {key!r}; the nearest is {near!r}")
    return CASES[names.index(key)]


def catalogue(width=88):
    lines, numbers = ["Wrong gradients, each from a real project or a real question", ""], {}
    for number, case in enumerate(CASES, 1):
        numbers[case] = f"  {number:>3}  {case.name:<26}"
    for room, exhibits in ROOMS.items():
        lines += [*_wrap(inspect.getdoc(room), width), ""]
        lines += [*(f"{numbers[exhibit]} {exhibit.title}" for exhibit in exhibits), ""]
    lines += ["Further cases, each with a few words in place of a check that missed it", ""]
    lines += [f"{numbers[case]} {'; '.join(case.sources) or OWN}" for case in CASES[len(EXHIBITS) :]]
    return "\n".join([*lines, "", "python -m gradcheck museum 1     shows the first; --all shows all exhibits"])


def page(case, width=88):
    """Run gradcheck on a case, and the check if it is an exhibit. Return the page that shows the results."""
    heading = f"{CASES.index(case) + 1}. {case.title}"
    lines = [heading, "═" * min(len(heading), width), ""]
    lines += [f"  {line}" for source in case.sources for line in (source, url(source))] or [f"  {OWN}"]
    is_exhibit = isinstance(case, Exhibit)
    story = _paragraphs(inspect.getdoc(case.function), width)[2:] if is_exhibit else _wrap(case.words, width)
    lines += ["", *story, "", "The code: − wrong lines, + right lines", ""]
    lines += [f"  {mark} {line}".rstrip() for mark, line in case.lines]
    if is_exhibit:
        lines += ["", f"The check that missed it: {case.check.__name__.replace('_', ' ')}", ""]
        lines += [f"    {line}".rstrip() for _, line in listing(case.check)]
        lines += ["", f"  → {outcome(case)}", "", *_paragraphs(inspect.getdoc(case.check), width)]
    for version in ("wrong", "right"):
        lines += ["", f"The report of gradcheck on the {version} version", ""]
        lines += _indented(case.examine(version == "wrong"), width)
    return "\n".join(lines)


def outcome(exhibit):
    """Run an exhibit's check on the wrong version, and describe the result."""
    try:
        exhibit.check(exhibit.version(wrong=True))
    except AssertionError as error:
        return f"it fails: {error}"
    return "it passes on the wrong version"


def _paragraphs(text, width):
    return "\n\n".join("\n".join(_wrap(paragraph, width)) for paragraph in text.split("\n\n")).splitlines()


def _wrap(text, width):
    return textwrap.wrap(" ".join(text.split()), width)


def _indented(report, width):
    lines = []
    for line in str(report).splitlines():
        indent = " " * (4 + len(line) - len(line.lstrip()))
        if len(indent) + len(line) <= width:
            lines.append(f"    {line}")
        else:
            lines += textwrap.wrap(line.strip(), width, initial_indent=indent, subsequent_indent=indent + "  ")
    return lines
