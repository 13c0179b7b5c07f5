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
import io
import os
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradcheck.call import Call, describe, randomize_parameters, to_float64
from gradcheck.checking import check_call
from gradcheck.front.streams import error_in_words
from gradcheck.report import Report


@dataclass(frozen=True)
class Case:
    """A named entry of a table of cases.

    `draw(rng)` returns a Call on random inputs. For a module, `draw` creates a new module each time.
    """

    name: str
    draw: Callable[[np.random.Generator], Call]

    def call(self, rng: np.random.Generator) -> Call:
        """Draw a Call. The parameters of a module become random float64 arrays."""
        call = self.draw(rng)
        if not isinstance(call, Call):
            raise TypeError(f"case {self.name!r}: draw(rng) must return a Call, not {describe(call)}")
        to_float64(call.target)
        randomize_parameters(call.target, rng)
        return call


def check_case(case: Case, seed: int = 0, **settings: Any) -> Report:
    """Draw a case and check all gradients. `settings` are options of `check`, whose exceptions are raised."""
    with exits_as_errors():
        return check_call(case.call(np.random.default_rng(seed)), seed=seed, **settings)


@contextlib.contextmanager
def exits_as_errors():
    """Convert exceptions such as SystemExit, but not KeyboardInterrupt, to RuntimeError."""
    try:
        yield
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise RuntimeError(f"{error!r} was raised, which would end the program") from error


@contextlib.contextmanager
def quiet():
    """Discard the output and the warnings of user code within a `with` block."""
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def selected_cases(target):
    """Return the cases of a target, given as "MODULE" or "MODULE:NAME".

    Raises LookupError if there is no case of that name. The message suggests the nearest name.
    """
    module, _, name = target.partition(":")
    cases = load_cases(module)
    named = [case for case in cases if not name or case.name == name]
    if not named:
        near = difflib.get_close_matches(name, [case.name for case in cases], n=1, cutoff=0.0)[0]
        raise LookupError(f"{module} has no case {name!r}; the nearest is {near!r}")
    return named


def load_cases(target: str) -> list[Case]:
    """Return the cases of a module, given by name or as the path of a .py file.

    Raises ImportError if the module cannot be imported or lists no cases, and ValueError or TypeError if its `CASES` is
    not a table of Case objects with unique names.
    """
    module = _imported(target)
    if not hasattr(module, "CASES") and hasattr(module, "__path__") and importlib.util.find_spec(f"{target}.cases"):
        module = _imported(f"{target}.cases")
    cases = getattr(module, "CASES", ())
    cases = list(cases) if isinstance(cases, Iterable) else [cases]
    if not cases:
        raise ImportError(f"{target} lists no cases: it has no CASES with entries, and no submodule `cases` with one")
    for case in cases:
        if not isinstance(case, Case):
            raise TypeError(f"the CASES of {target} must be gradcheck.Case objects, not {describe(case)}")
    for name, times in Counter(case.name for case in cases).items():
        if times > 1:
            raise ValueError(f"the CASES of {target} contain the name {name!r} twice")
    return cases


def _imported(target):
    is_file, name = target.endswith(".py"), f"_cases_of_{Path(target).stem}"  # a name that no other module has
    if is_file and not os.path.exists(target):
        raise ImportError(f"{target}: there is no such file")
    try:
        with exits_as_errors():
            if not is_file:
                return importlib.import_module(target)
            sys.path.insert(0, str(Path(target).parent.resolve()))  # as `python FILE` does, for the file's own imports
            spec = importlib.util.spec_from_file_location(name, target)
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    except Exception as error:
        frames = [frame for e in (error, error.__cause__) if e for frame in traceback.extract_tb(e.__traceback__)]
        lines = [f", line {frame.lineno}" for frame in frames if frame.filename == os.path.abspath(target)]
        raise ImportError(f"cannot import {target}{''.join(lines[-1:])}: {error_in_words(error)}") from error
