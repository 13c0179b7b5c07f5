"""Run a learner's file as a module, and describe an exception in one line."""

import contextlib
import io
import sys
import traceback
import types

import numpy as np

from gradcheck import GradientError
from minitransformer.system.terminal import error_in_words

MOST_PRINTED = 500  # characters
MOST_SAID = 500  # characters of an exception


class Fault(Exception):  # noqa: N818
    """The learner's code fails. `line` is the line number in the learner's file, or None."""

    line = None


def loaded(path, text):
    """Run a file, which may import modules from its folder, as a module. Raises Fault if it fails."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    name = f"learn_{path.stem}"
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = str(path)
    with faults(path, at_module_level=True):
        exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))
    return module


class NumpyNames:
    """Detect whether a learner's code replaces a function of NumPy."""

    def __init__(self, path):
        self.path = path
        self.modules = {module: dict(vars(module)) for module in (np, np.linalg, np.random)}

    def changes(self) -> str:
        """Return a sentence about the first NumPy attribute that the code has replaced, or ""."""
        for module, names in self.modules.items():
            for name, value in names.items():
                if vars(module).get(name) is not value:
                    return f"{self.path.name} replaces {module.__name__}.{name}, which the grader needs"
        return ""

    def refuse_changes(self):
        if self.changes():
            raise Fault(self.changes())


class faults:  # noqa: N801 — it is used as a function
    """Within a `with` block, convert exceptions of a file's code to Faults that name the line."""

    def __init__(self, path, *, at_module_level=False):
        self.path, self.at_module_level = path, at_module_level

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None or isinstance(error, (Fault, GradientError, GeneratorExit)):
            return False
        lines = [n for frame, n in traceback.walk_tb(trace) if frame.f_code.co_filename == str(self.path)]
        where = f"{self.path.name}, line {lines[-1]}: " if lines else ""
        if lines and self.at_module_level:
            called = f", called at line {lines[0]}" if len(lines) > 1 else ""
            where = f"{self.path.name}, line {lines[-1]}{called}, at module level: "
        words = error_in_words(error)
        words = words if len(words) <= MOST_SAID else f"{words[:MOST_SAID]} …"
        if not lines:  # raised by gradcheck for an invalid call, or else by an error of this package
            refused = isinstance(error, (TypeError, ValueError))
            words = str(error) if refused else f"internal error, please report it: {words}"
        fault = Fault(where + words)
        fault.line = lines[-1] if lines else None
        raise fault from None


class Printed(io.TextIOBase):
    """Within a `with` block, replace standard output and keep the first MOST_PRINTED characters."""

    def __init__(self):
        self.text = ""
        self.redirection = contextlib.redirect_stdout(self)

    def write(self, text):
        self.text += text[: MOST_PRINTED - len(self.text)]
        return len(text)

    def __enter__(self):
        self.redirection.__enter__()
        return self

    def __exit__(self, *exception):
        return self.redirection.__exit__(*exception)
