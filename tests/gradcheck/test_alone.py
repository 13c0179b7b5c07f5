"""gradcheck alone: its folder installs as a distribution that needs NumPy only."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

import gradcheck

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "gradcheck"
PYPROJECT = tomllib.loads((FOLDER / "pyproject.toml").read_text("utf-8"))
README = (FOLDER / "README.md").read_text("utf-8")
RESIDUE = shutil.ignore_patterns("*.egg-info", "__pycache__")  # of earlier runs and builds


@pytest.fixture(scope="module")
def setup_cfg():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def test_it_lists_each_of_its_packages():
    folders = [path.parent.relative_to(ROOT) for path in FOLDER.rglob("__init__.py")]
    assert sorted(PYPROJECT["tool"]["setuptools"]["packages"]) == sorted(".".join(folder.parts) for folder in folders)


def test_it_needs_the_same_versions_as_the_main_distribution_and_no_scipy(setup_cfg):
    project = PYPROJECT["project"]
    assert project["version"] == setup_cfg["metadata"]["version"]
    assert project["requires-python"] == setup_cfg["options"]["python_requires"]
    (numpy,) = project["dependencies"]
    assert numpy.startswith("numpy") and numpy in setup_cfg["options"]["install_requires"].split()


def test_both_distributions_have_its_command_and_its_plugin_for_pytest(setup_cfg):
    for group, entry_points in {"console_scripts": "scripts", "pytest11": "entry-points"}.items():
        own = PYPROJECT["project"][entry_points]
        own = own["pytest11"] if group == "pytest11" else own
        lines = setup_cfg["options.entry_points"][group].strip().splitlines()
        assert own and all(f"{name} = {value}" in lines for name, value in own.items())


def test_the_readme_is_short_and_its_files_exist():
    assert len(README.splitlines()) <= 150
    table = README[README.index("| file |") :]
    files = re.findall(r"`([\w/]+(?:\.py|/))`", table)
    assert len(files) > 20 and [file for file in files if not (FOLDER / file).exists()] == []


EXAMPLES = "".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))


def test_the_examples_of_the_readme_run_and_print_the_report_shown(capsys):
    exec(compile(EXAMPLES, "README.md", "exec"), {"__name__": "readme"})
    printed = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    shown = [line.split() for line in re.findall(r"^ {6}(\w.*(?:verdict|right))$", README, re.MULTILINE)]
    assert printed[0] == shown[0]
    assert [(row[0], row[1], row[-1]) for row in printed[1 : len(shown)]] == [
        (row[0], row[1], row[-1]) for row in shown[1:]
    ]


def test_the_readme_shows_the_present_report_of_a_wrong_gradient():
    def softmax(x):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        y = e / e.sum(axis=-1, keepdims=True)
        return y, lambda dy: y * dy

    report = gradcheck.check(softmax, np.random.default_rng(0).normal(size=(2, 5)), raises=False)
    assert f"softmax: {report.failures()[0]}" in " ".join(README.split())


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("lambda dy: (dy @ w.T, x.T @ dy)", "lambda dy: (dy @ w.T, 2 * x.T @ dy)"),
        ("cache[0].T @ dy", "cache[0].T @ dy / 4"),
        ("(dy * self.x).sum", "(dy * self.x).mean"),
        ("4 * x**3", "4 * x**2"),
        ("np.diag(np.cos(x))", "np.diag(np.sin(x))"),
        ("dy * 2 * z.conj()", "dy * 2 * z"),
        ("np.cos(inputs[0])", "np.sin(inputs[0])"),
        ("12 * x**2 * v, x[0])\ncheck_adjoint", "6 * x**2 * v, x[0])\ncheck_adjoint"),
    ],
)
def test_each_example_of_the_readme_fails_if_its_gradient_is_wrong(right, wrong):
    assert right in EXAMPLES
    with pytest.raises(AssertionError, match="disagree"):
        exec(compile(EXAMPLES.replace(right, wrong), "README.md", "exec"), {"__name__": "readme"})


IMPORTS = """
import importlib, pkgutil, sys, gradcheck
assert gradcheck.__file__.startswith(sys.prefix), gradcheck.__file__
for module in pkgutil.walk_packages(gradcheck.__path__, "gradcheck."):
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        print(f"{module.name}: {error}")
"""
SQUARE = """
import numpy as np
import gradcheck

def square(x, *, factor):
    def backward(dy):
        return factor * x * dy
    return x * x, backward
"""
CASES = f"""{SQUARE}
CASES = [gradcheck.Case("square", lambda rng: gradcheck.Call(square, rng.normal(size=(2, 3)), factor=2))]
"""
CHECKS = f"""{SQUARE}
x = np.random.default_rng(0).normal(size=(2, 3))
print(gradcheck.check(square, x, factor=2).is_right)
try:
    gradcheck.check(square, x, factor=3)
except gradcheck.GradientError as error:
    print(error)
"""


def run(*command, cwd):
    """Run a command without the environment of this one, and return its standard output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_"))}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wheel(source, folder):
    """Build the wheel of a source folder, and return its path. Needs a package index."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source, cwd=folder)
    (path,) = folder.glob(f"{'gradcheck' if source.name == 'gradcheck' else 'minitransformer'}-*.whl")
    return path


@pytest.mark.slow
def test_it_installs_and_works_where_there_is_numpy_alone(tmp_path):
    source, wheels, environment = tmp_path / "clone", tmp_path / "wheels", tmp_path / "venv"
    wheels.mkdir()
    for folder in ("gradcheck", "minitransformer"):
        shutil.copytree(ROOT / folder, source / folder, ignore=RESIDUE)
    for file in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    own = wheel(source / "gradcheck", wheels)
    assert not (source / "gradcheck" / "build").exists()
    whole = wheel(source, wheels)  # second, with the residue of the first in the folder
    files = {path.relative_to(ROOT).as_posix() for path in FOLDER.rglob("*.py")}
    for archive in (own, whole):
        with ZipFile(archive) as opened:
            packed = {name for name in opened.namelist() if name.startswith("gradcheck/")}
        assert packed == files | {"gradcheck/py.typed", "gradcheck/__init__.pyi"}

    venv.create(environment, with_pip=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", own, cwd=tmp_path)
    installed = re.findall(r'"name": ?"([^"]+)"', run(python, "-m", "pip", "list", "--format", "json", cwd=tmp_path))
    assert {*installed} - {"pip", "setuptools"} == {"gradcheck", "numpy"}

    assert run(python, "-c", IMPORTS, cwd=tmp_path).splitlines() == [
        "gradcheck.plugin: No module named 'pytest'",
        "gradcheck.strategies: gradcheck.strategies needs hypothesis: pip install hypothesis",
    ]
    right, wrong = run(python, "-c", CHECKS, cwd=tmp_path).splitlines()[:2]
    assert right == "True" and re.match("square: dx: 6 of 6 entries disagree; worst at ", wrong)
    assert run(python, "-m", "gradcheck", "--help", cwd=tmp_path).startswith("usage: python -m gradcheck")
    (tmp_path / "mine.py").write_text(CASES)
    assert "1 component, 1 gradient, 6 entries" in run(python, "-m", "gradcheck", "mine", cwd=tmp_path)
