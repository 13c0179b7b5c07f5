"""`python -m gradcheck audit`: its options, and the steps of an audit."""

import os
import random
import shlex
import time
from collections import Counter

from gradcheck.audit.command import CommandError, TestCommand
from gradcheck.audit.course import Audit, AuditError, Original
from gradcheck.audit.mutations import mutate
from gradcheck.audit.outcome import BY_CERTIFICATE, EQUIVALENT, KILLED, SURVIVING
from gradcheck.audit.projects import files_in_memory, package_files
from gradcheck.audit.reporting import Progress, describe, score, summary, write_json
from gradcheck.cases import load_cases
from gradcheck.command_line import Parser, counted, one_line, say, show, whole_number
from gradcheck.mistakes.sources import find_closures

ALL_KILLED, SOME_SURVIVE, USAGE = 0, 1, 2

EPILOG = """\
Each mutant is one mistake in one place of a function named `backward`: a term dropped, a sign flipped, a transpose
lost, dy ignored, ... It is killed when a check fails. Survivors are listed with their file, line and difference; each
is a mistake that the checks do not detect. Mutants that compute the same gradients as the original in every case are
equivalent, and counted separately.

  python -m gradcheck audit mine                                   evaluate the cases of mine.py
  python -m gradcheck audit mine -k layer_norm --list              list the mutants of layer_norm
  python -m gradcheck audit mine --sample 200 --seed 3             try a reproducible sample of the mutants
  python -m gradcheck audit mine --command "pytest -x -q tests"    evaluate a pytest suite

Exit status: 0 if no mutant survives, 1 if some survive, 2 if nothing could be audited or the results could not be
written.
"""


def main(argv=None):
    options = _parser().parse_args(argv)
    progress = Progress()
    start = time.monotonic()
    try:
        return _audit(options, progress, start)
    except (AuditError, ImportError, TypeError, ValueError) as error:
        progress.clear()
        words = error if isinstance(error, CommandError) else one_line(error)  # a CommandError has several lines
        say(f"gradcheck audit: {words}")
        return USAGE
    finally:
        progress.clear()


def _parser():
    parser = Parser(
        "audit",
        "Test the checks: make mistakes in backward passes on purpose, and list those that go unnoticed.",
        EPILOG,
    )
    parser.add_argument("target", metavar="MODULE", help="a module that lists cases, by name or as a .py file")
    parser.add_argument("--command", metavar="CMD", help="test command to evaluate (default: the module's cases)")
    positive = whole_number(1, "the number")
    parser.add_argument("-k", metavar="TEXT", help="try only mutants whose file, function or kind contains TEXT")
    parser.add_argument(
        "--sample", type=positive, metavar="N", help="number of mutants to try, drawn at random (default: all)"
    )
    parser.add_seed("the sample", "S")
    draws, jobs = whole_number(1, "the number", most=10_000), whole_number(1, "the number", most=1024)
    parser.add_argument(
        "--draws", type=draws, default=5, metavar="N", help="number of random draws of each case (default: %(default)s)"
    )
    parser.add_argument(
        "--jobs", type=jobs, metavar="N", help="number of mutants tried at a time (default: one for each core)"
    )
    parser.add_argument(
        "--functions",
        nargs="+",
        default=["backward"],
        metavar="PATTERN",
        help="names of the functions to mutate, as in `*_backward` (default: backward)",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="mutate every file of the module's package (default: those that the cases run)",
    )
    parser.add_argument("--list", action="store_true", help="list the mutants without trying them")
    parser.add_argument("--equivalent", action="store_true", help="list the equivalent mutants too")
    parser.add_argument("--json", metavar="FILE", help="JSON file to which all results are written")
    return parser


def _audit(options, progress, start):
    if options.json and not os.path.isdir(os.path.dirname(os.path.abspath(options.json))):
        raise AuditError(f"--json {options.json}: its folder does not exist")
    cases = _load(options)
    loaded = files_in_memory(options.target)
    original = Original(options.target, cases, range(options.draws), loaded, progress.say)
    in_use = [path for path in loaded if str(path) in original.files_run()]
    mutants = _select(options, package_files(options.target) if options.all or not cases else in_use)
    if options.list:
        progress.clear()
        for mutant in mutants:
            show("\n".join(describe(mutant)))
        show(counted(len(mutants), "mutant"))
        return ALL_KILLED
    jobs = options.jobs or _cores()
    audit = Audit(original, mutants, jobs, progress)
    if options.command is None:
        outcomes = audit.by_checks()
    else:
        root = os.path.realpath(os.getcwd())
        audited = sorted({mutant.path for mutant in mutants})
        outside = [path for path in audited if not path.is_relative_to(root)]
        if outside:
            raise AuditError(
                f"{outside[0]} is not in the current folder; --command runs in copies of the current folder, so all "
                "audited files must be in it"
            )
        with TestCommand(options.command, root, audited, min(jobs, len(mutants))) as command:
            outcomes = audit.by_command(command)
    progress.clear()
    try:
        return _report(options, mutants, outcomes, time.monotonic() - start)
    finally:  # even if the report cannot be printed
        if options.json:
            write_json(options.json, options.target, options.command, mutants, outcomes)


def _load(options):
    """Return the cases of the target. With --command, a module without cases gives an empty list."""
    try:
        return load_cases(options.target)
    except ImportError as error:
        if options.command is None or "lists no cases" not in str(error):
            raise
        return []


def _select(options, files):
    """Return the mutants that the options select, in the order of the source. Raises AuditError if there is none."""
    mutants = [mutant for path in files for mutant in mutate(path, options.functions)]
    if not mutants:
        where = "the package" if options.all else "the files that its cases run"
        names = " or ".join(map(repr, options.functions))
        raise AuditError(
            f"{options.target}: there is no function {names} in {where}, so there is nothing to mutate{_meant(files)}"
        )
    if options.k is not None:
        mutants = [m for m in mutants if options.k.lower() in f"{m.path} {m.function} {m.kind}".lower()]
        if not mutants:
            raise AuditError(f"no mutant of {options.target} has {options.k!r} in its file, function or kind")
    if options.sample is not None and options.sample < len(mutants):
        chosen = random.Random(options.seed).sample(range(len(mutants)), options.sample)
        mutants = [mutants[i] for i in sorted(chosen)]
    return mutants


def _meant(files):
    """Return a hint that names a possible backward pass and the option that selects it, or an empty string."""
    for pattern in ("*_backward", "*backward*", "*grad*", "*acobian*", "*jac*", "*deriv*"):
        found = [closure.qualname for path in files for closure in find_closures(path, [pattern])]
        if found:
            return f"; there is {found[0]}{', ...' if len(found) > 1 else ''}: --functions '{pattern}'"
    return ""


def _report(options, mutants, outcomes, seconds):
    count = Counter(outcome.status for outcome in outcomes)
    certified = sum(outcome.by == BY_CERTIFICATE for outcome in outcomes)
    judge = shlex.quote(options.command) if options.command else f"the cases of {options.target}"
    functions = len({(mutant.path, mutant.function, mutant.codes) for mutant in mutants})
    footer = (
        f"{counted(len(mutants), 'mutant')} of {counted(functions, 'function')}, judged by {judge}: "
        f"{count[KILLED]:,} killed, {count[EQUIVALENT]:,} equivalent ({certified:,} certified), "
        f"{count[SURVIVING]:,} surviving; "
        f"score {score(count)}, in {seconds:.0f} s ({_cpu_seconds():.0f} s of CPU)"
    )
    if options.equivalent:
        for mutant, outcome in zip(mutants, outcomes, strict=True):
            if outcome.status == EQUIVALENT:
                show("equivalent: " + "\n".join(describe(mutant)))
        show()
    show(summary(mutants, outcomes, footer))
    return SOME_SURVIVE if count[SURVIVING] else ALL_KILLED


def _cpu_seconds():
    """Return the CPU time of this process and of its child processes that have ended, in seconds."""
    return sum(os.times()[:4])


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
