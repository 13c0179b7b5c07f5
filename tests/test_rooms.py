"""Arrows point one way: each room of the package imports from those below it, not even lazily from one above."""

import ast
import importlib
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import gradcheck
import minitransformer

PACKAGE, CHECKER = (Path(package.__file__).parent for package in (minitransformer, gradcheck))
LEVELS = [
    ("system", "first_steps", "hooks"),
    ("module",),
    ("layers",),
    ("config", "losses"),
    ("transformer", "text"),
    ("generation", "optim", "one_page", "example_calls"),
    ("muon",),
    ("fast",),
    ("language_model",),
    ("training", "analysis", "interop"),
    ("experiments", "bench", "cases"),
    ("book",),
    ("learn",),
    ("commands",),
    ("cli",),
    ("__main__", "minitransformer"),
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}


def modules_in(folder):
    """Return {name: path} of the modules of a package."""
    paths = sorted(folder.rglob("*.py"))
    names = [".".join(path.relative_to(folder.parent).with_suffix("").parts) for path in paths]
    return {name.removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}


MODULES = modules_in(PACKAGE)

# The modules that check gradients, or show how they are checked.
CHECKING = (
    "minitransformer.cases",
    "minitransformer.interop.verification",
    "minitransformer.book",
    "minitransformer.learn",
    "minitransformer.experiments.misconceptions.falling_loss",
    "minitransformer.experiments.misconceptions.passing_tests",
)


FRONT = "gradcheck.front."  # exits, streams, signals, tables and processes of both packages


@cache
def imported(path):
    """Return the modules of the package that a file imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def within(name, modules):
    """Return the module that holds `name`, or None if it is none of these."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def arrows(modules=MODULES):
    """Return {module: the modules of the package that it imports}."""
    found = {}
    for name, path in modules.items():
        targets = (within(target, modules) for target in imported(path))
        found[name] = {target for target in targets if target and target != name}
    return found


def room(name):
    return name.split(".")[1] if "." in name else name


def upward(graph):
    """Return the arrows that do not point down, but within a room: (module, imported module)."""
    return sorted(
        (name, target)
        for name, targets in graph.items()
        for target in targets
        if room(name) != room(target) and LEVEL[room(target)] >= LEVEL[room(name)]
    )


def test_every_room_has_a_level():
    assert {room(name) for name in MODULES} == set(LEVEL)


def test_no_arrow_points_up():
    graph = arrows()
    assert upward(graph) == []
    graph["minitransformer.layers.linear"].add("minitransformer.training.step")
    assert upward(graph) == [("minitransformer.layers.linear", "minitransformer.training.step")]


def test_no_module_imports_itself_by_way_of_others():
    graph = arrows()
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)
    graph["minitransformer.module"].add("minitransformer.layers.linear")
    with pytest.raises(CycleError, match=r"minitransformer\.module"):
        TopologicalSorter(graph).prepare()


def test_neither_does_a_file_or_a_folder_of_gradcheck_even_if_lazy():
    files = arrows(modules_in(CHECKER))
    for targets in files.values():
        targets.discard("gradcheck")  # whose names are found lazily, each where it is
    assert len(list(TopologicalSorter(files).static_order())) > 60
    folders = {}
    for name, targets in files.items():
        folders.setdefault(room(name), set()).update({room(target) for target in targets} - {room(name)})
    assert len(list(TopologicalSorter(folders).static_order())) > 20


def imports_of(package, folder):
    """Return {(file, name)} of all that the files of a folder import from a package, wherever in them."""
    return {
        (".".join(path.relative_to(folder.parent).with_suffix("").parts), name)
        for path in sorted(folder.rglob("*.py"))
        for name in imported(path)
        if name.split(".")[0] == package
    }


def is_public(name):
    """Whether gradcheck, or a module of it that lists its public names, lists this one."""
    module, _, member = name.rpartition(".")
    return not module or member in getattr(importlib.import_module(module), "__all__", ())


def test_gradcheck_imports_nothing_of_this_package():
    assert imports_of("minitransformer", PACKAGE.parent / "gradcheck") == set()


def test_only_what_checks_gradients_imports_gradcheck_and_only_its_public_names_or_its_front_layer():
    found = {(file, name) for file, name in imports_of("gradcheck", PACKAGE) if not name.startswith(FRONT)}
    assert {file for file, _ in found if not file.startswith(CHECKING)} == set()
    assert {(file, name) for file, name in found if not is_public(name)} == set()
    assert is_public("gradcheck.check") and is_public("gradcheck.museum.find")
    assert not is_public("gradcheck.call.Call")


LOADED = "import sys, minitransformer; print(*sys.modules)"


def test_the_package_loads_nothing_before_it_is_used():
    loaded = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" not in loaded
    assert [name for name in loaded if name.startswith("minitransformer.")] == [
        "minitransformer.system",
        "minitransformer.system.extensions",
    ]


ASKED_FOR = """
import importlib, operator, sys
for name in ("training", "text", "cases", "layers.softmax", "LanguageModel", "fine_tune", "layer_norm"):
    for loaded in [loaded for loaded in sys.modules if loaded.startswith("minitransformer")]:
        del sys.modules[loaded]
    operator.attrgetter(name)(importlib.import_module("minitransformer"))
"""


def test_what_is_not_loaded_is_when_it_is_asked_for():
    subprocess.run([sys.executable, "-c", ASKED_FOR], check=True)


def test_a_name_that_does_not_exist_is_refused():
    with pytest.raises(AttributeError, match="module 'minitransformer' has no attribute 'trainign'"):
        minitransformer.trainign  # noqa: B018


@pytest.mark.parametrize("package", [minitransformer, gradcheck], ids=lambda package: package.__name__)
def test_the_public_names_are_those_that_type_checkers_are_told(package):
    tree = ast.parse(Path(package.__file__).with_suffix(".pyi").read_text("utf-8"))
    told = {alias.asname: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(told) == sorted([*package.__all__, *(["__version__"] if "__version__" in told else [])])
    for name in package.__all__:
        member = getattr(package, name)
        assert member.__name__.rpartition(".")[2] == name and f"{member.__module__}.".startswith(f"{told[name]}.")
