"""`python -m gradcheck steps`: examine the lines of every backward pass that a module lists as a case."""

import argparse
import difflib

import numpy as np

from gradcheck.cases import ends_nothing, error_in_words, load_cases
from gradcheck.command_line import Parser, counted, say, show, whole_number
from gradcheck.lines import steps_of_call

OK, WRONG, USAGE = 0, 1, 2

HELP = """\
A check finds that a gradient is wrong, but not in which line. This command examines each line of `backward`. It
compares the value of dx with the true gradient of the variable x of the forward pass. A line is wrong if its value
differs although every gradient that it reads is replaced by the true one.

  attention.backward: 1 of 3 gradients right
     (5) dv        right
     (5) dweights  right
     (6) dscores   WRONG: weights * sum(weights * dweights) over axis -1 is not subtracted
     (7) dq        follows from dscores
     (7) dk        follows from dscores

  right         the value is the true gradient
  WRONG         the line is wrong; the mistake is named if its correction has been verified on two draws
  follows       the value is wrong because the line reads a wrong value; the line itself is right
  not followed  the value cannot be compared, for the reason given; or it is only a part of that gradient, which
                right code may compute as well

`backward` must be defined within the forward pass. The number in front comes from a comment at the end of the line,
such as # (6). For a single function, without a list of cases: print(gradcheck.steps(f, *inputs)).

Exit status: 0; 1 if a line or a gradient is wrong; 2 if there is nothing to examine.
"""


def main(argv=None):
    """Run `python -m gradcheck steps` and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        cases = _select(arguments.target, arguments.only)
    except (ImportError, LookupError, TypeError, ValueError) as error:
        say(f"gradcheck steps: {error.args[0]}")
        return USAGE
    reports, refused = [], 0
    for case in cases:
        try:
            with ends_nothing():
                report = steps_of_call(case.call(np.random.default_rng(arguments.seed)), seed=arguments.seed)
        except (TypeError, ValueError) as error:
            refused += 1
            show(f"{case.name}: not examined: {' '.join(str(error).split())}\n")
        except Exception as error:
            refused += 1
            show(f"{case.name}: not examined: it raises {error_in_words(error)}\n")
        else:
            reports.append(report)
            show(f"{case.name}\n{report}\n")
    wrong = sum(not report.passed for report in reports)
    rows = sum(len(report.rows) for report in reports)
    verdict = f"{counted(wrong, 'function')} with a wrong gradient" if wrong else "all right"
    left = f", {counted(refused, 'function')} not examined" if refused else ""
    show(f"{counted(rows, 'gradient')} in {counted(len(reports), 'function')}: {verdict}{left}")
    if not reports:
        return USAGE
    return WRONG if wrong else OK


def _parser():
    parser = Parser(
        prog="python -m gradcheck steps",
        description="Examine each line of a backward pass, and find the first wrong one.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "target", metavar="MODULE", help="a module by name or as a .py file, as for `python -m gradcheck`"
    )
    parser.add_argument("--only", metavar="NAME", help="name of the only case to examine")
    seed = whole_number(0, "a seed")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="seed of all random numbers (default: 0)")
    return parser


def _select(target, name):
    """Return the selected Cases.

    Raises LookupError, with the nearest name, if there is no case of that name.
    """
    cases = load_cases(target)
    if name is None:
        return cases
    chosen = [case for case in cases if case.name == name]
    if not chosen:
        near = difflib.get_close_matches(name, [case.name for case in cases], n=1, cutoff=0.0)[0]
        raise LookupError(f"{target} has no case {name!r}; the nearest is {near!r}")
    return chosen
