"""The commands that print one result for each case of a module: check, steps and certify.

They are called as `python -m gradcheck [MODULE]`, `... steps MODULE` and `... certify MODULE`.
"""

import sys
import time
from collections import defaultdict
from dataclasses import replace

import numpy as np

from gradcheck.cases import check_case, ends_nothing, error_in_words, selected_cases
from gradcheck.command_line import OK, USAGE, WRONG, Parser, Unusable, counted, say, show, unusable
from gradcheck.configuration import configured_modules
from gradcheck.lines import steps_of_call
from gradcheck.report import GradientError

CHECK_HELP = """\
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
  python -m gradcheck certify MODULE     decide whether gradients are right as identities
  python -m gradcheck curve              plot the error of a finite difference against its step
  python -m gradcheck audit MODULE       find mistakes that the checks would miss
  python -m gradcheck museum             show wrong gradients that real projects shipped

Exit status: 0 if all gradients are right, 1 if some are wrong or could not be checked, 2 if there was nothing to check
or the output could not be written. With neither a module nor a configuration, this help is printed.
"""

STEPS_HELP = """\
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


def check_parser():
    parser = Parser(
        "", "Check hand-written gradients: every case that a module lists, against central differences.", CHECK_HELP
    )
    parser.add_target(
        "TARGET", "MODULE or MODULE:NAME, the module by name or as a .py file (default: the configured modules)"
    )
    parser.add_seed()
    parser.add_argument("-k", metavar="SUBSTRING", help="check only cases whose name contains SUBSTRING, ignoring case")
    return parser


def check(argv):
    parser = check_parser()
    arguments = parser.parse_args(argv)
    with unusable():
        targets = _configured() if arguments.target is None else [arguments.target]
        cases = _of_all(targets, arguments.k)
    if not targets:
        show(parser.format_help())
        say("gradcheck: there is nothing to check: name a module, or list modules in the project's configuration")
        return USAGE
    return _check(cases, arguments.seed)


def _configured():
    """Return the configured modules, if any. The directory of the configuration is added to sys.path."""
    folder, modules = configured_modules() or ("", [])
    if modules and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return modules


def _of_all(targets, substring):
    """Return the Cases of all targets whose names contain a substring.

    With several targets, each name begins with that of its module.
    """
    cases = []
    for target in targets:
        prefix = f"{target.partition(':')[0]}:" if len(targets) > 1 else ""
        cases += [replace(case, name=prefix + case.name) for case in selected_cases(target)]
    if substring is None or not targets:
        return cases
    cases = [case for case in cases if substring.lower() in case.name.lower()]
    if not cases:
        raise Unusable(f"no case of {', '.join(targets)} has {substring!r} in its name")
    return cases


def _check(cases, seed):
    width = max(len("component"), *(len(case.name) for case in cases))

    def row(component, argument, entries, error, verdict):
        show(f"{component:<{width}}  {argument:<36}  {entries:>7}  {error:>11}  {verdict}")

    row("component", "argument", "entries", "worst error", "verdict")
    start = time.perf_counter()
    failures, looks, notes = [], [], defaultdict(list)
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
            notes[note].append(case.name)
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
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        show(f"note: {', '.join(names[:3])}{more}: {note}")
    return WRONG if failures else OK


def steps_parser():
    parser = Parser("steps", "Examine each line of a backward pass, and find the first wrong one.", STEPS_HELP)
    parser.add_target("MODULE", "a module by name or as a .py file, as for `python -m gradcheck`", nargs=None)
    parser.add_argument("--only", metavar="NAME", help="examine only the case of that name")
    parser.add_seed()
    return parser


def steps(argv):
    arguments = steps_parser().parse_args(argv)
    with unusable():
        only = "" if arguments.only is None else f":{arguments.only}"
        cases = selected_cases(f"{arguments.target}{only}")
    reports = []
    for case in cases:
        try:
            with ends_nothing():
                report = steps_of_call(case.call(np.random.default_rng(arguments.seed)), seed=arguments.seed)
        except (TypeError, ValueError) as error:
            show(f"{case.name}: not examined: {' '.join(str(error).split())}\n")
        except Exception as error:
            show(f"{case.name}: not examined: it raises {error_in_words(error)}\n")
        else:
            reports.append(report)
            show(f"{case.name}\n{report}\n")
    wrong, refused = sum(not report.passed for report in reports), len(cases) - len(reports)
    rows = sum(len(report.rows) for report in reports)
    verdict = f"{counted(wrong, 'function')} with a wrong gradient" if wrong else "all right"
    left = f", {counted(refused, 'function')} not examined" if refused else ""
    show(f"{counted(rows, 'gradient')} in {counted(len(reports), 'function')}: {verdict}{left}")
    if not reports:
        return USAGE
    return WRONG if wrong else OK


CERTIFY_HELP = """\
A check compares numbers with a tolerance. A certificate decides whether backward is the adjoint of the derivative of
forward as an identity, for all inputs of the same shapes that take the same decisions (gradcheck/certify/README.md).

  component  verdict    wrong with probability  decisions  seconds
  softmax    certified                 < 1e-76         60      0.1

  certified    the identity holds, and the probability that this is wrong is below the bound
  refused      backward is wrong; the reason follows
  cannot tell  neither has been shown; the reason follows

Exit status: 0 if every case is certified, 1 if not, 2 if there is nothing to certify.
"""


def certify_parser():
    parser = Parser(
        "certify", "Decide whether the gradients of a module's cases are right as identities.", CERTIFY_HELP
    )
    parser.add_target("MODULE", "MODULE or MODULE:NAME, the module by name or as a .py file", nargs=None)
    parser.add_seed()
    parser.add_argument("-k", metavar="SUBSTRING", help="only cases whose name contains SUBSTRING, ignoring case")
    return parser


def certify(argv):
    from gradcheck.certify import certify_call

    arguments = certify_parser().parse_args(argv)
    with unusable():
        cases = _of_all([arguments.target], arguments.k)
    width = max(len("component"), *(len(case.name) for case in cases))
    show(f"{'component':<{width}}  verdict      wrong with probability  decisions  seconds")
    certified = 0
    for case in cases:
        start = time.perf_counter()
        try:
            with ends_nothing():
                certificate = certify_call(case.call(np.random.default_rng(arguments.seed)))
        except Exception as error:
            show(f"{case.name:<{width}}  cannot tell  {error_in_words(error)}")
            continue
        certified += bool(certificate)
        bound, decisions = f"< 1e{certificate.exponent}", f"{certificate.decisions:,}"
        rest = (
            f"{bound:>22}  {decisions:>9}  {time.perf_counter() - start:>7.1f}" if certificate else certificate.reason
        )
        show(f"{case.name:<{width}}  {certificate.verdict:<11}  {rest}")
    show(f"{certified} of {counted(len(cases), 'component')} certified")
    return OK if certified == len(cases) else WRONG
