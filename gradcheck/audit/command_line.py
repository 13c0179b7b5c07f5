"""`python -m gradcheck audit`: its arguments, and the course of an audit."""

import argparse
import os
import random
import shlex
import sys
import time
from collections import Counter
from dataclasses import replace

from gradcheck.audit.command import CommandError, TestCommand
from gradcheck.audit.mutations import mutate
from gradcheck.audit.planting import live_functions
from gradcheck.audit.pool import Pool
from gradcheck.audit.projects import files_in_memory, package_files
from gradcheck.audit.reporting import Progress, describe, score, summary, write_json
from gradcheck.audit.trials import (
    EQUIVALENT,
    KILLED,
    SURVIVING,
    UNPLANTABLE,
    Trial,
    originals,
)
from gradcheck.cases import load_cases

ALL_KILLED, SOME_SURVIVE, USAGE = 0, 1, 2
LEAST = 5.0  # seconds of CPU that a mutant is always allowed, before the time limit kills it
PATIENCE = 20  # and how many times what the original takes

EPILOG = """\
Each mutant is one mistake in one place of a function named `backward`: a term dropped, a sign flipped, a transpose
lost, dy ignored, ... It is killed when a check fails. Survivors are listed with their file, line and difference, and
show what the checks cannot see. Mutants that compute the same gradients as the original in every case are equivalent,
and counted apart.

  python -m gradcheck audit mine                                   do the cases of mine.py notice?
  python -m gradcheck audit mine -k layer_norm --list              what would be tried in layer_norm
  python -m gradcheck audit mine --sample 200 --seed 3             a part of it, the same one each time
  python -m gradcheck audit mine --command "pytest -x -q tests"    does pytest notice?

Exit status: 0 no mutant survives, 1 some do, 2 nothing could be audited.
"""


class AuditError(Exception):
    """What was asked for cannot be audited; the message says why."""


def main(argv=None):
    """Run the command line and return its exit status."""
    options = _parser().parse_args(argv)
    progress = Progress()
    start = time.monotonic()
    try:
        return _audit(options, progress, start)
    except (AuditError, CommandError, ImportError, TypeError, ValueError, OSError) as error:
        progress.clear()
        print(f"gradcheck audit: {error}", file=sys.stderr)
        return USAGE
    finally:
        progress.clear()


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m gradcheck audit",
        description="Test the checks: make mistakes in backward passes on purpose, and see which go unnoticed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="MODULE", help="a module that lists cases, by name or as a .py file")
    parser.add_argument("--command", metavar="CMD", help="a test command to score in place of the module's own cases")
    parser.add_argument("-k", metavar="TEXT", help="only mutants whose file, function or kind contains this")
    parser.add_argument("--sample", type=_positive, metavar="N", help="only N of the mutants, drawn at random")
    parser.add_argument("--seed", type=_not_negative, default=0, metavar="S", help="decides the sample (default: 0)")
    parser.add_argument(
        "--draws", type=_positive, default=5, metavar="N", help="random draws of each case (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=_positive, metavar="N", help="mutants tried at a time (default: one a core)")
    parser.add_argument(
        "--functions",
        nargs="+",
        default=["backward"],
        metavar="PATTERN",
        help="names of the functions to mutate, as in `*_backward` (default: backward)",
    )
    parser.add_argument(
        "--all", action="store_true", help="every file of the module's package, not only those that the cases run"
    )
    parser.add_argument("--list", action="store_true", help="list the mutants and try none")
    parser.add_argument("--equivalent", action="store_true", help="list the equivalent mutants too")
    parser.add_argument("--json", metavar="FILE", help="write all results to a file")
    return parser


def _positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return int(text)


def _not_negative(text):
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return int(text)


def _audit(options, progress, start):
    cases = _load(options)
    seeds = range(options.draws)
    loaded = files_in_memory(options.target)
    observed, lines, seconds = originals(cases, seeds, loaded, progress.say)
    run_lines = set().union(*lines.values())
    run_files = {path for path, _ in run_lines}
    in_use = [path for path in loaded if str(path) in run_files]
    files = package_files(options.target) if options.all or not cases else in_use
    mutants = _select(options, files)
    if options.list:
        progress.clear()
        for mutant in mutants:
            print("\n".join(describe(mutant)))
        print(_count(len(mutants), "mutant"))
        return ALL_KILLED
    runs_in = [_cases_that_run(mutant, cases, lines) for mutant in mutants]
    jobs = options.jobs or _cores()
    pool = Pool(jobs, options.target, cases, live_functions(mutants) if cases else {})
    audit = _Audit(pool, progress, mutants, runs_in, observed, seconds, seeds)
    if options.command is None:
        outcomes = audit.by_checks()
    else:
        root = os.path.realpath(os.getcwd())
        audited = sorted({mutant.path for mutant in mutants})
        outside = [path for path in audited if not path.is_relative_to(root)]
        if outside:
            raise AuditError(f"{outside[0]} is not in the current folder, of which the command gets a copy")
        with TestCommand(options.command, root, audited, min(jobs, len(mutants))) as command:
            outcomes = audit.by_command(command)
    progress.clear()
    if options.json:
        write_json(options.json, options.target, options.command, mutants, outcomes)
    return _report(options, mutants, outcomes, time.monotonic() - start)


def _load(options):
    """Return the cases of the target; none for a test command that goes without."""
    try:
        return load_cases(options.target)
    except ImportError as error:
        if options.command is None or "lists no cases" not in str(error):
            raise
        return []


def _select(options, files):
    """Return the mutants that the options ask for, in the order of the source, never none."""
    mutants = [mutant for path in files for mutant in mutate(path, options.functions)]
    if not mutants:
        where = "the package" if options.all else "the files that its cases run"
        names = " or ".join(map(repr, options.functions))
        raise AuditError(f"{options.target}: there is no function {names} in {where}, so there is nothing to mutate")
    if options.k is not None:
        mutants = [m for m in mutants if options.k.lower() in f"{m.path} {m.function} {m.kind}".lower()]
        if not mutants:
            raise AuditError(f"no mutant of {options.target} has {options.k!r} in its file, function or kind")
    if options.sample is not None and options.sample < len(mutants):
        chosen = random.Random(options.seed).sample(range(len(mutants)), options.sample)
        mutants = [mutants[i] for i in sorted(chosen)]
    return mutants


def _cases_that_run(mutant, cases, lines):
    first, last = mutant.lines
    wanted = {(str(mutant.path), line) for line in range(first, last + 1)}
    return [case.name for case in cases if wanted & lines[case.name]]


class _Audit:
    """The course of an audit.

    For each mutant, `runs_in` has the names of the cases that run it; for each case, `seconds` has the CPU time of one
    forward and two backward passes; `observed` is what the original gave, for each case and seed.
    """

    def __init__(self, pool, progress, mutants, runs_in, observed, seconds, seeds):
        self.pool = pool
        self.progress = progress
        self.mutants = mutants
        self.runs_in = runs_in
        self.observed = observed
        self.seeds = seeds
        self.to_look = {name: LEAST + PATIENCE * spent for name, spent in seconds.items()}
        self.to_check = {}

    def by_checks(self):
        """Return the Outcome of every mutant, tried on the module's cases."""
        self._verify({(name, self.seeds[0]) for names in self.runs_in for name in names})
        outcomes = self._try("trying mutants", range(len(self.mutants)), ask=True)
        credited = {(outcome.case, outcome.seed) for outcome in outcomes.values() if outcome.case}
        self._verify({(name, seed) for name, seed in credited if seed != self.seeds[0]})
        self._confirm(outcomes)
        return [self._explained(outcomes[i], i, "every check passes") for i in range(len(self.mutants))]

    def _confirm(self, outcomes):
        """Try survivors again, in a new Python that has never seen the original. A kill there counts."""
        suspects = [i for i, outcome in outcomes.items() if outcome.status == SURVIVING and self.runs_in[i]]
        for i, confirmed in self._try("confirming survivors", suspects, ask=True, afresh=True).items():
            if confirmed.status == KILLED:
                outcomes[i] = confirmed

    def by_command(self, command):
        """Return the Outcome of every mutant, tried on a test command; survivors may turn out to be equivalent."""
        self.progress.say("running the command without a mutant")
        command.verify()
        total = len(self.mutants)
        outcomes = dict(self.progress.follow("trying mutants", command.run(self.mutants), total))
        survivors = [i for i, outcome in outcomes.items() if outcome.status == SURVIVING and self.runs_in[i]]
        self.to_check = self.to_look
        outcomes |= self._try("comparing survivors", survivors, ask=False)
        return [self._explained(outcomes[i], i, "the command passes") for i in range(total)]

    def _verify(self, draws):
        """Run checks without a mutant: they must pass, or it would mean nothing that they fail."""
        draws = sorted(draws)
        trials = [Trial(None, ((name, seed, 0.0, 3600.0),)) for name, seed in draws]
        for i, outcome in self.progress.follow("checking without a mutant", self.pool.run(trials), len(trials), False):
            name, seed = draws[i]
            self.to_check[name] = max(self.to_check.get(name, 0.0), LEAST + PATIENCE * outcome.seconds)
            if outcome.status == KILLED:
                raise AuditError(
                    f"the check of {name!r} fails without any mutant (seed {seed}), so its failures say nothing: "
                    f"{outcome.message or outcome.by}"
                )

    def _try(self, what, indices, ask, afresh=False):
        """Return {index: Outcome} of mutants tried on all the cases that run them."""
        indices = list(indices)
        trials = [self._trial(i, ask, compare=not afresh) for i in indices]
        outcomes = {}
        for j, outcome in self.progress.follow(what, self.pool.run(trials, afresh), len(trials)):
            outcomes[indices[j]] = outcome
        stubborn = [i for i, outcome in outcomes.items() if outcome.status == UNPLANTABLE]
        if stubborn:
            trials = [self._trial(i, ask, compare=True) for i in stubborn]
            for j, outcome in self.progress.follow(what, self.pool.run(trials, afresh=True), len(trials)):
                outcomes[stubborn[j]] = outcome
        return outcomes

    def _trial(self, i, ask, compare):
        names = sorted(self.runs_in[i], key=lambda name: self.to_check[name])
        draws = tuple((name, seed, self.to_look[name], self.to_check[name]) for seed in self.seeds for name in names)
        expected = {key: seen for key, seen in self.observed.items() if key[0] in names} if compare else None
        return Trial(self.mutants[i], draws, ask, expected)

    def _explained(self, outcome, i, what):
        """Return an Outcome with a message, if it is a survivor's. What no case runs is not equivalent to anything."""
        if not self.runs_in[i] and outcome.status in (EQUIVALENT, SURVIVING):
            reason = "no case runs this statement" if self.observed else f"{what}; without cases, none is equivalent"
            return replace(outcome, status=SURVIVING, message=reason)
        if outcome.status != SURVIVING:
            return outcome
        where = _list(outcome.differs_in)
        if outcome.only_varied:
            where = f"{where} once its inputs have other values than the case draws"
        return replace(outcome, message=f"{what}, although the gradients differ in {where}")


def _report(options, mutants, outcomes, seconds):
    count = Counter(outcome.status for outcome in outcomes)
    judge = shlex.quote(options.command) if options.command else f"the cases of {options.target}"
    functions = len({(mutant.path, mutant.function, mutant.codes) for mutant in mutants})
    footer = (
        f"{_count(len(mutants), 'mutant')} of {_count(functions, 'function')}, judged by {judge}: "
        f"{count[KILLED]:,} killed, {count[EQUIVALENT]:,} equivalent, {count[SURVIVING]:,} surviving; "
        f"score {score(count)}, in {seconds:.0f} s ({_cpu_seconds():.0f} s of CPU)"
    )
    if options.equivalent:
        for mutant, outcome in zip(mutants, outcomes, strict=True):
            if outcome.status == EQUIVALENT:
                print("equivalent: " + "\n".join(describe(mutant)))
        print()
    print(summary(mutants, outcomes, footer))
    return SOME_SURVIVE if count[SURVIVING] else ALL_KILLED


def _cpu_seconds():
    """Return the CPU time of this process and of all that it has started and seen end."""
    return sum(os.times()[:4])


def _count(n, noun):
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _list(names, most=3):
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
