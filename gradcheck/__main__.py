"""`python -m gradcheck`: check every case that a module lists, and print a table as it goes.

Its other commands are modules of this package with a `main(argv)` of their own: COMMANDS says where.
"""

from gradcheck.stopping import is_program, leave_when_stopped  # isort: skip — before anything else: see there

if is_program("gradcheck"):
    leave_when_stopped("gradcheck")

import argparse
import contextlib
import difflib
import importlib
import os
import sys
import time

from gradcheck.cases import check_case, error_in_words, load_cases
from gradcheck.command_line import Parser, counted, described, say, show, whole_number, written_out
from gradcheck.printable import one_line
from gradcheck.report import GradientError

DEFAULT_TARGET = "minitransformer"
COMMANDS = {
    "steps": "line_by_line.command_line",
    "curve": "curve",
    "audit": "audit",
    "museum": "museum",
}  # where they are
OK, WRONG, USAGE, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141  # the last two as a shell reports SIGINT and SIGPIPE

HELP = """\
A module lists its cases as CASES, in itself or in a submodule `cases`. Save this as mine.py:

  import numpy as np
  from gradcheck import Call, Case

  def square(x):
      def backward(dy):
          return 2 * x * dy

      return x * x, backward

  CASES = [Case("square", lambda rng: Call(square, rng.normal(size=(2, 3))))]

and then

  python -m gradcheck mine               check every case
  python -m gradcheck mine:square        check one
  python -m gradcheck path/to/mine.py    a file will do as well

Each row is one gradient: how many of its entries were compared with central differences in float64 (and, where the
forward pass allows it, all together with the complex step), the worst error |a - n| / (|n| + 0.01), which may not
exceed 1e-6, and the verdict. "at a kink" means that the two one-sided derivatives differ there (a ReLU at 0) and the
gradient lies between them. What is wrong with a wrong gradient is said at the end, if it has a simple name, and so is
what else there is to know, such as a forward pass that the complex step does not apply to.

A check is many small products, which a matrix library does not gain by spreading over threads; while other programs
are busy it loses much. OPENBLAS_NUM_THREADS=1 before the command keeps it on one.

Other commands, each with a --help of its own:

  python -m gradcheck steps MODULE       which line of a backward pass is wrong
  python -m gradcheck curve              the error of a difference against its step
  python -m gradcheck audit MODULE       which mistakes the checks would miss
  python -m gradcheck museum             wrong gradients that real projects shipped

Exit status: 0 all gradients are right, 1 some are wrong or could not be checked, 2 there was nothing to check,
or what was found could not be written.
"""


def main(argv=None):
    """Run the command line and return its exit status."""
    return written_out(lambda: _answer(sys.argv[1:] if argv is None else argv), _say_failure)


def _answer(argv):
    """Do what the command line asks for, and return the exit status."""
    with contextlib.suppress(FileNotFoundError):  # a current folder that is gone holds no module
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # a console script, unlike `python -m`, does not look in it
    try:
        if argv and argv[0] in COMMANDS:
            return importlib.import_module(f"gradcheck.{COMMANDS[argv[0]]}").main(argv[1:])
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has said why
        return stop.code
    return _check(arguments.target, arguments.k, arguments.seed)


def _say_failure(error):
    """Say in one line why a command ends early, unless it is for want of a reader; return the exit status."""
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED
    if not isinstance(error, (OSError, MemoryError, KeyboardInterrupt)):
        raise error
    interrupted = isinstance(error, KeyboardInterrupt)
    say(f"gradcheck: {described(error) or ('interrupted' if interrupted else 'there is not enough memory')}")
    return INTERRUPTED if interrupted else USAGE


def _check(target, substring, seed):
    try:
        cases = _select(target, substring)
    except (ImportError, LookupError, TypeError, ValueError) as error:
        say(f"gradcheck: {one_line(error.args[0])}")
        return USAGE
    return _run(cases, seed)


def _parser():
    parser = Parser(
        prog="python -m gradcheck",
        description="Check hand-written gradients: every case that a module lists, against central differences.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        default=DEFAULT_TARGET,
        help="MODULE or MODULE:NAME, the module by name or as a .py file (default: %(default)s)",
    )
    seed = whole_number(0, "a seed")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="decides all that is random (default: 0)")
    parser.add_argument("-k", metavar="SUBSTRING", help="only the cases whose name contains this, in any case")
    return parser


def _select(target, substring):
    """Return the Cases that the command line asks for, never none."""
    module, _, name = target.partition(":")
    cases = load_cases(module)
    if name:
        names = [case.name for case in cases]
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            raise LookupError(f"{module} has no case {name!r}; the nearest is {near!r}")
        cases = [case for case in cases if case.name == name]
    if substring is not None:
        cases = [case for case in cases if substring.lower() in case.name.lower()]
        if not cases:
            raise LookupError(f"no case of {target} has {substring!r} in its name")
    return cases


def _run(cases, seed):
    """Check the cases, print a row for each gradient and a summary, and return the exit status."""
    row = _Table(cases).print_row
    row("component", "argument", "entries", "worst error", "verdict")
    start = time.perf_counter()
    failures, looks, notes = [], [], {}
    gradients = entries = 0
    for case in cases:
        try:
            report = check_case(case, seed=seed)
        except GradientError as error:
            report = error.report
            failures += [f"{case.name}: {line}" for line in report.failures()]
            looks += error.lines
        except Exception as error:
            row(case.name, "", "", "", "NOT CHECKED")
            failures.append(f"{case.name}: {error_in_words(error)}")
            continue
        for argument in report.arguments:
            row(case.name, argument.name, argument.extent, f"{argument.worst_relative:.1e}", argument.verdict)
        for note in report.notes:
            notes.setdefault(note, []).append(case.name)
        if report.problems:
            row(case.name, "", "", "", "WRONG")
        gradients += len(report.arguments)
        entries += report.entries
    seconds = time.perf_counter() - start
    counts = f"{counted(len(cases), 'component')}, {counted(gradients, 'gradient')}, {entries:,} entries"
    verdict = f"{len(failures)} not right:" if failures else "all right"
    show(f"\n{counts} checked in {seconds:.1f} s: {verdict}")
    for line in [*failures, *looks]:
        show(f"  {line}")
    for note, names in notes.items():
        show(f"note: {_few(names)}: {note}")
    return WRONG if failures else OK


class _Table:
    """Prints rows as they come, so that the widths of the columns are settled beforehand."""

    def __init__(self, cases):
        self.component = max(len("component"), *(len(case.name) for case in cases))

    def print_row(self, component, argument, entries, error, verdict):
        """Print one row at once, also into a pipe."""
        show(f"{component:<{self.component}}  {argument:<36}  {entries:>7}  {error:>11}  {verdict}")


def _few(names, most=3):
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


if __name__ == "__main__":
    sys.exit(main())
