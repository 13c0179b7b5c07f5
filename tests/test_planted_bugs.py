"""A test of the tests: twenty named bugs, each planted in a copy of the source, make pytest fail by the wrong gradient.

The first eight were found in published projects, whose own tests passed. The others are mistakes that the audit does
not make (in an engine's bookkeeping, in a module, over several lines), or that no single layer shows. The audit makes
the others; test_trust.py runs a sample of it.
"""

import os
import re
import shutil
import subprocess
import sys
from compileall import compile_dir
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("minitransformer", "gradcheck", "tests", "setup.cfg", "pyproject.toml")


@dataclass(frozen=True)
class Bug:
    """`old`, which stands once in `file`, is replaced by `new`; then `gradient` is wrong in the cases `component`."""

    name: str
    file: str
    component: str
    gradient: str
    old: str
    new: str


CANARIES = [
    Bug(
        "dK is not transposed",
        *("layers/attention.py", "attention and square and not fast", "dk"),
        "dk = s * group_heads(dscores, K).swapaxes(-1, -2) @ group_heads(q, K)",
        "dk = s * group_heads(dscores, K) @ group_heads(q, K)",
    ),
    Bug(
        "γ stands outside the means",
        *("layers/layer_norm.py", "layer_norm and not fast", "dx"),
        "dx = r * (dx_hat - shift - x_hat * scale)",
        "dx = r * gamma * (dy - dy.mean(-1, keepdims=True) - x_hat * (dy * x_hat).mean(-1, keepdims=True))",
    ),
    Bug(
        "attention ignores dropout",
        *("layers/attention.py", "attention and dropout and not fast", "dq"),
        "dweights = on_weights_backward(dused)",
        "dweights = dused",
    ),
    Bug(
        "half of the gradient of a tied table is dropped",
        *("layers/embedding.py", "tied", "embedding.weight.grad"),
        "return apply(unembedding, x, self.weight)",
        "y, function_backward = unembedding(x, self.weight.data)\n"
        "        return y, lambda dy: function_backward(dy)[0]",
    ),
    Bug(
        "attention's backward is zeros",
        *("layers/attention.py", "attention and not fast", "dq"),
        "return dq, dk, dv",
        "return np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)",
    ),
    Bug(
        "softmax's backward is y · dy",
        *("layers/softmax.py", "softmax and not fast", "dx"),
        "dx = y * (dy - mean_dy)",
        "dx = y * dy",
    ),
    Bug(
        "softmax's backward is zeros",
        *("layers/softmax.py", "softmax and not fast", "dx"),
        "dx = y * (dy - mean_dy)",
        "dx = np.zeros_like(dy)",
    ),
    Bug(
        "the loss averages over ignored positions",
        *("losses.py", "cross_entropy and not fast", "dlogits"),
        "np.asarray(dloss, dtype) * share",
        "np.asarray(dloss, dtype) * (1 / targets.size)",
    ),
    Bug(
        "repeated ids overwrite each other",
        *("layers/embedding.py", "embedding and not un and not fast", "dweight"),
        "np.add.at(dweight, ids, dy)",
        "dweight[ids] = dy",
    ),
    Bug(
        "a module exchanges the gradients of its parameters",
        *("layers/layer_norm.py", "LayerNorm", "gamma.grad"),
        "return apply(layer_norm, x, self.gamma, self.beta, eps=self.eps)",
        "y, backward = layer_norm(x, self.gamma.data, self.beta.data, eps=self.eps)\n\n"
        "        def exchanged(dy):\n"
        "            dx, dgamma, dbeta = backward(dy)\n"
        "            self.gamma.accumulate(dbeta)\n"
        "            self.beta.accumulate(dgamma)\n"
        "            return dx\n\n"
        "        return y, exchanged",
    ),
    Bug(
        "RMS norm has the shift of layer norm",
        *("layers/rms_norm.py", "rms_norm and not fast", "dx"),
        "dx = r * (dx_hat - x_hat * scale)",
        "dx = r * (dx_hat - dx_hat.mean(axis=-1, keepdims=True) - x_hat * scale)",
    ),
    Bug(
        "attention forgets its mask",
        *("layers/attention.py", "attention and causal and not fast", "dq"),
        "dscores = softmax_backward(dweights)",
        "dscores = softmax(scores)[1](dweights)",
    ),
    Bug(
        "recomputation draws another dropout",
        *("layers/recomputation.py", "Dropout and checkpointed", "dx"),
        "before, was_plain = copy.deepcopy(rng), is_plain()\n    y = module(x, rng=rng, **options)[0]",
        "y, before, was_plain = module(x, rng=rng, **options)[0], copy.deepcopy(rng), is_plain()",
    ),
    Bug(
        "the rotation of queries and keys is not undone",
        *("layers/multi_head_attention.py", "MultiHeadAttention and rotary", "w_q.weight.grad"),
        "return merge(rotary_backward(named_backward(dy)))",
        "return merge(named_backward(dy))",
    ),
    Bug(
        "a residual path is missing",
        *("layers/block.py", "TransformerBlock and Llama", "dx"),
        "dr = residual_mid_backward(dy + norm2_backward(",
        "dr = residual_mid_backward(norm2_backward(",
    ),
    Bug(
        "only the last gradient of a parameter is kept",
        *("module.py", "tied", "embedding.weight.grad"),
        "self.grad = grad if self.grad is None else self.grad + grad",
        "self.grad = grad",
    ),
    Bug(
        "positions have the mean over the batch",
        *("transformer.py", "GPT and not Block and not sinusoidal", "positional_embedding.weight.grad"),
        "de.sum(axis=tuple(range(de.ndim - 2)))",
        "de.mean(axis=tuple(range(de.ndim - 2)))",
    ),
    Bug(
        "the engine's dK is not transposed",
        *("fast/attention.py", "fast.attention and square", "dk"),
        "dk = dscores.swapaxes(-1, -2) @ q_grouped",
        "dk = dscores @ q_grouped",
    ),
    Bug(
        "a block's share of dk overwrites the others",
        *("fast/query_blocks.py", "in_query_blocks", "dk"),
        "dk[..., keys, :] += ",
        "dk[..., keys, :] = ",
    ),
    Bug(
        "the engine's GELU has a wrong constant",
        *("fast/gelu.py", "fast.gelu and tanh", "dx"),
        "square *= 6 * a * c",
        "square *= 2 * a * c",
    ),
]
QUICK = (CANARIES[0], CANARIES[-3])  # in a plain run; the others are slow

# Bugs of the checker: (name, file, old, new, message of the tests of the checker).
CHECKER = [
    (
        *("the numerical gradient is 1.5 times the truth", "central_differences.py"),
        *("    return float(np.dot(", "    return 1.5 * float(np.dot(", "GradientError"),
    ),
    (
        *("every gradient is called right", "report.py"),
        *("return not (self.disagree or", "return True or (self.disagree or", "test_a_planted_bug"),
    ),
    (
        *("dy is ones", "contract.py"),
        *("rng.standard_normal(y.shape) if dy is None", "np.ones(y.shape) if dy is None", "test_a_planted_bug"),
    ),
]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A compiled copy of everything that the checks of gradients need."""
    folder = tmp_path_factory.mktemp("planted") / "pristine"
    folder.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    for package in ("minitransformer", "gradcheck"):
        compile_dir(folder / package, quiet=1)
    return folder


def plant(pristine, destination, file, old, new):
    """Link a copy of the source, with `old`, which must occur once, replaced by `new` in one file."""
    source = (pristine / file).read_text("utf-8")
    if source.count(old) != 1:
        raise LookupError(
            f"{old.strip()!r} occurs {source.count(old)} times in {file}, not once. The source has changed: "
            "update the tables of tests/test_planted_bugs.py, so that this bug is planted in the code as it is now"
        )
    shutil.copytree(pristine, destination, copy_function=os.link)
    (destination / file).unlink()
    (destination / file).write_text(source.replace(old, new), "utf-8")
    Path(cache_from_source(destination / file)).unlink(missing_ok=True)
    return destination


def run_pytest(folder, *arguments):
    """Run pytest in a copy of the source. Returns (exit status, output)."""
    environment = {
        "OPENBLAS_NUM_THREADS": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "MINITRANSFORMER_PLAIN": "0",  # a bug of the engine shows in modules only while the engine is on
    }
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",  # pytest writes in the encoding of the locale
    )
    return run.returncode, run.stdout + run.stderr


def check_gradients(folder, component):
    """Run the comparisons with central differences of a component."""
    choice = ["-m", "slow or not slow", "-k", f"central_difference and -0 and ({component})"]
    return run_pytest(folder, "--noconftest", "tests/test_gradients.py", *choice)


@pytest.mark.slow
def test_without_a_bug_the_copy_passes(pristine):
    status, output = check_gradients(pristine, "-0] and not Transformer")
    assert status == pytest.ExitCode.OK, output


@pytest.mark.parametrize(
    "bug", [pytest.param(bug, id=bug.name, marks=[] if bug in QUICK else pytest.mark.slow) for bug in CANARIES]
)
def test_a_planted_bug_makes_pytest_fail_by_the_gradient_it_spoils(bug, pristine, tmp_path):
    folder = plant(pristine, tmp_path / "copy", f"minitransformer/{bug.file}", bug.old, bug.new)
    status, output = check_gradients(folder, bug.component)
    assert status == pytest.ExitCode.TESTS_FAILED, output
    found = re.search(rf"GradientError: .*?\b{re.escape(bug.gradient)}: \d+ of \d+ entries disagree", output, re.DOTALL)
    assert found, output


@pytest.mark.slow
@pytest.mark.parametrize("name, file, old, new, message", CHECKER, ids=[name for name, *_ in CHECKER])
def test_a_checker_that_is_wrong_makes_its_own_tests_fail(name, file, old, new, message, pristine, tmp_path):
    folder = plant(pristine, tmp_path / "copy", f"gradcheck/{file}", old, new)
    status, output = run_pytest(folder, "tests/gradcheck/test_bugs.py", "-k", "right_gradient or planted")
    assert status == pytest.ExitCode.TESTS_FAILED, output
    assert message in output


def test_every_bug_fits_the_source_as_it_is_now():
    places = [(f"minitransformer/{bug.file}", bug.old) for bug in CANARIES]
    places += [(f"gradcheck/{file}", old) for _, file, old, *_ in CHECKER]
    assert [(file, old) for file, old in places if (ROOT / file).read_text("utf-8").count(old) != 1] == []


def test_a_bug_that_fits_the_source_no_longer_asks_for_a_new_one(pristine, tmp_path):
    with pytest.raises(LookupError, match=r"occurs 0 times in minitransformer/losses.py"):
        plant(pristine, tmp_path / "copy", "minitransformer/losses.py", "a line that is not there", "pass")
