"""Tables of cases, for `python -m gradcheck MODULE` and for parametrised tests.

A module lists its cases in an iterable named `CASES`. A package may do so in its submodule `cases`:

    CASES = [
        Case("layer_norm", lambda rng: Call(layer_norm, rng.normal(size=(2, 3, 5)), rng.normal(size=5))),
        Case("LayerNorm", lambda rng: Call(LayerNorm(5), rng.normal(size=(2, 3, 5)))),
    ]
"""

import contextlib
import difflib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradcheck.call import Call, describe, randomize_parameters, to_float64
from gradcheck.checking import check_call
from gradcheck.report import Report


@dataclass(frozen=True)
class Case:
    """A named entry of a table of cases.

    `draw(rng)` returns a Call on random inputs. If it calls a module, `draw` creates a new module each time.
    """

    name: str
    draw: Callable[[np.random.Generator], Call]

    def call(self, rng: np.random.Generator) -> Call:
        """Draw a Call. If it calls a module, the parameters become random float64 arrays."""
        call = self.draw(rng)
        if not isinstance(call, Call):
            raise TypeError(f"case {self.name!r}: draw(rng) must return a Call, not {describe(call)}")
        to_float64(call.target)
        randomize_parameters(call.target, rng)
        return call


def check_case(case: Case, seed: int = 0, *, explain: bool = True) -> Report:
    """Draw a case and check all of its gradients.

    Returns a Report, and raises the same exceptions as `check`.
    """
    with ends_nothing():
        return check_call(case.call(np.random.default_rng(seed)), seed=seed, explain=explain)


@contextlib.contextmanager
def ends_nothing():
    """Turn exceptions that would end the program, except Ctrl-C, into RuntimeError."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RuntimeError(f"{error!r} was raised, which would end the program") from error


def error_in_words(error):
    return ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))


def selected_cases(target):
    """Return a list of the Cases that a target selects.

    The target "MODULE" selects all cases of the module, and "MODULE:NAME" the case of that name. Raises LookupError,
    whose message suggests the nearest name, if there is no such case, and the exceptions of load_cases.
    """
    module, _, name = target.partition(":")
    cases = load_cases(module)
    named = [case for case in cases if not name or case.name == name]
    if not named:
        near = difflib.get_close_matches(name, [case.name for case in cases], n=1, cutoff=0.0)[0]
        raise LookupError(f"{module} has no case {name!r}; the nearest is {near!r}")
    return named


def load_cases(target: str) -> list[Case]:
    """Return the Cases of a module, given by name or as the path of a .py file.

    Raises ImportError if there is no such module, if it cannot be imported, or if it lists no cases. Raises ValueError
    or TypeError if its `CASES` is not a table of Cases with unique names.
    """
    module = _import_file(Path(target)) if target.endswith(".py") else _import(target)
    if not hasattr(module, "CASES") and hasattr(module, "__path__"):
        name = f"{target}.cases"
        if importlib.util.find_spec(name) is not None:
            module = _import(name)
    if not hasattr(module, "CASES"):
        raise ImportError(f"{target} lists no cases: it has no CASES, and no submodule `cases` with one")
    return _validated(module.CASES, target)


def _validated(cases, source):
    try:
        cases = list(cases)
    except TypeError as error:
        raise TypeError(f"the CASES of {source} must be a list of gradcheck.Case, not {describe(cases)}") from error
    if not cases:
        raise ImportError(f"the CASES of {source} are empty")
    names = set()
    for case in cases:
        if not isinstance(case, Case):
            raise TypeError(f"the CASES of {source} must contain only gradcheck.Case objects, not {describe(case)}")
        if case.name in names:
            raise ValueError(f"the CASES of {source} contain the name {case.name!r} twice")
        names.add(case.name)
    return cases


def _import(name):
    try:
        with ends_nothing():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ImportError(f"there is no module named {name!r}") from error
        raise ImportError(f"cannot import {name}: {error}") from error
    except Exception as error:
        raise ImportError(f"cannot import {name}: {error_in_words(error)}") from error


def _import_file(path):
    if not path.is_file():
        raise ImportError(f"there is no file {str(path)!r}")
    sys.path.insert(0, str(path.parent.resolve()))  # as `python FILE` does, for the file's own imports
    name = f"_cases_of_{path.stem}"  # a name that no other module has
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with ends_nothing():
            spec.loader.exec_module(module)
    except Exception as error:
        frames = [frame for e in (error, error.__cause__) if e for frame in traceback.extract_tb(e.__traceback__)]
        lines = [f", line {frame.lineno}" for frame in frames if frame.filename == str(path.absolute())]
        raise ImportError(f"cannot import {path}{''.join(lines[-1:])}: {error_in_words(error)}") from error
    return module
