"""Textbook and engine: a function with a twin runs as the twin, and without the engine no twin runs."""

import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from importlib.util import find_spec
from inspect import unwrap
from pathlib import Path

import numpy as np
import pytest
from strategies import LLAMA

import minitransformer
from minitransformer import (
    AdamW,
    Config,
    Parameter,
    Transformer,
    TransformerBlock,
    apply,
    cross_entropy,
    fast,
    gelu,
    generate,
    plain,
)
from minitransformer.fast import registration
from minitransformer.fast.registration import twin_of
from minitransformer.language_model import mean_loss
from minitransformer.layers.recomputation import checkpointed
from minitransformer.module import TWINS, faster, is_plain
from minitransformer.muon import muon_with_adamw
from minitransformer.training.environment import environment
from minitransformer.training.finetuning.objectives import OBJECTIVES, PairedLoss
from minitransformer.training.step import training_step

PACKAGE = Path(minitransformer.__file__).parent
CONFIG = {"vocab_size": 11, "context": 12, "d_model": 8, "n_heads": 2, "n_layers": 2}


@pytest.fixture(autouse=True)
def with_the_engine():
    """These tests say themselves where the engine is off; the environment does not."""
    with plain(False):
        yield


def test_faster_is_the_twin_while_the_engine_is_on_and_the_function_itself_while_it_is_off():
    assert faster(cross_entropy) is fast.cross_entropy is not cross_entropy
    with plain():
        assert is_plain() and faster(cross_entropy) is cross_entropy
        with plain(False):
            assert faster(cross_entropy) is fast.cross_entropy
        assert is_plain()
    with pytest.raises(ZeroDivisionError), plain():
        1 / 0  # noqa: B018
    assert not is_plain()
    assert faster(np.exp) is np.exp  # which has none


def test_another_thread_keeps_its_engine():
    seen = []
    with plain():
        thread = threading.Thread(target=lambda: seen.append(faster(cross_entropy)))
        thread.start()
        thread.join()
    assert seen == [
        cross_entropy if os.environ.get("MINITRANSFORMER_PLAIN", "0") not in ("", "0") else fast.cross_entropy
    ]


def test_a_partial_of_a_function_gets_the_twin_too(rng):
    x = rng.normal(size=5).astype(np.float32)
    found = faster(partial(gelu, approximate="tanh"))
    assert found.func is fast.gelu and found.keywords == {"approximate": "tanh"}
    np.testing.assert_array_equal(found(x)[0], fast.gelu(x, approximate="tanh")[0])


def test_complex_arrays_half_precision_and_mixed_dtypes_get_the_function_of_the_textbook(rng):
    called = []

    def function(x, w):
        called.append("textbook")
        return x * w, None

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TWINS, function, None)

        @twin_of(function, "", cases=("linear",))
        def twin(x, w):
            called.append("engine")
            return x * w, None

        patch.setattr(registration, "is_unedited", lambda *_: True)
        x = rng.normal(size=3)
        apply(function, x, x)
        apply(function, x, x + 1j)
        apply(function, x + 1j, Parameter(x))
        apply(function, x, Parameter(x + 1j))
        apply(function, x.astype(np.float32), Parameter(x))
        apply(function, x.astype(np.float16), x.astype(np.float16))
        apply(function, x.astype(np.float32), Parameter(x.astype(np.float32)))
        apply(function, np.arange(3), Parameter(x))
    assert called == ["engine", *["textbook"] * 5, "engine", "engine"]


# The functions that run.


def entered(call):
    """Return the code of every function that is entered while call() runs, in this thread."""
    codes, before = set(), sys.getprofile()

    def record(frame, event, _):
        if event == "call":
            codes.add(frame.f_code)

    sys.setprofile(record)
    try:
        call()
    finally:
        sys.setprofile(before)
    return codes


def model_of(**fields):
    return Transformer(Config(**CONFIG | fields))


def adamw_of(model):
    return AdamW(model.parameters(), lr=0.1)


def muon_of(model):
    return muon_with_adamw(model, lr=0.1, betas=(0.9, 0.95), muon_lr=0.1, weight_decay=0.0, embeddings=False)


def train(model, optimizer_of=adamw_of):
    """Take a training step."""
    ids, targets = np.random.default_rng(0).integers(0, 11, (2, 3, 12))
    training_step(model, optimizer_of(model), [(ids, targets)], clip=1.0, rng=np.random.default_rng(0))


def objective(name):
    """Fine-tune on pairs, forward and backward."""
    rng = np.random.default_rng(0)
    ids, targets = rng.integers(0, 11, (2, 4, 6))
    reference = {"reference_safe": rng.normal(size=2), "reference_unsafe": rng.normal(size=2)}
    PairedLoss(model_of(), OBJECTIVES[name])(ids, targets, **(reference if name == "dpo" else {}))[1](1.0)


WORK = {
    "a step of a GPT-2": lambda: train(model_of(dropout=0.1)),
    "a step of a GPT-2 with GELU's tanh": lambda: train(model_of(feed_forward="gelu_tanh")),
    "a step of a Llama": lambda: train(model_of(**LLAMA)),
    "a step of Muon": lambda: train(model_of(), muon_of),
    "a step with the delta rule": lambda: train(model_of(mixers=("delta", "attention"))),
    "a step with recomputation": lambda: model_of().loss(*np.zeros((2, 2, 5), int), recompute=True)[1](),
    "preferences": lambda: objective("dpo"),
    "unlikelihood": lambda: objective("unlikelihood"),
    "the difference": lambda: objective("difference"),
    "generation": lambda: generate(model_of(**LLAMA), np.arange(3), 3, top_k=5, top_p=0.9),
    "evaluation": lambda: mean_loss(model_of(), np.arange(9)),
}
ENGINE_OF_A_STEP = {
    "a step of a GPT-2": {"linear", "attention", "gelu", "cross_entropy", "adamw_in_place"},
    "a step of a GPT-2 with GELU's tanh": {"gelu"},
    "a step of a Llama": {"swiglu", "causal_mask"},
    "a step of Muon": {"muon_in_place", "adamw_in_place"},
    "a step with the delta rule": {"delta_scan"},
    "preferences": {"cross_entropy"},
    "unlikelihood": {"cross_entropy"},
    "the difference": {"cross_entropy"},
    "generation": {"softmax", "through_blocks", "unembedding", "keep_top_p"},
    "evaluation": {"cross_entropy"},
}


@pytest.mark.parametrize("what", WORK)
def test_either_the_engine_runs_or_the_plain_form(what):
    codes = entered(WORK[what])
    assert {function.__name__ for function in TWINS if function.__code__ in codes} == set()
    ran = {twin.__name__ for twin in TWINS.values() if unwrap(twin).__code__ in codes}
    assert ran >= ENGINE_OF_A_STEP.get(what, set())
    with plain():
        codes = entered(WORK[what])
    assert [code for code in codes if Path(code.co_filename).is_relative_to(PACKAGE / "fast")] == []


# Where the setting has to be carried to.


@pytest.mark.parametrize("off", [True, False], ids=["textbook", "engine"])
def test_a_block_that_is_recomputed_runs_as_it_did(rng, off):
    block, x, dy = TransformerBlock(8, 2, 12), *rng.normal(size=(2, 3, 8)).astype(np.float32)
    with plain(off):
        _, backward = checkpointed(block, x)
        expected = block(x)[1](dy)
    found = []
    with plain(not off):
        codes = entered(lambda: found.append(backward(dy)))
    np.testing.assert_array_equal(found[0], expected)
    assert (unwrap(fast.gelu).__code__ in codes) is not off
    assert (gelu.__code__ in codes) is off


@pytest.mark.skipif(find_spec("threadpoolctl") is None, reason="replicas need threadpoolctl")
def test_the_processes_of_replicas_run_as_this_one_does():
    from minitransformer.system.cores import matrix_library
    from minitransformer.training.replicas import Replicas

    model = Transformer(Config(**CONFIG | {"d_model": 48}))
    ids, targets = np.random.default_rng(0).integers(0, 11, (2, 4, 12))
    replicas, gradients = Replicas(model, 2), {}

    def gradient_of(loss, *batch):
        loss(*batch)[1]()
        found = model.embedding.weight.grad
        for parameter in model.parameters():
            parameter.grad = None
        return found

    try:
        for off in (True, False, True):
            with plain(off), matrix_library().limit(limits=1):
                shared = gradient_of(replicas.loss, ids, targets)
                halves = [gradient_of(model.loss, ids[rows], targets[rows]) for rows in (slice(2), slice(2, 4))]
            np.testing.assert_array_equal(shared, np.float32(0.5) * halves[0] + np.float32(0.5) * halves[1])
            gradients[off] = shared
    finally:
        replicas.stop()
    assert not np.array_equal(gradients[True], gradients[False])  # else this test would see nothing


def test_the_environment_of_a_run_says_whether_the_engine_was_on():
    assert environment()["engine"] == "on"
    with plain():
        assert environment()["engine"] == "off"


@pytest.mark.parametrize("value, expected", [("1", "True"), ("0", "False"), ("", "False"), (None, "False")])
def test_the_variable_of_the_environment_switches_the_engine_off(value, expected):
    variables = {name: given for name, given in os.environ.items() if name != "MINITRANSFORMER_PLAIN"}
    if value is not None:
        variables["MINITRANSFORMER_PLAIN"] = value
    code = "from minitransformer import module; print(module.is_plain())"
    run = subprocess.run(
        [sys.executable, "-c", code], env=variables, cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert run.stdout.strip() == expected, run.stderr


TRAINS = """
import sys
# That of an editable installation would find the original's fast/.
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import numpy as np
import minitransformer
from minitransformer.cases import CASES
from minitransformer.module import TWINS
from minitransformer.training.step import training_step
from gradcheck import check_case

assert minitransformer.__file__.startswith(sys.argv[1]), minitransformer.__file__
model = minitransformer.TinyTransformer(seed=0, context=8)
model.predict(np.arange(3)[None])
assert not TWINS and not hasattr(minitransformer, "fast")
optimizer = minitransformer.AdamW(model.parameters(), lr=3e-3)
ids = np.arange(16).reshape(2, 8)
losses = [training_step(model, optimizer, [(ids, (ids + 1) % 16)])[0] for _ in range(20)]
assert losses[-1] < 0.7 * losses[0], losses
assert all(check_case(case).is_right for case in CASES[:5])
minitransformer.generate(model, ids[0, :3], 4, top_k=3)
print("trained")
"""


def test_without_its_folder_the_program_is_as_right(tmp_path):
    for name in ("minitransformer", "gradcheck"):
        shutil.copytree(PACKAGE.parent / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "fast"))
    run = subprocess.run([sys.executable, "-c", TRAINS, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout.strip() == "trained", run.stderr
