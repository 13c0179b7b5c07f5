"""Read the list of the modules that `python -m gradcheck` checks by default from a project's configuration.

In pyproject.toml:

    [tool.gradcheck]
    modules = ["my_layers", "my_package.cases", "more/layers.py"]

or in setup.cfg, separated by spaces or lines:

    [tool:gradcheck]
    modules = my_layers
"""

import configparser
import os
import tomllib
from pathlib import Path

REPOSITORY = (".git", ".hg")  # a directory that contains one of these is the root of a repository
KEY = "modules"
TITLES = {"pyproject.toml": "tool.gradcheck", "setup.cfg": "tool:gradcheck"}


def configured_modules(start: str | os.PathLike[str] = ".") -> tuple[Path, list[str]] | None:
    """Return (folder, modules) of the nearest configuration, or None.

    The directories from `start` upwards are searched, to the root of a repository or of the file system. If a directory
    has both files, pyproject.toml takes precedence. Files (.py) among the modules are relative to the directory. Raises
    ValueError, naming the file, if it cannot be parsed or its table is not as above.
    """
    here = Path(start).absolute()
    for folder in (here, *here.parents):
        for name, title in TITLES.items():
            path = folder / name
            table = _table(path) if path.is_file() else None
            if table is not None:
                modules = _validated(table, f"{path}: [{title}]")
                return folder, [str(folder / module) if module.endswith(".py") else module for module in modules]
        if any((folder / mark).exists() for mark in REPOSITORY):
            return None
    return None


def _table(path):
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".toml":
            tool = tomllib.loads(text).get("tool")
            return tool.get("gradcheck") if isinstance(tool, dict) else None
        parser = configparser.RawConfigParser()
        parser.read_string(text, str(path))
    except (configparser.Error, ValueError) as error:  # errors of TOML and of UTF-8 are ValueErrors
        raise ValueError(f"{path}: {error}") from error
    title = TITLES[path.name]
    return {key: value.split() for key, value in parser.items(title)} if parser.has_section(title) else None


def _validated(table, where):
    if not isinstance(table, dict):
        raise ValueError(f"{where} must be a table, not {table!r}")
    unknown = sorted(set(table) - {KEY})
    if unknown:
        raise ValueError(f"{where} has an unknown key {unknown[0]!r}; the only key is {KEY!r}")
    modules = table.get(KEY)
    if not isinstance(modules, list) or not modules or not all(isinstance(name, str) and name for name in modules):
        raise ValueError(f'{where} must list modules, as in {KEY} = ["my_layers"], not {modules!r}')
    return modules
