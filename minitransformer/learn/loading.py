"""Running a learner's file as a module of its own, and saying in a line what goes wrong in it."""

import contextlib
import importlib
import io
import linecache
import os
import sys
import traceback
import types
import warnings
from pathlib import Path

import numpy as np

from gradcheck import GradientError
from minitransformer.system.terminal import error_in_words

MOST_PRINTED = 500  # characters


class Fault(Exception):  # noqa: N818
    """The learner's code fails; the message says where and how. `line` is that of its file, or None."""

    line = None


def loaded(path, text):
    """Run a file as a module, which may import what lies beside it. Raises Fault, with the place, where that fails."""
    beside(path.parent)
    name = f"learn_{path.stem}"
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = str(path)
    linecache.checkcache(str(path))
    with faults(path):
        exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))
    return module


def beside(folder):
    """Let what lies in a folder be imported, as it is now, unless a module of that name is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).parent == folder:
            del sys.modules[name]
    importlib.invalidate_caches()


@contextlib.contextmanager
def restored(path):
    """After the block NumPy, what it does about errors, warnings, and the folder are what they were.

    Raises Fault, whatever else there was, if the block has put anything else in the place of a part of NumPy: nobody
    can reckon then, and the next file could not either.
    """
    modules = np, np.linalg, np.random
    before, folder = [dict(vars(module)) for module in modules], os.getcwd()
    with np.errstate(), warnings.catch_warnings():
        try:
            yield
        finally:
            os.chdir(folder)
            changed = []
            for module, names in zip(modules, before, strict=True):
                now = vars(module)
                changed += [f"{module.__name__}.{name}" for name, value in names.items() if now.get(name) is not value]
                now.update(names)
            if changed:
                raise Fault(f"{path.name} puts something else in the place of {changed[0]}") from None


class faults:  # noqa: N801 — it is used as a function
    """Within the block, whatever the code of a file raises is a Fault, which names its line."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None or isinstance(error, (Fault, GradientError)):
            return False
        lines = [n for frame, n in traceback.walk_tb(trace) if frame.f_code.co_filename == str(self.path)]
        where = f"{self.path.name}, line {lines[-1]}: " if lines else ""
        words = error_in_words(error)
        if not lines:  # what gradcheck refuses, or else a mistake of ours
            refused = isinstance(error, (TypeError, ValueError))
            words = str(error) if refused else f"internal error, please report it: {words}"
        fault = Fault(where + words)
        fault.line = lines[-1] if lines else None
        raise fault from None


class Printed(io.TextIOBase):
    """What code prints, the beginning of it. Within a `with` block it takes the place of standard output."""

    def __init__(self):
        self.text = ""
        self.redirection = contextlib.redirect_stdout(self)

    def write(self, text):
        """Keep the beginning."""
        self.text += text[: MOST_PRINTED - len(self.text)]
        return len(text)

    def __enter__(self):
        self.redirection.__enter__()
        return self

    def __exit__(self, *exception):
        return self.redirection.__exit__(*exception)
