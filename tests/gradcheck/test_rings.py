"""gradcheck's imports: no circles, nothing loaded before it is needed, public names where the package says."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import gradcheck

PACKAGE = Path(gradcheck.__file__).parent
MODULES = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for name, path in MODULES.items()}
RIGHT = {
    "call",
    "checking",
    "contract",
    "examination",
    "central_differences",
    "complex_step",
    "adjoint_identity",
    "judgement",
    "report",
}  # the modules that a check of a right gradient runs
SPOKEN = "import numpy as np, gradcheck, sys; from minitransformer import LayerNorm, attention, layer_norm, softmax; "
DRAWN = "normal = np.random.default_rng(0).standard_normal; "


def imports(path):
    """Yield the modules of gradcheck that a file imports, also within functions and for type checkers alone."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            for name in (f"{node.module}.{alias.name}" for alias in node.names):
                yield from [m for m in (name, name.rpartition(".")[0]) if m in MODULES and m != "gradcheck"][:1]


def arrows(room_of):
    graph = {}
    for name, path in MODULES.items():
        others = {room_of(target) for target in imports(path)}
        graph.setdefault(room_of(name), set()).update(others - {room_of(name)})
    return graph


def test_imports_have_no_circles_between_files_or_folders_even_if_lazy():
    files, folders = arrows(lambda name: name), arrows(lambda name: name.split(".")[:2][-1])
    assert len(list(TopologicalSorter(files).static_order())) > 60
    assert len(list(TopologicalSorter(folders).static_order())) > 20


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
    assert loaded == RIGHT


def test_a_wrong_gradient_loads_what_looks_closer_and_what_says_what_is_wrong():
    check = (
        "\ntry: gradcheck.check(lambda x: (x * x, lambda dy: x * dy), normal(4))\n"
        "except gradcheck.GradientError as error: assert 'dx is 1/2 times' in str(error)"
    )
    loaded = loaded_by(SPOKEN + DRAWN + check)
    assert {"gradcheck.refine", "gradcheck.diagnosis"} <= loaded
    assert not any(name.startswith(("gradcheck.audit", "gradcheck.museum")) for name in loaded)


def test_every_public_name_is_found_where_the_stub_says_it_is():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text("utf-8"))
    told = {alias.asname: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert [*told] == gradcheck.__all__ and len(told) == 40
    for name, module in told.items():
        assert f"{getattr(gradcheck, name).__module__}.".startswith(f"{module}.")
