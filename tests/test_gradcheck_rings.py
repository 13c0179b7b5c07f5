"""gradcheck is built in rings: what a right gradient meets, what looks closer, and rooms that stand by themselves."""

import ast
import subprocess
import sys
from pathlib import Path

import gradcheck

PACKAGE = Path(gradcheck.__file__).parent
WALK = {
    "state",
    "call",
    "checking",
    "contract",
    "gradients",
    "measurement",
    "adjoint_identity",
    "central_differences",
    "complex_step",
    "judgement",
    "summary",
    "report",
}  # ring 1: what a check of a right gradient runs
ROOMS = {"diagnosis", "museum", "curve", "audit", "updates", "lines"}  # ring 3
DOORS = {  # where something further out is asked for, within a function, and by whom
    ("checking", "refine"),
    ("adjoint_identity", "refine"),
    ("checking", "causes"),
    ("call", "refusals"),
    ("contract", "careful"),
    ("report", "explanation"),
    ("report", "html"),
    ("report", "notebook"),
    ("report", "table"),
}
SPOKEN = "import numpy as np, gradcheck, sys; from minitransformer import LayerNorm, attention, layer_norm, softmax; "
DRAWN = "normal = np.random.default_rng(0).standard_normal; "


def arrows():
    """Return {(room, imported room): whether the import is within a function}, a room being a file or a folder."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        tree = ast.parse(path.read_text("utf-8"))
        within = {id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "gradcheck":
                for target in node.module.split(".")[1:2] or [alias.name for alias in node.names]:
                    if target != room:
                        found[room, target] = found.get((room, target), True) and id(node) in within
    return found


def outward(graph):
    """Return the imports by the walk of what does not belong to it, and those by ring 2 or 3 of a room of ring 3."""
    return {
        (room, target)
        for room, target in graph
        if (room in WALK and target not in WALK) or (room in {*ROOMS, "refine"} and target in ROOMS)
    }


def test_nothing_is_imported_from_further_out_but_through_the_doors_and_when_needed():
    graph = arrows()
    assert outward(graph) == DOORS
    assert all(graph[door] for door in DOORS)
    assert outward(graph | {("refine", "diagnosis"): True, ("museum", "audit"): False}) > DOORS


def loaded_by(code):
    """Return the modules of gradcheck, and NumPy, that are loaded after some code, in a new process."""
    run = subprocess.run([sys.executable, "-c", f"{code}\nprint(*sys.modules)"], capture_output=True, text=True)
    assert not run.returncode, run.stderr
    return {name for name in run.stdout.split() if name.split(".")[0] in ("gradcheck", "numpy")}


def test_importing_the_package_loads_nothing_else():
    assert loaded_by("import gradcheck, sys") == {"gradcheck"}


def test_over_right_gradients_nothing_further_out_is_loaded():
    checks = (
        "gradcheck.check(layer_norm, normal((2, 3, 5)), normal(5), normal(5)); "
        "gradcheck.check(softmax, normal((3, 5)), oracles='central'); "
        "gradcheck.check(attention, normal((2, 3, 4)), normal((2, 5, 4)), normal((2, 5, 3))); "
        "gradcheck.check_module(LayerNorm(70), normal((31, 70))); "  # more entries than are compared one by one
        "gradcheck.adjoint(LayerNorm(5), normal((2, 5)))"
    )
    loaded = {name.partition("gradcheck.")[2] for name in loaded_by(SPOKEN + DRAWN + checks) if "gradcheck." in name}
    assert loaded == WALK


def test_a_wrong_gradient_loads_what_looks_closer_and_what_says_what_is_wrong():
    check = (
        "\ntry: gradcheck.check(lambda x: (x * x, lambda dy: x * dy), normal(4))\n"
        "except gradcheck.GradientError as error: assert 'dx equals 1/2 ' in str(error)"
    )
    loaded = loaded_by(SPOKEN + DRAWN + check)
    assert {"gradcheck.refine", "gradcheck.diagnosis"} <= loaded
    assert not any(name.startswith(("gradcheck.audit", "gradcheck.museum", "gradcheck.curve")) for name in loaded)


def test_every_public_name_is_found_where_the_package_says_it_is():
    named = {name for names in gradcheck._MODULES.values() for name in names}
    assert named == set(gradcheck.__all__)
    assert named == {alias.name for node in typed() for alias in node.names}
    for module, names in gradcheck._MODULES.items():
        for name in names:
            assert getattr(gradcheck, name).__module__ == f"gradcheck.{module}"


def typed():
    """Return the imports that editors and type checkers read."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    return block.body
