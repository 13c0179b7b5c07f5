"""A decoder-only language model in NumPy, every backward pass written by hand and checked.

README.md in this folder lists the files in reading order, and NOTATION.md explains the symbols. `__init__.pyi` lists
the public names. Each name is loaded on first use, so importing the package does not load NumPy and has no side
effects. The engine in fast/, if that folder exists, is loaded last, before the first call of a textbook function, and
interop/ before the first file of another program is read.
"""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from minitransformer.system.extensions import EXTENSIONS

EXTENSIONS[f"{__name__}.module"] = f"{__name__}.fast"
EXTENSIONS[f"{__name__}.language_model"] = f"{__name__}.interop"

_IMPORTS = re.findall(r"from (\S+) import (\([^)]*\)|.*)", Path(__file__).with_suffix(".pyi").read_text("utf-8"))
_MODULE_OF = {name: module for module, names in _IMPORTS for name in re.findall(r" as (\w+)", names)}

__all__ = [name for name in _MODULE_OF if name != "__version__"]


def __getattr__(name):
    """Load a public name, or a module of this package, on first use."""
    if name in _MODULE_OF:
        value = getattr(import_module(_MODULE_OF[name]), name)
    elif not name.startswith("_") and find_spec(f"{__name__}.{name}"):
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
