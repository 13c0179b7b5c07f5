"""The command `python -m gradcheck audit`: the options, and the steps of an audit."""

import importlib.util
import os
import random
import shlex
import time
from collections import Counter
from pathlib import Path

from gradcheck.audit.command import TestCommand, copies_of
from gradcheck.audit.mutations import mutate
from gradcheck.audit.reporting import Progress, describe, score, summary, write_json
from gradcheck.audit.trials import BY_CERTIFICATE, EQUIVALENT, KILLED, SURVIVING, AuditError, Trials
from gradcheck.cases import load_cases
from gradcheck.command_line import Parser, counted, say, show, whole_number
from gradcheck.mistakes.sources import find_closures

ALL_KILLED, SOME_SURVIVE, USAGE = 0, 1, 2
NOT_AUDITED = ("site-packages", "dist-packages")
STANDARD_LIBRARY, OURS = Path(os.path.realpath(os.__file__)).parent, Path(os.path.realpath(__file__)).parents[1]

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


def audit(options):
    progress, start = Progress(), time.monotonic()
    if options.json and not os.path.isdir(os.path.dirname(os.path.abspath(options.json))):
        raise AuditError(f"--json {options.json}: its folder does not exist")
    cases = _load(options)
    top = _top_level(options.target)
    trials = Trials(cases, range(options.draws), lambda path: _belongs(Path(path), top), progress.say)
    if cases and not options.all:
        files = sorted({Path(path) for lines in trials.lines.values() for path, _ in lines})
    else:
        files = sorted(top.rglob("*.py")) if top.is_dir() else [top]
    mutants = _select(options, files)
    if options.list:
        for mutant in mutants:
            show("\n".join(describe(mutant)))
        show(counted(len(mutants), "mutant"))
        return ALL_KILLED
    by = _by_checks if options.command is None else _by_command
    outcomes = by(options, trials, mutants, min(options.jobs or _cores(), len(mutants)), progress)
    tried = [pair for pair in zip(mutants, outcomes, strict=True) if pair[1] is not None]
    if len(tried) < len(mutants):
        left = counted(len(mutants) - len(tried), "mutant")
        say(f"note: {left} left out, because each needs a variable that its function does not capture")
    try:
        return _report(options, tried, time.monotonic() - start)
    finally:  # even if the report cannot be printed
        if options.json:
            write_json(options.json, options.target, options.command, tried)


def audit_parser():
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
    parser.add_argument(
        "--draws",
        type=positive,
        default=5,
        metavar="N",
        help="number of draws of each case (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs", type=positive, metavar="N", help="number of mutants tried at a time (default: one for each core)"
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


def _load(options):
    """Return the cases of the target. With --command, a module without cases gives []."""
    try:
        return load_cases(options.target)
    except ImportError as error:
        if options.command is None or "lists no cases" not in str(error):
            raise
        return []


def _top_level(target):
    """Return the folder of the top-level package, or the file of the module, that contains the target."""
    if target.endswith(".py"):
        return Path(os.path.realpath(target))
    spec = importlib.util.find_spec(target.partition(".")[0])
    where = spec.submodule_search_locations
    return Path(os.path.realpath(next(iter(where)) if where else spec.origin))


def _belongs(path, top):
    """Return True if a file belongs to the target's package or to other project code."""
    foreign = set(NOT_AUDITED) & set(path.parts) or path.is_relative_to(STANDARD_LIBRARY) or path.is_relative_to(OURS)
    return path.suffix == ".py" and (path.is_relative_to(top) or (path.is_relative_to(top.parent) and not foreign))


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
    """Return a hint that names a possible backward pass and an option, or ""."""
    for pattern in ("*_backward", "*backward*", "*grad*", "*acobian*", "*jac*", "*deriv*"):
        found = [closure.qualname for path in files for closure in find_closures(path, [pattern])]
        if found:
            return f"; there is {found[0]}{', ...' if len(found) > 1 else ''}: --functions '{pattern}'"
    return ""


def _by_checks(options, trials, mutants, jobs, progress):
    names = sorted({name for mutant in mutants for name in trials.cases_that_run(mutant)})
    for i, name in enumerate(names, 1):
        progress.say(f"checking without a mutant: {i} of {len(names)}")
        trials.verify(name, trials.seeds[0])
    return progress.follow("trying mutants", trials.run(mutants, jobs), len(mutants))


def _by_command(options, trials, mutants, jobs, progress):
    """Try mutants on a test command, except mutants that are equivalent in all cases."""
    root = Path(os.path.realpath(os.getcwd()))
    outside = sorted({mutant.path for mutant in mutants if not mutant.path.is_relative_to(root)})
    if outside:
        raise AuditError(
            f"{outside[0]} is not in the current folder; --command runs in copies of the current folder, so all "
            "audited files must be in it"
        )
    with copies_of(root, min(jobs, len(mutants))) as copies:
        command = TestCommand(options.command, root, mutants, copies)
        compared = trials.run(mutants, jobs, with_checks=False)
        outcomes = progress.follow("comparing with the original", compared, len(mutants))
        left = [i for i, outcome in enumerate(outcomes) if outcome is None or outcome.status != EQUIVALENT]
        results = progress.follow("running the command", command.outcomes(left), len(left))
    for i, result in zip(left, results, strict=True):
        if result.status == SURVIVING and outcomes[i] is not None and outcomes[i].status == SURVIVING:
            continue  # the comparison explains more
        outcomes[i] = result
    return outcomes


def _report(options, tried, seconds):
    count = Counter(outcome.status for _, outcome in tried)
    certified = sum(outcome.by == BY_CERTIFICATE for _, outcome in tried)
    judge = shlex.quote(options.command) if options.command else f"the cases of {options.target}"
    functions = len({(mutant.path, mutant.function) for mutant, _ in tried})
    footer = (
        f"{counted(len(tried), 'mutant')} of {counted(functions, 'function')}, judged by {judge}: "
        f"{count[KILLED]:,} killed, {count[EQUIVALENT]:,} equivalent ({certified:,} certified), "
        f"{count[SURVIVING]:,} surviving; "
        f"score {score(count)}, in {seconds:.0f} s ({sum(os.times()[:4]):.0f} s of CPU)"
    )
    if options.equivalent:
        for mutant, outcome in tried:
            if outcome.status == EQUIVALENT:
                show("equivalent: " + "\n".join(describe(mutant)))
        show()
    show(summary(tried, footer))
    return SOME_SURVIVE if count[SURVIVING] else ALL_KILLED


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
