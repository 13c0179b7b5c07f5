"""Find the source files that belong to the project of a module, and those that are in memory."""

import importlib.util
import os
import sys
from pathlib import Path

OURS = Path(os.path.realpath(__file__)).parents[1]
STANDARD_LIBRARY = Path(os.path.realpath(os.__file__)).parent


def top_level(target):
    """Return the file or folder of the top-level module of a target of load_cases."""
    if target.endswith(".py"):
        return Path(os.path.realpath(target))
    spec = importlib.util.find_spec(target.partition(".")[0])
    where = spec.submodule_search_locations
    return Path(os.path.realpath(next(iter(where)) if where else spec.origin))


def package_files(target):
    """Return all source files of the target's package, sorted."""
    top = top_level(target)
    return sorted(top.rglob("*.py")) if top.is_dir() else [top]


def files_in_memory(target):
    """Return the imported source files of the target's project, sorted.

    These are the files of its package, and files in the same directory and below that belong to no installed package.
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
