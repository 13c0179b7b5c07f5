"""gradcheck loads nothing before it is needed. Its imports have no circles: see test_rooms.py."""

import subprocess
import sys

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
