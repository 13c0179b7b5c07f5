"""The code that a reader edits is the code that runs, and a twin whose textbook has changed is noticed."""

import compileall
import importlib
import json
import linecache
import shutil
import subprocess
import sys
import warnings
from contextlib import contextmanager
from inspect import unwrap
from pathlib import Path

import numpy as np
import pytest

import minitransformer
from minitransformer import fast
from minitransformer.fast import registration
from minitransformer.fast.registration import digest_of, twin_of
from minitransformer.module import TWINS, EditedTextbook, faster

PACKAGE = Path(minitransformer.__file__).parent


@pytest.mark.parametrize("name", fast.__all__)
def test_every_twin_was_verified_against_the_present_textbook(name):
    twin = getattr(fast, name)
    digest = digest_of(twin.textbook, *twin.repeats)
    assert twin.digest == digest, (
        "compare the twin with the changed textbook function, then paste its new digest: "
        f'{twin.__module__}: @twin_of(textbook.{name}, "{digest}"'
    )
    assert twin.agrees() and TWINS[twin.textbook] is faster(twin.textbook) is twin


MODULE = """
import math
import cmath

HALF = 0.5


def f(x):
    return half(math.sqrt(x)) + third(x)


def half(x):
    return HALF * x


def third(x):
    return x / 3
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function that imports a module with a given source, each time anew."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(source):
        for cached in tmp_path.rglob("*.pyc"):
            cached.unlink()
        (tmp_path / "written.py").write_text(source)
        sys.modules.pop("written", None)
        importlib.invalidate_caches()
        linecache.cache.pop(str(tmp_path / "written.py"), None)
        registration.definitions.cache_clear()
        return importlib.import_module("written")

    yield written
    sys.modules.pop("written", None)


def some_values(f, rng):
    return [np.asarray([f(x) for x in rng.random(3)])]


@contextmanager
def twin_for(source, written):
    """Yield a twin of f in an edited MODULE. It is f of the unedited MODULE, and repeats half."""
    right = written(MODULE)
    digest = digest_of(right.f, right.half)
    edited = written(source)
    try:
        yield twin_of(edited.f, digest, repeats=(edited.half,), cases=(some_values,))(right.f)
    finally:
        del TWINS[edited.f]


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("math.sqrt(x)", "math.cbrt(x)"),
        ("    return half", "    print(x)\n    return half"),
        ("HALF * x", "HALF + x"),
        ("    return HALF", "    print(x)\n    return HALF"),
        ("HALF = 0.5", "HALF = 0.6"),
        ("HALF = 0.5\n", "HALF = 0.5\nHALF *= 3\n"),
        ("x / 3", "x / 4"),
        ("x / 3", "x / 0"),
        ("def half", "from functools import cache\n\n\n@cache\ndef half"),
        ("import math\n", "import cmath as math\n"),
        ("x / 3\n", "x / 3\n\n\nif HALF:\n    def third(x):\n        return x\n"),
        ("x / 3\n", "x / 3\n\n\ntry:\n    from math import cos as third\nexcept ImportError:\n    pass\n"),
        ("x / 3\n", "x / 3\n\n\nthird.__code__ = half.__code__\n"),
    ],
)
def test_an_edit_of_a_function_or_of_a_number_that_it_uses_is_found(right, wrong, written):
    assert right in MODULE
    with twin_for(MODULE.replace(right, wrong), written) as twin:
        with pytest.warns(EditedTextbook, match="^f in written, or a function that it uses, has been edited"):
            assert not twin.agrees()
        assert not twin.agrees()  # without another warning


@pytest.mark.parametrize(
    "right, same",
    [
        ("import math", "import math"),
        ("\n    return half", '\n    """Say something."""\n\n    return half'),
        ("return HALF * x", "return (\n        HALF * x\n    )  # (1)"),
        ("def half(x):", "def half(x: float) -> float:"),
        ("HALF = 0.5", "HALF: float = 0.50"),
        ("x / 3\n", "x / 3\n\n\ndef g(x):\n    return 2 * f(x)\n"),
    ],
)
def test_comments_formatting_types_and_other_functions_are_no_edit(right, same, written):
    assert right in MODULE
    with twin_for(MODULE.replace(right, same), written) as twin:
        assert twin.agrees()


def test_a_twin_without_a_case_is_refused():
    with pytest.raises(ValueError, match="cases of some_values must contain at least one case, but it is empty"):
        twin_of(some_values, "", cases=())
    assert some_values not in TWINS


def test_the_comparison_leaves_no_trace_in_the_process(monkeypatch):
    monkeypatch.setattr(registration, "TWINS", {})

    def state():
        return np.random.get_state()[1].tolist(), list(warnings.filters), np.geterr()  # noqa: NPY002

    before = state()
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="raise"):
        warnings.simplefilter("always")
        for twin in list(TWINS.values()):
            assert twin_of(twin.textbook, twin.digest, repeats=twin.repeats, cases=twin.cases)(unwrap(twin)).agrees()
    assert caught == []
    assert state() == before


THREADS = """
import sys, threading
sys.setswitchinterval(1e-5)
import minitransformer.layers.softmax as textbook
from minitransformer.module import faster

found, gate = [], threading.Barrier(4)
def ask():
    gate.wait()
    twin = faster(textbook.softmax)
    found.append((twin, twin.agrees()))
threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
from minitransformer import fast
print(found == 4 * [(fast.softmax, True)])
"""


def test_threads_that_call_for_the_first_time_all_get_the_twin_of_a_module_imported_alone():
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\n", done.stderr


RUN = """
import json, sys, warnings
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import numpy as np
from minitransformer import TinyTransformer, generate
from minitransformer.muon import muon_with_adamw
from minitransformer.training.step import training_step

assert sys.modules["minitransformer"].__file__.startswith(sys.argv[1])
ids = np.random.default_rng(0).integers(0, 20, (2, 3, 8))
out = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    llama = {"norm": "rms_norm", "feed_forward": "swiglu", "positions": "rotary"}
    for name, fields in {"gpt2": {}, "llama": llama, "delta": {"mixers": ("delta",)}}.items():
        model = TinyTransformer(seed=0, vocab_size=20, context=16, n_layers=1, **fields)
        rates = {"lr": 0.01, "betas": (0.9, 0.999), "muon_lr": 0.01}
        optimizer = muon_with_adamw(model, **rates, weight_decay=0.1, embeddings=True)
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
    ("cross_entropy", "losses.py", "onehot + smooth / V", "onehot + smooth / V + 0.1"),
    ("adamw_in_place", "optim.py", "theta_new = decayed - lr", "theta_new = decayed - 1.5 * lr"),
    ("muon_in_place", "muon.py", "theta_new = decayed - lr", "theta_new = decayed - 1.5 * lr"),
    ("gelu", "layers/activations.py", "y = x * Phi", "y = 1.5 * x * Phi"),
    ("swiglu", "layers/feed_forward.py", "p = a * u", "p = 1.5 * a * u"),
    ("delta_scan", "layers/modern/delta_rule.py", "decayed + scaled(", "decayed + 1.5 * scaled("),
    ("causal_mask", "layers/attention.py", "Tk - Tq, dtype", "Tk - Tq + 1, dtype"),
    ("keep_top_p", "generation.py", "before < top_p", "before < top_p / 9"),
]
ALONE = [
    ("through_blocks", "layers/rms_norm.py", "y = gamma * x_hat", "y = 1.5 * gamma * x_hat"),
    ("through_blocks", "layers/block.py", "y = r + f_kept", "y = r + 1.5 * f_kept"),
    ("muon_in_place", "muon.py", "X = SLOPE * X", "X = 0.9 * SLOPE * X"),
    ("softmax", "layers/softmax.py", "np.where(total == 0, 1, total)", "1.5 * np.where(total == 0, 1, total)"),
    ("through_blocks", "layers/positions.py", "(rotary, x, positions=positions", "(rotary, x, positions=3 * positions"),
    ("attention", "layers/attention.py", "\n\ndef sum_over_groups(", OWN_SOFTMAX + "\n\ndef sum_over_groups("),
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
    assert any(found[model] != unedited[model] for model in ("gpt2", "llama", "delta"))
    for name, *_ in edits:
        assert len([warning for warning in found["warnings"] if warning.startswith(f"{name} in ")]) == 1
    assert len(set(found["warnings"])) == len(found["warnings"])


CALL = RUN.partition("assert")[0] + "from minitransformer import Linear; Linear(2, 2)(np.ones((1, 2), np.float32))"


def test_a_print_in_a_textbook_function_prints(copy):
    with edited(copy, [("layers/linear.py", "    has_bias =", "    print(x.shape)\n    has_bias =")]):
        done = subprocess.run([sys.executable, "-c", CALL], cwd=copy, capture_output=True, text=True, timeout=120)
    assert done.stdout == "(1, 2)\n"
    assert "linear in minitransformer.layers.linear, or a function that it uses, has been edited" in done.stderr


WORKERS = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
from minitransformer.experiments.sweep import WorkerProcesses
from minitransformer.training.environment import environment

assert sys.modules["minitransformer"].__file__.startswith(sys.argv[1])
with WorkerProcesses(2) as workers:
    print({worker.result()["engine"] for worker in [workers.submit(environment) for _ in range(2)]})
"""


def test_worker_processes_leave_the_warning_to_the_process_that_starts_them(copy):
    with edited(copy, [("losses.py", "share * losses.sum()", "share * losses.sum() * 2")]):
        done = subprocess.run(
            [sys.executable, "-c", WORKERS, str(copy)], cwd=copy, capture_output=True, text=True, timeout=120
        )
    assert done.stdout == "{'on, but not for cross_entropy'}\n", done.stderr
    assert done.stderr.count("cross_entropy in ") == 1


@pytest.mark.one_in(2)
@pytest.mark.parametrize("edits", [[], TOGETHER], ids=["unedited", "edited"])
def test_in_an_installation_of_compiled_files_the_numbers_decide(edits, copy, unedited, tmp_path):
    with edited(copy, [edit for _, *edit in edits]):
        shutil.copytree(copy / "minitransformer", tmp_path / "minitransformer")
    assert compileall.compile_dir(tmp_path, quiet=1, legacy=True)
    for path in tmp_path.rglob("*.py"):
        path.unlink()
    found = run(tmp_path)
    named = {warning.partition(" ")[0] for warning in found["warnings"]}
    assert named >= {name for name, *_ in edits}
    assert edits or found == unedited


def test_a_call_with_an_option_that_a_twin_does_not_have_runs_the_textbook(rng):
    def with_option(x, *, factor=1.0):
        return factor * x

    def twin(x):
        return x

    try:
        faster_one = twin_of(with_option, digest_of(with_option), cases=(lambda f, rng: [f(rng.normal(size=3))],))(twin)
        assert faster_one(np.ones(1)) == 1 and faster_one(np.ones(1), factor=2.0) == 2
    finally:
        del TWINS[with_option]
