"""A gallery of identities: two programs that compute the same function, and a near miss that does not."""

import difflib
import shutil
import textwrap
from importlib import import_module

from gradcheck.front.exits import OK, WRONG, Parser
from gradcheck.front.program import started_as
from gradcheck.front.streams import counted, show
from gradcheck.identities.identity import Identity, expectation, same_as

__all__ = ["ROOMS", "Identity", "expectation", "same_as"]

_TITLES = {
    "attention": "Attention",
    "recurrences": "Linear attention",
    "losses": "Normalization and losses",
    "training": "Training",
    "rewards": "Learning from rewards",
}
_FUNCTIONS = {title: vars(import_module(f"{__name__}.{room}")).values() for room, title in _TITLES.items()}
ROOMS = {title: [f.entry for f in functions if hasattr(f, "entry")] for title, functions in _FUNCTIONS.items()}


def identities_parser():
    parser = Parser(
        "python -m gradcheck identities",
        "Decide, without a tolerance, that two programs compute the same function, for a gallery of identities.\n"
        "A near miss of each identity is refuted. Each pair is decided when it is shown.",
        "Exit status: 0 if every identity is certified and every near miss is refused, 1 otherwise.",
    )
    words = "number or name of an identity, whose programs are shown (default: list them)"
    parser.add_argument("identity", metavar="IDENTITY", nargs="?", help=words)
    parser.add_argument("--all", action="store_true", help="show the programs of every identity")
    return parser


def identities(arguments):
    entries = [entry for room in ROOMS.values() for entry in room]
    if arguments.all or arguments.identity is not None:
        chosen = entries if arguments.all else [_find(arguments.identity, entries)]
        decided = [_show_page(entry, entries.index(entry) + 1) for entry in chosen]
    else:
        decided, number = [], 0
        for title, room in ROOMS.items():
            show(f"{title}\n")
            for entry in room:
                number += 1
                decided.append(_as_stated(*(verdicts := _verdicts(entry))))
                show(f"  {number:>3}  {entry.words[0]}\n       {'; near miss: '.join(v.verdict for v in verdicts)}")
            show("")
        show(f"{started_as('gradcheck')} identities 1     shows the programs of the first; --all shows all programs\n")
    show(f"{decided.count(True)} of {counted(len(decided), 'statement')} certified, with the near miss refused")
    return OK if all(decided) else WRONG


def _find(key, entries):
    keys = {str(number): entry for number, entry in enumerate(entries, 1)} | {entry.name: entry for entry in entries}
    if key in keys:
        return keys[key]
    near = difflib.get_close_matches(key, [entry.name for entry in entries], n=1, cutoff=0.0)[0]
    raise LookupError(
        f"there is no identity {key!r}: give a number from 1 to {len(entries)}, or a name such as {near!r}"
    )


def _verdicts(entry):
    return entry.decide(), entry.decide(entry.wrong())


def _as_stated(found, near_miss):
    return bool(found) and near_miss.verdict == "refused"


def _show_page(entry, number):
    width = min(shutil.get_terminal_size((88, 24)).columns, 100)
    statement, notation, near_miss = entry.words
    left, right = entry.code
    found, refused = _verdicts(entry)
    heading = f"{number}. {entry.name}"
    lines = [heading, "═" * len(heading), "", *textwrap.wrap(statement, width), "", f"    {notation}", ""]
    lines += [f"    {line}".rstrip() for line in left]
    lines += ["", *(f"    {line}".rstrip() for mark, line in right if mark != "+")]
    lines += ["", *str(found).splitlines(), "", *textwrap.wrap(f"Near miss: {near_miss}", width), ""]
    lines += [f"  {mark} {line}" for mark, line in right if mark != " "]
    show("\n".join([*lines, "", *textwrap.wrap(str(refused), width), ""]))
    return _as_stated(found, refused)
