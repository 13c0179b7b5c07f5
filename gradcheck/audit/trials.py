"""Try a mutant on the cases: compare its gradients with the original's, and run the check if they differ.

For every case that runs the mutated statement, and every seed, the gradients of the original and of the mutant are
computed on the same random inputs. If the gradients are the same, no check can distinguish them, and none is run. If
they differ, `check_case` is run, and the mutant is killed if it raises an exception. If no case shows a difference, the
inputs of the cases may be special, such as γ = 1 or p = 0. Then the cases are *varied*: their arrays, parameters and
numbers get other random values with the same shapes. A mutant is

- **killed** if a check fails that passes without the mutant;
- **surviving** if its gradients differ, even if only for varied inputs, and every check passes, or if no case runs it;
- **equivalent** if its gradients are the same for every case and seed, as drawn and varied, and no certificate
  (gradcheck/certify) is refused. A certificate proves the gradients right for all inputs of these shapes.

The comparison covers everything that a check could observe: the gradients of a first and a second call of backward (to
1e-12 of the largest entry), their shapes and dtypes, and the effects on dy, the arguments and the parameters (exactly).
"""

import contextlib
import functools
import itertools
import os
import signal
import sys
import time
import warnings
from dataclasses import dataclass

import numpy as np

from gradcheck.audit.outcome import (
    BY_CERTIFICATE,
    BY_EXCEPTION,
    BY_GRADIENT,
    EQUIVALENT,
    KILLED,
    SURVIVING,
    UNPLANTABLE,
    Outcome,
)
from gradcheck.audit.planting import PlantingError, plant_at_import, planted
from gradcheck.audit.pool import answer
from gradcheck.call import Call, clear_gradients, parameters_of
from gradcheck.cases import check_case, ends_nothing, error_in_words, load_cases
from gradcheck.certify import certify_call
from gradcheck.checking import check_call
from gradcheck.report import GradientError
from gradcheck.stopping import hear

SAME = 1e-12
FEW, FEW_ATOL = 2, 1e-8
VARIATIONS = ("scaled", "shifted")
CERTIFIED, FOR_A_CERTIFICATE = 3, 60.0  # number of cases of a mutant to certify; seconds of CPU for each


@dataclass(frozen=True)
class Trial:
    """A mutant, and the cases on which to try it.

    `mutant` is a Mutant, or None to try the original, which must pass. `draws` lists tuples of the name of a case, a
    seed, and the limits of CPU seconds for the comparison and for the check. If `ask` is False, no check is run, only
    the comparison. `expected` maps (name, seed, variation) to the result of `observe` for the original. If it is None,
    only the checks are run.
    """

    mutant: object
    draws: tuple
    ask: bool = True
    expected: dict | None = None


def observe(case, seed, variation=None):
    """Call a case's backward twice, and return everything that a check can observe.

    Returns (gradients, arrays that backward must not change). The gradients of the second call follow those of the
    first. A missing gradient is None.
    """
    with ends_nothing():
        return _observe(case, seed, variation)


def _observe(case, seed, variation):
    call = case.call(np.random.default_rng(seed))
    if variation is not None:
        call = varied(call, variation, np.random.default_rng([seed, *variation.encode()]))
    y, backward = call.evaluate()
    dy = np.random.default_rng([seed, *b"audit"]).standard_normal(np.shape(y))
    parameters = parameters_of(call.target).values()
    gradients = []
    for is_second in (False, True):
        clear_gradients(call.target)
        try:
            returned = backward(dy)
        except RuntimeError:
            if not is_second:
                raise
            break  # the contract allows it to refuse a second call
        given = [*(returned if isinstance(returned, tuple) else [returned]), *(p.grad for p in parameters)]
        gradients += [None if gradient is None else np.array(gradient) for gradient in given]
    others = [value for value in (*call.inputs, *call.options.values()) if isinstance(value, np.ndarray)]
    return gradients, [dy, *others, *(parameter.data for parameter in parameters)]


def varied(call, variation, rng):
    """Return a copy of a Call with other random arrays, masks and numbers; change the target's parameters in place.

    The variation "scaled" multiplies values by random factors, which keeps the signs and zeros that some functions
    need. "shifted" adds random numbers.
    """

    def vary(value):
        if isinstance(value, np.ndarray) and value.dtype == np.bool_:
            return value ^ (rng.random(value.shape) < 0.3)
        is_array = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        if not is_array and not isinstance(value, float):
            return value
        move = rng.uniform(0.1, 0.9, np.shape(value))
        new = value * (0.5 + move) if variation == "scaled" else value + move
        return new.astype(value.dtype) if is_array else float(new)

    for parameter in parameters_of(call.target).values():
        parameter.data = vary(parameter.data)
    inputs = [vary(value) for value in call.inputs]
    return Call(call.target, *inputs, **{name: vary(value) for name, value in call.options.items()})


def is_same(a, b):
    """Return True if two results of `observe` are equal.

    Gradients may differ by 1e-12 of the largest entry of any gradient in b. All other arrays must be identical.
    """
    (gradients_a, others_a), (gradients_b, others_b) = a, b
    if [_kind(x) for x in gradients_a] != [_kind(y) for y in gradients_b]:
        return False
    pairs = [(x, y) for x, y in zip(gradients_a, gradients_b, strict=True) if y is not None]
    tolerance = SAME * max((np.max(np.abs(y)) for _, y in pairs if y.size), default=0.0)
    close = all(np.allclose(x, y, rtol=0, atol=tolerance, equal_nan=True) for x, y in pairs)
    return close and all(x.tobytes() == y.tobytes() for x, y in zip(others_a, others_b, strict=True))


def _kind(array):
    return None if array is None else (array.shape, array.dtype)


def originals(cases, seeds, files, say):
    """Observe the original on all cases and seeds.

    Returns ({(case, seed, variation): observation}, {case: lines run}, {case: seconds}), with cases by name. The lines
    are a set of (file, line) for the given files; lines that run only for varied inputs are not included. A variation
    for which the original raises an exception or gives a gradient that is not finite has no observation. `say` is
    called with the progress. Raises ValueError if a case raises an exception on the inputs that it draws.
    """
    observations, lines, seconds = {}, {}, {}
    for i, case in enumerate(cases):
        say(f"running the cases without a mutant: {i + 1} of {len(cases)}")
        start = time.process_time()
        with lines_run(files) as lines[case.name]:
            for seed in seeds:
                try:
                    observations[case.name, seed, None] = observe(case, seed)
                except Exception as error:
                    raise ValueError(f"{case.name} raises {error_in_words(error)}, without any mutant") from error
        for seed, variation in itertools.product(seeds, VARIATIONS):
            with np.errstate(all="ignore"), warnings.catch_warnings(), contextlib.suppress(Exception):
                warnings.simplefilter("ignore")
                observation = observe(case, seed, variation)
                if all(gradient is None or np.isfinite(gradient).all() for gradient in observation[0]):
                    observations[case.name, seed, variation] = observation
        seconds[case.name] = (time.process_time() - start) / len(seeds)
    return observations, lines, seconds


@contextlib.contextmanager
def lines_run(files):
    """Collect the lines that this thread runs in the given files within the block. Yields a set of (file, line)."""
    wanted = {str(path) for path in files}
    run = set()

    def trace_lines(frame, event, _):
        if event == "line":
            run.add((real_path(frame.f_code.co_filename), frame.f_lineno))
        return trace_lines

    def trace_calls(frame, event, _):
        return trace_lines if real_path(frame.f_code.co_filename) in wanted else None

    before = sys.gettrace()
    sys.settrace(trace_calls)
    try:
        yield run
    finally:
        sys.settrace(before)


real_path = functools.lru_cache(os.path.realpath)


def try_mutant(trial, cases, functions, alive):
    """Return the Outcome of a Trial. Runs in a separate process.

    `functions` is the result of live_functions, or None if nothing is to be replaced in memory. `alive(seconds)` is
    called before each step with the CPU time that the step may take.
    """
    by_name = {case.name: case for case in cases}
    plant = contextlib.nullcontext() if functions is None else planted(trial.mutant, functions)
    differs_in = {}
    try:
        with plant:
            for name, seed, to_look, to_check in trial.draws:
                if trial.expected is not None:
                    alive(to_look)
                    if not _differs(by_name[name], seed, None, trial.expected[name, seed, None]):
                        continue
                    differs_in[name] = None
                if not trial.ask:
                    return Outcome(SURVIVING, differs_in=(name,))
                alive(to_check)
                outcome = ask(by_name[name], seed)
                if outcome is not None:
                    return outcome
            if not differs_in and trial.expected is not None:
                to_look = {name: seconds for name, _, seconds, _ in trial.draws}
                for (name, seed, variation), expected in trial.expected.items():
                    alive(to_look[name])
                    if variation is not None and _differs(by_name[name], seed, variation, expected):
                        return Outcome(SURVIVING, differs_in=(name,), only_varied=True)
                return second_judgement([by_name[name] for name in to_look], alive)
    except PlantingError as error:
        return Outcome(UNPLANTABLE, message=str(error))
    return Outcome(SURVIVING if differs_in or trial.expected is None else EQUIVALENT, differs_in=tuple(differs_in))


def second_judgement(cases, alive):
    """Certify a mutant on its first cases. It survives if a certificate is refused, and is equivalent otherwise."""
    certificates = []
    for case in cases[:CERTIFIED]:
        alive(FOR_A_CERTIFICATE)
        certificates.append(certify_call(case.call(np.random.default_rng(0))))
        if certificates[-1].verdict == "refused":
            return Outcome(SURVIVING, differs_in=(case.name,), message=f"{case.name}: {certificates[-1]}")
    return Outcome(EQUIVALENT, BY_CERTIFICATE if all(certificates) else "")


def _differs(case, seed, variation, expected):
    try:
        return not is_same(observe(case, seed, variation), expected)
    except Exception:
        return True


def ask(case, seed):
    """Check a case with one seed. Return the Outcome if the check fails, or None if it passes.

    A wrong gradient is usually wrong everywhere. Therefore the check first runs on a few entries of each argument. This
    is no stricter than the complete check and, for a whole model, ten times as fast. The complete check runs only if
    the first one passes. The mistake is not explained.
    """
    try:
        few = case.call(np.random.default_rng(seed))
        check_call(few, seed=seed, max_entries=FEW, atol=FEW_ATOL, explain=False)
        check_case(case, seed=seed, explain=False)
    except GradientError as error:
        return Outcome(KILLED, BY_GRADIENT, case.name, seed, " ".join(str(error).split()))
    except Exception as error:
        return Outcome(KILLED, BY_EXCEPTION, case.name, seed, f"{type(error).__name__}: {error}")
    return None


def run_here(connection, trial, cases, functions):
    """Try a mutant in a forked process, which shares the imported modules of its parent."""
    functions = None if trial.mutant is None else functions
    _settle()
    answer(connection, lambda alive: try_mutant(trial, cases, functions, alive))


def run_afresh(connection, trial, target):
    """Try a mutant in a new process that imports the mutant instead of the original."""

    def attempt(alive):
        if trial.mutant is not None:
            plant_at_import(trial.mutant)
        return try_mutant(trial, load_cases(target), None, alive)

    _settle()
    answer(connection, attempt)


def _settle():
    warnings.simplefilter("ignore")  # a mutant may divide by zero, which the comparison of gradients detects
    hear(signal.SIG_IGN)  # Ctrl-C reaches every process; the parent ends this one
