"""The code that a reader edits is the code that runs, and a twin whose textbook has changed is noticed."""

import compileall
import importlib
import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

import minitransformer
from minitransformer.fast.digests import VERIFIED, digest_of, source_of
from minitransformer.module import TWINS, load_engine

PACKAGE = Path(minitransformer.__file__).parent
load_engine()


@pytest.mark.parametrize("function", VERIFIED, ids=lambda function: function.__name__)
def test_every_twin_was_verified_against_the_present_textbook(function):
    assert VERIFIED[function][0] == digest_of(function), (
        "compare the twin with the changed textbook function, then paste its new digest: "
        f'{TWINS[function].__module__}: @twin_of(textbook.{function.__name__}, "{digest_of(function)}"'
    )


MODULE = """
import math
import cmath

HALF = 0.5


def f(x):
    return half(math.sqrt(x))


def half(x):
    return HALF * x
"""


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """A function that returns the digest of f in a module with a given source."""
    monkeypatch.syspath_prepend(tmp_path)

    def digest(source):
        def f():
            pass

        f.__module__ = "written"
        (tmp_path / "written.py").write_text(source)
        importlib.invalidate_caches()
        source_of.cache_clear()
        monkeypatch.setitem(VERIFIED, f, ("", ()))
        return digest_of(f)

    return digest


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("HALF * x", "HALF + x"),
        ("0.5", "0.6"),
        ("return half", "return math.sqrt"),
        ("import math\n", "import cmath as math\n"),
        ("import math\n", "from numpy.lib import scimath as math\n"),
        ("HALF = 0.5\n", "HALF = 0.5\nHALF *= 3\n"),
        ("HALF = 0.5\n", "for HALF in range(9):\n    pass\n"),
        ("HALF * x\n", "HALF * x\n\n\nif HALF:\n    def half(x):\n        return x\n"),
        ("HALF * x\n", "HALF * x\n\n\ntry:\n    from cmath import cos as half\nexcept ImportError:\n    pass\n"),
        ("HALF * x\n", "HALF * x\n\n\nhalf.__code__ = math.__code__\n"),
    ],
)
def test_an_edit_that_changes_a_used_name_changes_the_digest(right, wrong, digest):
    assert digest(MODULE.replace(right, wrong)) != digest(MODULE)


@pytest.mark.parametrize(
    "right, same",
    [
        ("\n    return half", '\n    """Say something."""\n\n    return half'),
        ("return HALF * x", "return (\n        HALF * x\n    )  # (1)"),
        ("def half(x):", "def half(x: float) -> float:"),
        ("HALF = 0.5", "HALF: float = 0.50"),
        ("HALF * x\n", "HALF * x\n\n\ndef g(x):\n    return 2 * f(x)\n"),
        ("HALF * x\n", "HALF * x\n\n\nimport os\nG = half(3)\nprint(f(2))\n"),
    ],
)
def test_comments_formatting_types_and_other_statements_leave_the_digest(right, same, digest):
    assert right in MODULE
    assert digest(MODULE.replace(right, same)) == digest(MODULE)


RUN = """
import json, sys, warnings
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import numpy as np
from minitransformer import AdamW, TinyTransformer, generate
from minitransformer.training.step import training_step

assert sys.modules["minitransformer"].__file__.startswith(sys.argv[1])
ids = np.random.default_rng(0).integers(0, 20, (2, 3, 8))
out = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    llama = {"norm": "rms_norm", "feed_forward": "swiglu", "positions": "rotary"}
    for name, fields in {"gpt2": {}, "llama": llama}.items():
        model = TinyTransformer(seed=0, vocab_size=20, context=16, n_layers=1, **fields)
        optimizer = AdamW(model.parameters(), lr=0.01)
        out[name] = [training_step(model, optimizer, [ids])[0] for _ in range(3)]
        out[name] += generate(model, ids[0, 0], 8, top_p=0.7, rng=np.random.default_rng(0)).tolist()
out["warnings"] = [str(warning.message) for warning in caught]
print(json.dumps(out))
"""


def run(folder):
    """Train and generate with the package in a folder. Return the losses and ids by model, and the warnings."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder)], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, folder / "minitransformer", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def unedited(copy):
    return run(copy)


OWN_SOFTMAX = """

def softmax(x):
    e = np.exp(x - x.real.max(axis=-1, keepdims=True))
    y = 1.5 * e / e.sum(axis=-1, keepdims=True)
    return y, lambda dy: y * (dy - (y * dy).sum(axis=-1, keepdims=True))
"""

# The function with a twin that an edit reaches, the file, and the edit. The first ones are made all at once.
TOGETHER = [
    ("through_blocks", "layers/layer_norm.py", "y = gamma * x_hat + beta", "y = 1.5 * gamma * x_hat + beta"),
    ("softmax", "layers/softmax.py", "y = e / sum_or_one(e, axis)", "y = 1.5 * e / sum_or_one(e, axis)"),
    ("linear", "layers/linear.py", "y = x @ weight + bias if", "y = 1.5 * x @ weight + bias if"),
    ("cross_entropy", "losses.py", "smooth / V), w * (smooth", "smooth / V + 0.1), w * (smooth"),
    ("adamw_in_place", "optim.py", "theta_new = decayed - lr", "theta_new = decayed - 1.5 * lr"),
    ("gelu", "layers/activations.py", "y = x * Phi", "y = 1.5 * x * Phi"),
    ("swiglu", "layers/feed_forward.py", "p = a * u", "p = 1.5 * a * u"),
    ("causal_mask", "layers/attention.py", "Tk - Tq, dtype", "Tk - Tq + 1, dtype"),
    ("keep_top_p", "generation.py", "before < top_p", "before < top_p / 9"),
]
ALONE = [
    ("through_blocks", "layers/rms_norm.py", "y = gamma * x_hat", "y = 1.5 * gamma * x_hat"),
    ("through_blocks", "layers/block.py", "y = r + f_kept", "y = r + 1.5 * f_kept"),
    ("attention", "layers/softmax.py", "np.where(total == 0, 1, total)", "1.5 * np.where(total == 0, 1, total)"),
    ("through_blocks", "layers/positions.py", "(rotary, x, positions=positions", "(rotary, x, positions=3 * positions"),
    ("attention", "layers/attention.py", "\n\ndef group_heads(", OWN_SOFTMAX + "\n\ndef group_heads("),
]


def test_without_an_edit_every_twin_runs(unedited):
    assert unedited["warnings"] == []


@contextmanager
def edited(copy, edits):
    """Make edits (file, right, wrong) in a copy of the package, and undo them at the end of the block."""
    paths = [copy / "minitransformer" / file for file, *_ in edits]
    sources = [path.read_text("utf-8") for path in paths]
    for path, source, (_, right, wrong) in zip(paths, sources, edits, strict=True):
        assert right in source
        path.write_text(source.replace(right, wrong), "utf-8")
    try:
        yield
    finally:
        for path, source in zip(paths, sources, strict=True):
            path.write_text(source, "utf-8")


@pytest.mark.parametrize(
    "edits",
    [TOGETHER, *(pytest.param([edit], id=f"{edit[1]}, {edit[0]}", marks=pytest.mark.slow) for edit in ALONE)],
)
def test_an_edited_function_runs_and_one_warning_names_it(edits, copy, unedited):
    with edited(copy, [edit for _, *edit in edits]):
        found = run(copy)
    assert any(found[model] != unedited[model] for model in ("gpt2", "llama"))
    for name, *_ in edits:
        assert len([warning for warning in found["warnings"] if warning.startswith(f"{name} in ")]) == 1
    assert len(set(found["warnings"])) == len(found["warnings"])


WORKERS = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
from minitransformer.experiments.workers import WorkerProcesses
from minitransformer.training.environment import environment

assert sys.modules["minitransformer"].__file__.startswith(sys.argv[1])
with WorkerProcesses(2) as workers:
    print({worker.result()["engine"] for worker in [workers.submit(environment) for _ in range(2)]})
"""


def test_worker_processes_leave_the_warning_to_the_process_that_starts_them(copy):
    with edited(copy, [("losses.py", "losses.sum() * share", "losses.sum() * share * 2")]):
        done = subprocess.run(
            [sys.executable, "-c", WORKERS, str(copy)], cwd=copy, capture_output=True, text=True, timeout=120
        )
    assert done.stdout == "{'on, but not for cross_entropy'}\n", done.stderr
    assert done.stderr.count("cross_entropy in ") == 1


def test_an_installation_of_compiled_files_counts_as_unedited(copy, unedited, tmp_path):
    shutil.copytree(copy / "minitransformer", tmp_path / "minitransformer")
    assert compileall.compile_dir(tmp_path, quiet=1, legacy=True)
    for path in tmp_path.rglob("*.py"):
        path.unlink()
    assert run(tmp_path) == unedited
