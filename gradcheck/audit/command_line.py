"""The command line of `python -m gradcheck audit`."""

import functools
import importlib.util
import os
import random
import shlex
import tempfile
import time
from pathlib import Path

from gradcheck.audit.command import TestCommand
from gradcheck.audit.mutations import mutate
from gradcheck.audit.reporting import describe, summary, with_progress, write_json
from gradcheck.audit.trials import SURVIVING, AuditError, Trials
from gradcheck.cases import load_cases
from gradcheck.front.exits import OK, WRONG, Parser, whole_number
from gradcheck.front.streams import counted, say, show

FEWEST = 20  # mutants for which a process starts, unless --jobs is given
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
    start = time.monotonic()
    if options.json and not os.path.isdir(os.path.dirname(os.path.abspath(options.json))):
        raise AuditError(f"--json {options.json}: its folder does not exist")
    cases = _load(options)
    top = _top_level(options.target)
    is_audited = functools.cache(lambda path: _is_project_code(Path(path), top))
    trials = Trials(cases, range(options.draws), is_audited)
    if cases:
        files = sorted({Path(path) for lines in trials.lines.values() for path, _ in lines})
    else:
        files = sorted(top.rglob("*.py")) if top.is_dir() else [top]
    possible = _possible(options, files, trials if cases else None)
    mutants = _sample(options, possible)
    if options.list:
        show("\n".join([*(line for mutant in mutants for line in describe(mutant)), counted(len(mutants), "mutant")]))
        return OK
    with tempfile.TemporaryDirectory(prefix="gradcheck-audit-") as folder:
        worthwhile = len(mutants) if options.command else -(-len(mutants) // FEWEST)
        command, jobs = None, min(options.jobs or min(os.cpu_count() or 1, worthwhile), len(mutants))
        if options.command is not None:
            command = TestCommand(options.command, Path(os.path.realpath(folder)), mutants)
        else:
            for name in {name: None for mutant in mutants for name in trials.cases_that_run(mutant)}:
                trials.verify(name, trials.seeds[0])
        outcomes = with_progress(trials.run(mutants, jobs, options.target, command), len(mutants))
    tried = [pair for pair in zip(mutants, outcomes, strict=True) if pair[1] is not None]
    if len(tried) < len(mutants):
        left = counted(len(mutants) - len(tried), "mutant")
        say(f"note: {left} left out, because each needs a variable that its function does not capture")
    if options.json:
        write_json(options.json, options.target, options.command, tried, len(possible))
    judge = shlex.quote(options.command) if options.command else f"the cases of {options.target}"
    show(summary(tried, judge, time.monotonic() - start))
    return WRONG if any(outcome.status == SURVIVING for _, outcome in tried) else OK


def audit_parser():
    about = "Test the checks: make mistakes in backward passes on purpose, and list those that go unnoticed."
    parser = Parser("python -m gradcheck audit", about, EPILOG)
    parser.add_argument("target", metavar="MODULE", help="a module that lists cases, by name or as a .py file")
    parser.add_argument("--command", metavar="CMD", help="test command to evaluate (default: the module's cases)")
    add, positive = parser.add_argument, whole_number(1, "the number")
    add("-k", metavar="TEXT", help="try only mutants whose file, function or kind contains TEXT")
    add("--sample", type=positive, metavar="N", help="number of mutants to try, drawn at random (default: all)")
    parser.add_seed("the sample", "S")
    add("--draws", type=positive, default=5, metavar="N", help="number of draws of each case (default: %(default)s)")
    words = "number of mutants tried at a time (default: at most one for each core)"
    add("--jobs", type=positive, metavar="N", help=words)
    words = "names of the functions to mutate, as in `*_backward` (default: backward)"
    add("--functions", nargs="+", default=["backward"], metavar="PATTERN", help=words)
    parser.add_argument("--list", action="store_true", help="list the mutants without trying them")
    parser.add_argument("--json", metavar="FILE", help="JSON file to which all results are written")
    return parser


def _load(options):
    try:
        return load_cases(options.target)
    except ImportError as error:
        if options.command is None or "lists no cases" not in str(error):
            raise
        return []


def _top_level(target):
    """Return the folder of the package, or the file of the module, that contains the target."""
    if target.endswith(".py"):
        return Path(os.path.realpath(target))
    spec = importlib.util.find_spec(target.partition(".")[0])
    where = spec.submodule_search_locations
    return Path(os.path.realpath(next(iter(where)) if where else spec.origin))


def _is_project_code(path, top):
    foreign = set(NOT_AUDITED) & set(path.parts) or path.is_relative_to(STANDARD_LIBRARY) or path.is_relative_to(OURS)
    return path.suffix == ".py" and (path.is_relative_to(top) or (path.is_relative_to(top.parent) and not foreign))


def _possible(options, files, trials):
    """Return the mutants of which --sample draws, in the order of the source.

    If `trials` is given, functions that no case runs are left out. Raises AuditError if no mutant remains.
    """
    mutants = [mutant for path in files for mutant in mutate(path, options.functions)]
    if trials is not None:
        run = {(mutant.path, mutant.function) for mutant in mutants if trials.cases_that_run(mutant)}
        mutants = [mutant for mutant in mutants if (mutant.path, mutant.function) in run]
    if not mutants:
        names, which = " or ".join(map(repr, options.functions)), "" if trials is None else " that a case runs"
        raise AuditError(f"{options.target}: no function{which} is named {names}; name others with --functions")
    if options.k is not None:
        mutants = [m for m in mutants if options.k.lower() in f"{m.path} {m.function} {m.kind}".lower()]
        if not mutants:
            raise AuditError(f"no mutant of {options.target} has {options.k!r} in its file, function or kind")
    return mutants


def _sample(options, mutants):
    """Return the mutants of the sample, in the order of the source, or all of them."""
    if options.sample is not None and options.sample < len(mutants):
        chosen = random.Random(options.seed).sample(range(len(mutants)), options.sample)
        mutants = [mutants[i] for i in sorted(chosen)]
    return mutants
