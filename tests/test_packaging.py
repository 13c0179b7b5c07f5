"""The installed and imported packages are few, the names exist and are documented, and the map is true."""

import ast
import configparser
import importlib
import inspect
import re
import subprocess
import sys
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

import gradcheck
import minitransformer

ROOT = Path(minitransformer.__file__).parent.parent
PACKAGE = ROOT / "minitransformer"

PRINT_FILES = """
import sys
before = set(sys.modules)
import {name}
for module in set(sys.modules) - before:
    print(getattr(sys.modules[module], "__file__", None) or "built in")
"""


@cache
def imported_by(name):
    """Return the packages outside the standard library that a fresh interpreter loads when it imports one.

    By the folder that they lie in: a compiled module of a package may go by any name.
    """
    run = subprocess.run(
        [sys.executable, "-c", PRINT_FILES.format(name=name)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = {Path(line) for line in run.stdout.splitlines()}
    # The repository comes last: a virtual environment, and so the packages in it, may lie within.
    folders = [*(Path(sysconfig.get_path(scheme)) for scheme in ("purelib", "platlib")), ROOT]
    packages = set()
    for file in files:
        inside = [folder for folder in folders if file.is_relative_to(folder)]
        if inside:
            packages.add(file.relative_to(inside[0]).parts[0])
    return packages


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "name, allowed",
    [
        ("minitransformer", {"minitransformer"}),
        ("minitransformer.fast", {"minitransformer", "numpy"}),
        ("minitransformer.cases", {"minitransformer", "gradcheck", "numpy", "scipy"}),
        ("gradcheck.checking", {"gradcheck", "numpy"}),
    ],
)
def test_an_import_loads_numpy_and_scipy_and_nothing_else(name, allowed):
    assert allowed <= imported_by(name) <= allowed | imported_by("scipy.special")  # which tries some packages


@pytest.mark.parametrize("package", [minitransformer, gradcheck], ids=lambda package: package.__name__)
def test_every_public_name_exists_once_and_is_documented(package):
    assert len(set(package.__all__)) == len(package.__all__)
    for name in package.__all__:
        member = getattr(package, name)
        assert member.__doc__, f"{name} has no docstring"


def test_public_functions_and_methods_are_documented():
    for name in minitransformer.__all__:
        member = getattr(minitransformer, name)
        if inspect.isclass(member):
            for key, value in vars(member).items():
                if not key.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                    assert inspect.getdoc(value), f"{name}.{key} has no docstring"


def test_every_file_begins_by_saying_what_it_is():
    files = sorted(PACKAGE.rglob("*.py"))
    assert [path for path in files if not ast.get_docstring(ast.parse(path.read_text("utf-8")))] == []


def files_of_the_map():
    """Return the paths that the package's README lists, those to read in reading order."""
    return re.findall(r"^    (\S+\.py|\S+/)  ", (PACKAGE / "README.md").read_text("utf-8"), re.MULTILINE)


def test_the_map_names_every_file_and_only_files_that_exist():
    listed = files_of_the_map()
    assert len(set(listed)) == len(listed)
    assert [path for path in listed if not (PACKAGE / path).exists()] == []
    folders = tuple(path for path in listed if path.endswith("/"))
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    unlisted = {path for path in files - set(listed) if not path.startswith(folders)}
    assert unlisted - {"__main__.py"} == set()


@pytest.fixture
def setup_cfg():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def test_the_version_of_the_package_is_that_of_its_metadata(setup_cfg):
    assert setup_cfg["metadata"]["version"] == minitransformer.__version__


def test_the_changelog_and_the_citation_name_the_version_and_its_date(setup_cfg):
    version = setup_cfg["metadata"]["version"]
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    (date,) = re.findall(r"^date-released: (.*)$", citation, re.MULTILINE)
    assert headings[:2] == ["[Unreleased]", f"[{version}] - {date}"]
    assert f"\nversion: {version}\n" in citation


def test_the_console_scripts_call_functions_that_exist(setup_cfg):
    scripts = re.findall(r"^(\S+) = (\S+):(\S+)$", setup_cfg["options.entry_points"]["console_scripts"], re.MULTILINE)
    assert {name for name, *_ in scripts} == {"minitransformer", "gradcheck"}
    for _, module, function in scripts:
        assert callable(getattr(importlib.import_module(module), function))


def test_both_packages_say_that_they_are_typed(setup_cfg):
    for package in ("minitransformer", "gradcheck"):
        assert (ROOT / package / "py.typed").is_file()
        assert "py.typed" in setup_cfg["options.package_data"][package].split()


def test_the_data_that_comes_with_the_package_is_packed(setup_cfg):
    patterns = setup_cfg["options.package_data"]["minitransformer"].split()
    found = [path for path in PACKAGE.rglob("*") if path.suffix != ".py" and path.parent.name != "__pycache__"]
    data = [path for path in found if path.is_file()]
    assert data and all(any(path.relative_to(PACKAGE).match(pattern) for pattern in patterns) for path in data)


def test_what_must_be_installed_is_numpy_and_scipy(setup_cfg):
    required = re.findall(r"^[\w-]+", setup_cfg["options"]["install_requires"], re.MULTILINE)
    assert required == ["numpy", "scipy"]
    assert all(find_spec(name) for name in required)


def test_the_oldest_versions_that_are_tested_are_those_that_may_be_installed(setup_cfg):
    bounds = setup_cfg["options"]["install_requires"] + setup_cfg["options.extras_require"]["test"]
    allowed = dict(re.findall(r"^([\w-]+)>=([\d.]+)$", bounds, re.MULTILINE))
    tested = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / ".ci/oldest.txt").read_text("utf-8"), re.MULTILINE))
    assert set(tested) == set(allowed)
    assert all(f"{version}.0".startswith(f"{allowed[name]}.") for name, version in tested.items())
