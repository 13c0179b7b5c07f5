"""Find the source files of the project to which a module belongs."""

import importlib.util
import os
import sys
from pathlib import Path

OURS = Path(os.path.realpath(__file__)).parents[1]
STANDARD_LIBRARY = Path(os.path.realpath(os.__file__)).parent


def top_level(target):
    """Return the folder of the top-level package, or the file of the top-level module, of a target of load_cases."""
    if target.endswith(".py"):
        return Path(os.path.realpath(target))
    spec = importlib.util.find_spec(target.partition(".")[0])
    where = spec.submodule_search_locations
    return Path(os.path.realpath(next(iter(where)) if where else spec.origin))


def package_files(target):
    top = top_level(target)
    return sorted(top.rglob("*.py")) if top.is_dir() else [top]


def files_in_memory(target):
    """Return the imported source files of the target's project, sorted.

    The project consists of the target's package, and of all files in the directory of the package, or below it, that
    are not part of an installed package.
    """
    top = top_level(target)
    files = {os.path.realpath(file) for module in list(sys.modules.values()) if (file := _source_file(module))}
    return sorted(path for path in map(Path, files) if _belongs(path, top))


def _source_file(module):
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) and file.endswith(".py") else None


def _belongs(path, top):
    if path == top or path.is_relative_to(top):
        return True
    foreign = {"site-packages", "dist-packages"} & set(path.parts)
    foreign = foreign or path.is_relative_to(STANDARD_LIBRARY) or path.is_relative_to(OURS)
    return path.is_relative_to(top.parent) and not foreign
