"""The command `python -m gradcheck [MODULE]`: check every case, and print a table as it goes."""

import argparse
import difflib
import sys
import time
from dataclasses import replace

from gradcheck.cases import check_case, error_in_words, load_cases
from gradcheck.command_line import USAGE, Parser, counted, one_line, say, show, whole_number
from gradcheck.configuration import configured_modules
from gradcheck.report import GradientError

OK, WRONG = 0, 1

HELP = """\
A module lists its cases as CASES, and a package may do so in its submodule `cases`. Save this as mine.py:

  import numpy as np
  from gradcheck import Call, Case

  def square(x):
      def backward(dy):
          return 2 * x * dy

      return x * x, backward

  CASES = [Case("square", lambda rng: Call(square, rng.normal(size=(2, 3))))]

Then run

  python -m gradcheck mine               check every case
  python -m gradcheck mine:square        check one case
  python -m gradcheck path/to/mine.py    check the cases of a file
  python -m gradcheck                    check the modules that the project's configuration names

The configuration is `modules = ["mine"]` under [tool.gradcheck] in pyproject.toml, or `modules = mine` under
[tool:gradcheck] in setup.cfg. The current directory and its parents are searched, up to the root of a repository.

Each row shows one gradient: the number of entries that were compared with central differences in float64, the worst
error |a - n| / (|n| + 0.01), which must not exceed 1e-6, and the verdict. If the forward pass accepts complex numbers,
the complex step also checks all entries together. "at a kink" means that the two one-sided derivatives differ (as for
ReLU at 0) and the gradient lies between them. Diagnoses of wrong gradients and notes follow the table.

A check consists of many small matrix products, which do not become faster with several threads, and much slower while
other programs are busy. Set OPENBLAS_NUM_THREADS=1 to use one thread.

Other commands, each of which has a --help:


  python -m gradcheck steps MODULE       find the wrong line of a backward pass
  python -m gradcheck curve              plot the error of a finite difference against its step
  python -m gradcheck audit MODULE       find mistakes that the checks would miss
  python -m gradcheck museum             show wrong gradients that real projects shipped

Exit status: 0 if all gradients are right, 1 if some are wrong or could not be checked, 2 if there was nothing to check
or the output could not be written. With neither a module nor a configuration, this help is printed.
"""


def main(argv):
    """Run `python -m gradcheck` and return its exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        targets = _configured() if arguments.target is None else [arguments.target]
        if not targets:
            show(parser.format_help())
            say("gradcheck: there is nothing to check: name a module, or list modules in the project's configuration")
            return USAGE
        cases = _select(targets, arguments.k)
    except (ImportError, LookupError, TypeError, ValueError) as error:
        say(f"gradcheck: {one_line(error.args[0])}")
        return USAGE
    return _run(cases, arguments.seed)


def _configured():
    """Return the configured modules, or [] if there is no configuration.

    The directory of the configuration is added to sys.path.
    """
    found = configured_modules()
    if found is None:
        return []
    folder, modules = found
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return modules


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
        help="MODULE or MODULE:NAME, the module by name or as a .py file (default: the configured modules)",
    )
    seed = whole_number(0, "a seed")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="seed of all random numbers (default: 0)")
    parser.add_argument("-k", metavar="SUBSTRING", help="check only cases whose name contains SUBSTRING, ignoring case")
    return parser


def _select(targets, substring):
    """Return the Cases of all targets, at least one.

    With several targets, each name begins with that of its module.
    """
    cases = []
    for target in targets:
        prefix = f"{target.partition(':')[0]}:" if len(targets) > 1 else ""
        cases += [replace(case, name=prefix + case.name) for case in _load(target)]
    if substring is not None:
        cases = [case for case in cases if substring.lower() in case.name.lower()]
        if not cases:
            raise LookupError(f"no case of {', '.join(targets)} has {substring!r} in its name")
    return cases


def _load(target):
    """Return the Cases of MODULE, or the one Case of MODULE:NAME."""
    module, _, name = target.partition(":")
    cases = load_cases(module)
    if name:
        names = [case.name for case in cases]
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            raise LookupError(f"{module} has no case {name!r}; the nearest is {near!r}")
        cases = [case for case in cases if case.name == name]
    return cases


def _run(cases, seed):
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
    """Prints rows one at a time, with column widths computed in advance."""

    def __init__(self, cases):
        self.component = max(len("component"), *(len(case.name) for case in cases))

    def print_row(self, component, argument, entries, error, verdict):
        """Print one row without buffering."""
        show(f"{component:<{self.component}}  {argument:<36}  {entries:>7}  {error:>11}  {verdict}")


def _few(names, most=3):
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
