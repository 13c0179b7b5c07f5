"""Try mutants on the cases of a module.

The gradients of every case that runs the mutated statement are compared with the original ones for every seed. If they
differ, `check_case` runs, and the mutant is *killed* if the check fails. If no case shows a difference, the arrays,
parameters and numbers of the cases are varied, because the inputs may be special, such as γ = 1. A mutant *survives* if
no case runs it, or if its gradients differ and every check passes. A mutant is *equivalent* if its gradients are always
the same and no certificate is refused. A certificate (gradcheck/certify) proves the gradients right for all inputs of
these shapes.
"""

import contextlib
import gc
import itertools
import os
import signal
import sys
import threading
import time
import types
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from gradcheck.audit.observing import is_same, observe, real_path, trace_lines
from gradcheck.cases import check_case, exits_as_errors, load_cases, quiet
from gradcheck.certify import certify_call
from gradcheck.checking import check_call
from gradcheck.front.processes import Workers
from gradcheck.front.streams import error_in_words
from gradcheck.mistakes import planter
from gradcheck.mistakes.planter import codes_of, key_of
from gradcheck.report import GradientError

KILLED, EQUIVALENT, SURVIVING = "killed", "equivalent", "surviving"
BY_GRADIENT, BY_EXCEPTION, BY_TIME, BY_COMMAND = "a wrong gradient", "an exception", "the time limit", "the command"
BY_CERTIFICATE = "a certificate"
NO_CASES = "equivalent mutants are not recognized, because the module has no cases"
FEW, FEW_ATOL = 2, 1e-8  # entries of each argument, and tolerance, of the first check of a mutant
LEAST, PATIENCE = 5.0, 20  # a step may take LEAST seconds of CPU plus PATIENCE times the slowest without a mutant
CERTIFIED, FOR_A_CERTIFICATE = 3, 60.0  # number of cases of a mutant to certify; seconds of CPU for each


class AuditError(ValueError):
    """The target cannot be audited. The message gives the reason."""


class TimeIsUp(KeyboardInterrupt):
    """A trial has exceeded its time limit. `except Exception` does not catch this."""


@dataclass(frozen=True)
class Outcome:
    """The result of trying a mutant."""

    status: str  # KILLED, EQUIVALENT or SURVIVING
    by: str = ""  # the cause of a kill, one of the BY_ constants; BY_CERTIFICATE if all certificates succeeded
    case: str = ""  # the name of the case that killed the mutant
    seed: int = 0  # the seed of the draw that killed the mutant
    message: str = ""
    differs_in: tuple = ()  # the names of the cases in which the gradients of a surviving mutant differ


class Trials:
    """The cases on which mutants are tried, with the results of the original code.

    Raises ValueError if a case raises an exception on the inputs that it draws.
    """

    def __init__(self, cases, seeds, is_audited):
        self.cases, self.seeds = {case.name: case for case in cases}, seeds
        self.observed = {}  # {(case name, seed, is_varied): result of `observe`}, if the original is finite there
        self.lines = {}  # {case name: set of (file, line) that it runs in the files for which is_audited(path)}
        self.verified = {}  # {(case name, seed): CPU time} of the checks that pass without a mutant
        self.called = set(self.cases)  # names of the cases that this process has run without a mutant
        self.slowest = 0.0  # CPU time of the slowest step without a mutant
        for name, case in self.cases.items():
            start, self.lines[name] = time.process_time(), set()
            for seed in seeds:
                try:
                    self.observed[name, seed, False], run = trace_lines(is_audited, observe, case, seed)
                except Exception as error:
                    raise ValueError(f"{name} raises {error_in_words(error)}, without any mutant") from error
                self.lines[name] |= run
            for seed in seeds:
                with quiet(), contextlib.suppress(Exception):
                    gradients, others = observe(case, seed, is_varied=True)
                    if all(gradient is None or np.isfinite(gradient).all() for gradient in gradients):
                        self.observed[name, seed, True] = gradients, others
            self.slowest = max(self.slowest, (time.process_time() - start) / len(seeds))

    def cases_that_run(self, mutant):
        """Return the names of the cases that run the mutated statement, the fastest first."""
        first, last = mutant.lines
        wanted = {(str(mutant.path), line) for line in range(first, last + 1)}
        names = [name for name, lines in self.lines.items() if wanted & lines]
        return sorted(names, key=lambda name: self.verified.get((name, self.seeds[0]), 0.0))

    def verify(self, name, seed):
        """Check a case without a mutant, and raise AuditError if the check fails."""
        if (name, seed) in self.verified:
            return
        start = time.process_time()
        with quiet():
            outcome = failed_check(self.cases[name], seed)
        if outcome is not None:
            raise AuditError(
                f"the check of {name!r} fails without any mutant (seed {seed}), so its failures prove nothing: "
                f"{outcome.message}"
            )
        self.verified[name, seed] = time.process_time() - start
        self.slowest = max(self.slowest, self.verified[name, seed])

    def run(self, mutants, jobs, target, command=None):
        """Try all mutants, `jobs` at a time, and yield the outcomes in order.

        A mutant that changes a gradient is tried on the checks, or on `command` (a TestCommand) if that is given.
        Without a command, the outcome is None for a mutant whose code cannot replace the code in memory. With one job,
        the mutants are tried in this process. Otherwise they are tried in worker processes, which import the cases of
        `target` again.
        """
        paths = {str(mutant.path) for mutant in mutants}
        if jobs == 1:
            functions = live_functions(paths)
            yield from (self._outcome(mutant, functions, command) for mutant in mutants)
            return
        files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
        modules = [name for name, file in files.items() if real_path(file) in paths]
        with Workers(jobs, _begin_worker, self, target, modules, mutants, command, needs_program=False) as executor:
            outcomes = [executor.submit(_tried, i) for i in range(len(mutants))]
            try:
                for outcome in outcomes:
                    yield outcome.result()
            except BrokenProcessPool as error:
                raise AuditError("a mutant has ended the process that tried it") from error

    def __getstate__(self):
        # A process imports the cases, because their functions cannot be pickled.
        return {**vars(self), "cases": None, "called": set()}

    def _outcome(self, mutant, functions, command):
        names, passes = self.cases_that_run(mutant), "every check passes" if command is None else "the command passes"
        found = Outcome(SURVIVING, message="no case runs this statement" if self.cases else f"{passes}; {NO_CASES}")
        if names:
            found = self._compared(mutant, functions, names, passes, has_checks=command is None)
        if command is None or (found is not None and found.status == EQUIVALENT):
            return found
        result = command.outcome(mutant)
        return found if found is not None and found.status == result.status == SURVIVING else result

    def _compared(self, mutant, functions, names, passes, has_checks):
        """Replace the code in memory with a mutant, and return its outcome.

        Each case is run without the mutant first. Code that keeps something from its first call would keep it of the
        mutant otherwise. An example is a fast version that is used if it agrees with a plain one.
        """
        with quiet():
            for name in (name for name in names if name not in self.called):
                observe(self.cases[name], self.seeds[0])
        self.called.update(names)
        try:
            with quiet(), planted(mutant, functions):
                outcome = self._judged(names, passes, has_checks)
        except PlantingError:
            return None
        except TimeIsUp:
            outcome = Outcome(KILLED, BY_TIME)
        except Exception as error:  # raised by a certificate
            outcome = Outcome(KILLED, BY_EXCEPTION, message=f"{type(error).__name__}: {error}")
        with quiet():
            if self._differs(names[0], self.seeds[0]):
                raise AuditError(
                    f"{mutant.path}:{mutant.line}: a mutant changes values in memory that remain changed after it; "
                    "no case may depend on such values"
                )
        if outcome.case:
            self.verify(outcome.case, outcome.seed)
        return outcome

    def _judged(self, names, passes, has_checks):
        differs_in = {}
        for seed, name in itertools.product(self.seeds, names):
            if self._differs(name, seed):
                differs_in[name] = None
                with limited(LEAST + PATIENCE * self.slowest):
                    outcome = failed_check(self.cases[name], seed) if has_checks else _surviving([name], passes)
                if outcome is not None:
                    return outcome
        if differs_in:
            return _surviving(differs_in, passes)
        for name, seed, is_varied in self.observed:
            if is_varied and name in names and self._differs(name, seed, is_varied):
                return _surviving([name], passes, " for inputs other than those that the case draws")
        is_certified = True
        for name in names[:CERTIFIED]:
            certificate = None  # stays None if time is up
            with contextlib.suppress(TimeIsUp), limited(FOR_A_CERTIFICATE):
                certificate = certify_call(self.cases[name].call(np.random.default_rng(0)))
            if certificate is not None and certificate.verdict == "refused":
                return _surviving([name], passes)
            is_certified &= bool(certificate)
        return Outcome(EQUIVALENT, BY_CERTIFICATE if is_certified else "")

    def _differs(self, name, seed, is_varied=False):
        try:
            with limited(LEAST + PATIENCE * self.slowest):
                return not is_same(observe(self.cases[name], seed, is_varied), self.observed[name, seed, is_varied])
        except Exception:
            return True


def _surviving(names, passes, where=""):
    shown = ", ".join(map(repr, list(names)[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    message = f"{passes}, although the gradients differ in {shown}{where}"
    return Outcome(SURVIVING, message=message, differs_in=tuple(names))


def _begin_worker(trials, target, modules, mutants, command):
    global _tries

    def stop(*_):
        if command is not None:
            command.kill()
        os._exit(1)

    signal.signal(signal.SIGTERM, stop)
    with quiet():
        trials.cases = {case.name: case for case in load_cases(target)} if trials.lines else {}
        for name in modules:
            with contextlib.suppress(Exception):
                import_module(name)
    functions = live_functions({str(mutant.path) for mutant in mutants})

    def _tries(i):
        return trials._outcome(mutants[i], functions, command)


def _tried(i):
    return _tries(i)


@contextlib.contextmanager
def limited(seconds):
    """Raise TimeIsUp if a `with` block exceeds a limit of CPU time.

    There is no limit on Windows, nor in threads other than the main thread.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        raise TimeIsUp

    before = signal.signal(signal.SIGPROF, stop)
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)  # again after a second, if Python ignores the exception
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def failed_check(case, seed):
    """Check a case with one seed. Return an Outcome if the check fails, or None.

    A wrong gradient is usually wrong everywhere, so a few entries of each argument are checked first, which takes a
    tenth of the time.
    """
    try:
        with exits_as_errors():
            few = case.call(np.random.default_rng(seed))
            check_call(few, seed=seed, max_entries=FEW, atol=FEW_ATOL, explain=False)
            check_case(case, seed=seed, explain=False)
    except GradientError as error:
        return Outcome(KILLED, BY_GRADIENT, case.name, seed, " ".join(str(error).split()))
    except Exception as error:
        return Outcome(KILLED, BY_EXCEPTION, case.name, seed, f"{type(error).__name__}: {error}")
    return None


# The mutant in place of the original


class PlantingError(Exception):
    """The code of a function in memory cannot be replaced with the mutated code."""


def live_functions(paths):
    """Return the functions in memory that the files define, as {path: functions}."""
    of_file, functions = {}, {path: [] for path in paths}
    for thing in gc.get_objects():
        if type(thing) is types.FunctionType:  # isinstance would read `__class__`, and some objects then emit a warning
            of_file.setdefault(thing.__code__.co_filename, []).append(thing)
    for file, found in of_file.items():
        functions.get(real_path(file), []).extend(found)
    return functions


@contextlib.contextmanager
def planted(mutant, functions):
    """Replace the original code with a mutant within a `with` block.

    `functions` is the result of live_functions. The code of a closure is a constant in the code of its outer function.
    Replacing the `__code__` of the outer function takes effect wherever the function has been imported. Raises
    PlantingError if there is no such function, or if its closure lacks variables that the mutant needs.
    """
    path, changes = str(mutant.path), []
    names = set(itertools.accumulate(mutant.function.split(".<locals>."), "{}.<locals>.{}".format))
    codes = codes_of(mutant.mutated_source, path)
    for function in functions[path]:
        code = function.__code__
        if key_of(code) in codes and code.co_qualname in names:
            new = codes[key_of(code)]
            if len(new.co_freevars) == len(code.co_freevars):
                changes.append((function, new))
            elif not code.co_qualname.endswith(".<locals>.backward"):  # each call of forward makes another
                raise PlantingError
    if not changes:
        raise PlantingError
    with planter.planted(changes):
        yield
