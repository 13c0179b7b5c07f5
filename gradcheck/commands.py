"""The commands `check`, `steps` and `certify`, which run on the cases of a module.

They are `python -m gradcheck [MODULE]`, `... steps MODULE` and `... certify MODULE`. Without a MODULE, the first one
checks the modules that are named in the project's configuration (see CHECK_HELP).
"""

import configparser
import sys
import time
import tomllib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from gradcheck.cases import check_case, exits_as_errors, selected_cases
from gradcheck.front.exits import OK, USAGE, WRONG, Parser
from gradcheck.front.streams import counted, error_in_words, show
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
[tool:gradcheck] in setup.cfg, in the current directory or above it, up to the root of a repository.

Each row shows one gradient: the number of entries that were compared with central differences in float64, the worst
error |a - n| / (|n| + 0.01), which must not exceed 1e-6, and the verdict. "at a kink" means that the two one-sided
derivatives differ (as for ReLU at 0) and the gradient lies between them.

Other commands, each of which has a --help: steps (the wrong line of a backward pass), certify (are gradients right as
identities?), audit (mistakes that the checks would miss), museum (wrong gradients that real projects shipped), compare
(several checkers on the museum's corpus).

Exit status: 0 if all gradients are right, 1 if some are wrong or could not be checked, 2 if there was nothing to check
or the output could not be written.
"""

STEPS_HELP = """\
This command compares the value of each dx in `backward` with the true gradient of the variable x of the forward pass.
`backward` must be defined within the forward pass. The number in front of a row comes from a comment such as # (6).

  right         the value is the true gradient
  WRONG         the line is wrong: its value differs although every gradient that it reads is replaced by the true one;
                the mistake is named if its correction has been verified on two draws
  follows       the value is wrong because the line reads a wrong value; the line itself is right
  not followed  the value cannot be compared, or is only a part of that gradient, which right code may compute as well

Exit status: 0; 1 if a line or a gradient is wrong; 2 if there is nothing to examine.
"""

CERTIFY_HELP = """\
A certificate decides without a tolerance whether backward is the adjoint of the derivative of forward, for all inputs
of the same shapes that take the same decisions (gradcheck/certify/README.md).

  certified    the identity holds, and the probability that this is wrong is below the bound
  refused      backward is wrong; the reason follows
  cannot tell  neither has been shown; the reason follows

Exit status: 0 if every case is certified, 1 if not, 2 if there is nothing to certify.
"""


TARGET = "MODULE or MODULE:NAME, the module by name or as a .py file"


def _parser(command, about, epilog, target=TARGET, **options):
    parser = Parser(f"python -m gradcheck{command}", about, epilog)
    parser.add_argument("target", help=target, **{"metavar": "MODULE", **options})
    parser.add_seed()
    words = "only cases whose name contains SUBSTRING, ignoring case"
    parser.add_argument("-k", metavar="SUBSTRING", default="", help=words)
    return parser


def check_parser():
    about = "Check hand-written gradients: every case that a module lists, against central differences."
    return _parser("", about, CHECK_HELP, f"{TARGET} (default: the configured modules)", metavar="TARGET", nargs="?")


def steps_parser():
    return _parser(" steps", "Examine each line of a backward pass, and find the first wrong one.", STEPS_HELP)


def certify_parser():
    about = "Decide whether the gradients of a module's cases are right as identities."
    parser = _parser(" certify", about, CERTIFY_HELP)
    words = "directory to which the computation of each certificate is written, for gradcheck/certify/recheck.py"
    parser.add_argument("--traces", metavar="DIR", type=Path, help=words)
    return parser


def check(arguments):
    targets = _configured() if arguments.target is None else [arguments.target]
    if not targets:
        show(check_parser().format_help())
        raise ValueError("there is nothing to check: name a module, or list modules in the project's configuration")
    cases = _matching_cases(targets, arguments.k)
    width = _width(cases)

    def row(component, argument, entries, error, verdict):
        show(f"{component:<{width}}  {argument:<36}  {entries:>7}  {error:>11}  {verdict}")

    row("component", "argument", "entries", "worst error", "verdict")
    start = time.perf_counter()
    failures, lines, notes = [], [], defaultdict(list)
    gradients = entries = 0
    for case in cases:
        try:
            report = check_case(case, seed=arguments.seed)
        except GradientError as error:
            report = error.report
            failures += [f"{case.name}: {line}" for line in report.failures()]
            lines += error.lines
        except Exception as error:
            row(case.name, "", "", "", "NOT CHECKED")
            failures.append(f"{case.name}: {error_in_words(error)}")
            continue
        for argument in report.arguments:
            row(case.name, argument.name, argument.extent, f"{argument.worst_relative:.1e}", argument.verdict)
        if report.problems:
            row(case.name, "", "", "", "WRONG")
        for note in report.notes:
            notes[note].append(case.name)
        gradients += len(report.arguments)
        entries += report.entries
    counts = f"{counted(len(cases), 'component')}, {counted(gradients, 'gradient')}, {entries:,} entries"
    verdict = f"{len(failures)} not right:" if failures else "all right"
    show(f"\n{counts} checked in {time.perf_counter() - start:.1f} s: {verdict}")
    for line in [*failures, *lines]:
        show(f"  {line}")
    for note, names in notes.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        show(f"note: {', '.join(names[:3])}{more}: {note}")
    return WRONG if failures else OK


def steps(arguments):
    cases, reports = _matching_cases([arguments.target], arguments.k), []
    for case in cases:
        try:
            with exits_as_errors():
                report = steps_of_call(case.call(np.random.default_rng(arguments.seed)), seed=arguments.seed)
        except Exception as error:
            show(f"{case.name}: not examined: {error_in_words(error)}\n")
        else:
            reports.append(report)
            show(f"{case.name}\n{report}\n")
    wrong, refused = sum(not report.passed for report in reports), len(cases) - len(reports)
    rows = sum(len(report.rows) for report in reports)
    verdict = f"{counted(wrong, 'function')} with a wrong gradient" if wrong else "all right"
    left = f", {counted(refused, 'function')} not examined" if refused else ""
    show(f"{counted(rows, 'gradient')} in {counted(len(reports), 'function')}: {verdict}{left}")
    return USAGE if not reports else WRONG if wrong else OK


def certify(arguments):
    from gradcheck.certify import certify_call

    if arguments.traces is not None:
        arguments.traces.mkdir(parents=True, exist_ok=True)

    cases = _matching_cases([arguments.target], arguments.k)
    width, certified = _width(cases), 0
    show(f"{'component':<{width}}  verdict      wrong with probability  decisions  seconds")
    for case in cases:
        start = time.perf_counter()
        try:
            with exits_as_errors():
                trace = arguments.traces and arguments.traces / f"{case.name.replace('/', '-')}.json"
                found = certify_call(case.call(np.random.default_rng(arguments.seed)), trace=trace)
        except Exception as error:
            show(f"{case.name:<{width}}  cannot tell  {error_in_words(error)}")
            continue
        certified += bool(found)
        seconds = time.perf_counter() - start
        rest = f"{f'< 1e{found.exponent}':>22}  {len(found.decisions):>9,}  {seconds:>7.1f}" if found else found.reason
        show(f"{case.name:<{width}}  {found.verdict:<11}  {rest}")
    show(f"{certified} of {counted(len(cases), 'component')} certified")
    return OK if certified == len(cases) else WRONG


def _width(cases):
    return max(len("component"), *(len(case.name) for case in cases))


def _matching_cases(targets, substring):
    cases = []
    for target in targets:
        prefix = f"{target.partition(':')[0]}:" if len(targets) > 1 else ""
        cases += [replace(case, name=prefix + case.name) for case in selected_cases(target)]
    cases = [case for case in cases if substring.lower() in case.name.lower()]
    if not cases:
        raise LookupError(f"no case of {', '.join(targets)} has {substring!r} in its name")
    return cases


def _configured():
    """Return the modules that the nearest configuration file names, or an empty list.

    The current directory and its parents are searched, up to the root of a repository. The directory of the
    configuration is added to sys.path, and paths of .py files are relative to it.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        for path in filter(Path.is_file, (folder / "pyproject.toml", folder / "setup.cfg")):
            try:
                modules = _modules(path)
            except (TypeError, configparser.Error, tomllib.TOMLDecodeError) as error:
                raise ValueError(f"{path}: {error}") from error
            if modules:
                sys.path[:0] = [] if str(folder) in sys.path else [str(folder)]
                return [str(folder / module) if module.endswith(".py") else module for module in modules]
        if any((folder / root).exists() for root in (".git", ".hg")):
            break
    return []


def _modules(path):
    """Return the modules listed in a configuration file, or None if there is no list."""
    text = path.read_text("utf-8")
    if path.suffix == ".toml":
        table = tomllib.loads(text).get("tool", {}).get("gradcheck")
    else:
        parser = configparser.RawConfigParser()
        parser.read_string(text, str(path))
        title = "tool:gradcheck"
        table = {key: value.split() for key, value in parser.items(title)} if parser.has_section(title) else None
    modules = table.get("modules") if isinstance(table, dict) else None
    if table is not None and (not isinstance(modules, list) or not modules):
        raise TypeError(f'gradcheck must be a table such as modules = ["my_layers"], not {table!r}')
    return modules
