"""`python -m gradcheck steps`: examine the lines of every backward pass that a module lists as a case."""

import argparse
import difflib

import numpy as np

from gradcheck.cases import ends_nothing, error_in_words, load_cases
from gradcheck.command_line import Parser, counted, say, show, whole_number
from gradcheck.line_by_line import steps_of_call

OK, WRONG, USAGE = 0, 1, 2

HELP = """\
A check of the whole says that a gradient is wrong, not where. This looks at each line of `backward`: what it
computes under the name dx is compared with the true gradient of what the forward pass calls x, and the line is
wrong if that differs although all that the line reads is held at the truth.

  attention.backward: 1 of 3 gradients right
     (5) dv        right
     (5) dweights  right
     (6) dscores   WRONG: weights * sum(weights * dweights) over axis -1 is not subtracted
     (7) dq        follows from dscores
     (7) dk        follows from dscores

  right         the value is the true gradient
  WRONG         the line is wrong; what is wrong with it follows, if an edit of it, tried on two draws, says so
  follows       it is made of a wrong value, and the line itself is right
  not followed  it cannot be compared, and why; or it is not the whole gradient of that name, which right code may
                well compute on the way

It needs a `backward` defined within the forward pass, and the convention that dx is the gradient of x. The number
in front is that of a comment at the end of the line, such as # (6). On one's own function, without a table of cases:
print(gradcheck.steps(f, *inputs)).

Exit status: 0, or 1 if a line is wrong or a gradient is, or 2 if there was nothing to look at.
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
            show(f"{case.name}: not looked at: {' '.join(str(error).split())}\n")
        except Exception as error:
            refused += 1
            show(f"{case.name}: not looked at: it raises {error_in_words(error)}\n")
        else:
            reports.append(report)
            show(f"{case.name}\n{report}\n")
    wrong = sum(not report.passed for report in reports)
    rows = sum(len(report.rows) for report in reports)
    verdict = f"{counted(wrong, 'function')} with a wrong gradient" if wrong else "all right"
    left = f", {counted(refused, 'function')} not looked at" if refused else ""
    show(f"{counted(rows, 'gradient')} in {counted(len(reports), 'function')}: {verdict}{left}")
    if not reports:
        return USAGE
    return WRONG if wrong else OK


def _parser():
    parser = Parser(
        prog="python -m gradcheck steps",
        description="Look at each line of a backward pass, and find the first that is wrong.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "target", metavar="MODULE", help="a module by name or as a .py file, as for `python -m gradcheck`"
    )
    parser.add_argument("--only", metavar="NAME", help="this case alone")
    seed = whole_number(0, "a seed")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="decides all that is random (default: 0)")
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
