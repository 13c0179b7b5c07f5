"""A test of the tests: each bug, planted in a copy of the source, makes pytest fail, and by the gradient it spoils.

The first group are bugs found in published projects, whose own tests passed; the others are those that everyone writes
sooner or later. Each goes into the component it belongs to, and into the checker go those that would make it blind.
"""

import os
import re
import shutil
import subprocess
import sys
from compileall import compile_dir
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COPIED = ("minitransformer", "gradcheck", "tests", "setup.cfg", "pyproject.toml")

KINDS = [
    *("sign flipped", "missing term", "transposed product", "wrong axis", "mean for sum", "mask forgotten"),
    *("zero gradient", "dy ignored"),
]


@dataclass(frozen=True)
class Bug:
    """`old`, which stands once in `file`, is replaced by `new`; then `gradient` is wrong in the cases `component`."""

    kind: str
    file: str
    old: str
    new: str
    component: str
    gradient: str


PUBLISHED = [
    Bug(
        "dK not transposed",
        "layers/attention.py",
        "dk = dscores.swapaxes(-1, -2) @ q_grouped",
        "dk = dscores @ q_grouped",
        "attention and square",
        "dk",
    ),
    Bug(
        "γ outside the means",
        "layers/layer_norm.py",
        "        return dx, dgamma, dbeta",
        "        dx = r * gamma * (dy - feature_mean(dy) - x_hat * feature_mean(dy * x_hat))\n"
        "        return dx, dgamma, dbeta",
        "layer_norm",
        "dx",
    ),
    Bug(
        "dropout ignored in attention's backward",
        "layers/attention.py",
        "dweights = weights_backward(dweights)",
        "pass",
        "attention and dropout",
        "dq",
    ),
    Bug(
        "tied unembedding: half of the gradient dropped",
        "layers/embedding.py",
        "return apply(unembedding, x, self.weight)",
        "y, function_backward = unembedding(x, self.weight.data)\n"
        "        return y, lambda dy: function_backward(dy)[0]",
        "tied",
        "embedding.weight.grad",
    ),
    Bug(
        "attention's backward is zeros",
        "layers/attention.py",
        "return dq, dk, dv",
        "return np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)",
        "attention",
        "dq",
    ),
    Bug(
        "softmax's backward is y · dy",
        "layers/softmax.py",
        "        dx *= y  # (3)\n",
        "        dx = y * dy\n",
        "softmax",
        "dx",
    ),
    Bug(
        "softmax's backward is zeros",
        "layers/softmax.py",
        "        dx *= y  # (3)\n",
        "        dx = np.zeros_like(dy)\n",
        "softmax",
        "dx",
    ),
    Bug(
        "averaged over ignored positions",
        "losses.py",
        ".reshape(-1) * share  #",
        ".reshape(-1) * (1 / flat.size)  #",
        "cross_entropy",
        "dlogits",
    ),
]

PLANTED = [
    Bug("transposed product", "layers/linear.py", "dy_rows @ weight.T", "dy_rows @ weight", "linear and square", "dx"),
    Bug(
        "mean for sum",
        "layers/linear.py",
        "dbias = position_sum(dy_rows)",
        "dbias = dy_rows.mean(0)",
        "linear",
        "dbias",
    ),
    Bug(
        "dy ignored",
        "layers/linear.py",
        "dweight = rows.T @ dy_rows",
        "dweight = rows.T @ np.ones_like(dy_rows)",
        "linear",
        "dweight",
    ),
    Bug(
        "repeated ids overwritten",
        "layers/embedding.py",
        "        return dweight\n",
        "        dweight[ids] = dy\n        return dweight\n",
        "embedding and not un",
        "dweight",
    ),
    Bug("sign flipped", "layers/embedding.py", "return dx, dweight", "return dx, -dweight", "unembedding", "dweight"),
    Bug(
        "sign flipped",
        "layers/positions.py",
        "dx[..., first] = da * cos + db * sin",
        "dx[..., first] = da * cos - db * sin",
        "rotary and half",
        "dx",
    ),
    Bug(
        "missing term",
        "layers/positions.py",
        "dx[..., second] = db * cos - da * sin",
        "dx[..., second] = db * cos",
        "rotary and interleaved",
        "dx",
    ),
    Bug(
        "missing term",
        "layers/layer_norm.py",
        "dx -= x_hat * feature_mean(dx_hat * x_hat)",
        "pass",
        "layer_norm",
        "dx",
    ),
    Bug(
        "wrong axis",
        "layers/layer_norm.py",
        "dx = dx_hat - feature_mean(dx_hat)",
        "dx = dx_hat - dx_hat.mean(axis=1, keepdims=True)",
        "layer_norm",
        "dx",
    ),
    Bug(
        "mean for sum",
        "layers/layer_norm.py",
        "dbeta = position_sum(dy)",
        "dbeta = dy.mean(axis=(0, 1))",
        "layer_norm",
        "dbeta",
    ),
    Bug(
        "exchanged gradients",
        "layers/layer_norm.py",
        "return dx, dgamma, dbeta",
        "return dx, dbeta, dgamma",
        "LayerNorm",
        "gamma.grad",
    ),
    Bug(
        "copied from layer norm",
        "layers/rms_norm.py",
        "        return dx, dgamma\n",
        "        return dx - r * feature_mean(dy * gamma), dgamma\n",
        "rms_norm",
        "dx",
    ),
    Bug("zero gradient", "layers/rms_norm.py", "return dx, dgamma", "return dx, 0 * dgamma", "RMSNorm", "gamma.grad"),
    Bug(
        "mean for sum",
        "layers/softmax.py",
        "dz.sum(axis=axis, keepdims=True)",
        "dz.mean(axis=axis, keepdims=True)",
        "log_softmax",
        "dx",
    ),
    Bug(
        "wrong axis",
        "layers/softmax.py",
        "dz.sum(axis=axis, keepdims=True)",
        "dz.sum(axis=-1, keepdims=True)",
        "log_softmax and axis",
        "dx",
    ),
    Bug(
        "mask forgotten",
        "layers/attention.py",
        "        return dq, dk, dv",
        "        repeats = q.shape[-3] // k.shape[-3]\n"
        "        keys = k.repeat(repeats, axis=-3)\n"
        "        unmasked = softmax(scale * q @ keys.swapaxes(-1, -2))[1]\n"
        "        dq = scale * unmasked(dy @ v.repeat(repeats, axis=-3).swapaxes(-1, -2)) @ keys\n"
        "        return dq, dk, dv",
        "attention and causal",
        "dq",
    ),
    Bug(
        "a block's share of dk overwrites the others",
        "layers/blocked_attention.py",
        "dk[..., columns, :] += ",
        "dk[..., columns, :] = ",
        "blocked_attention",
        "dk",
    ),
    Bug(
        "δ forgotten",
        "layers/blocked_attention.py",
        "                dscores -= delta  # (8)\n",
        "",
        "blocked_attention",
        "dq",
    ),
    Bug(
        "scale once too often",
        "layers/blocked_attention.py",
        "dscores.swapaxes(-1, -2) @ q_rows",
        "dscores.swapaxes(-1, -2) @ (q_rows * scale)",
        "blocked_attention",
        "dk",
    ),
    Bug(
        "the gradients of the groups in reverse",
        "layers/head_groups.py",
        "np.concatenate(groups, axis=-3)",
        "np.concatenate(groups[::-1], axis=-3)",
        "in_head_groups",
        "dq",
    ),
    Bug(
        "a key's gradient from the last block of queries alone",
        "layers/query_blocks.py",
        "dk[..., keys, :] += dk_keys",
        "dk[..., keys, :] = dk_keys",
        "in_query_blocks",
        "dk",
    ),
    Bug(
        "recomputed with other dropout",
        "layers/recomputation.py",
        "before = copy.deepcopy(rng)\n    y = module(x, rng=rng, **options)[0]",
        "y, before = module(x, rng=rng, **options)[0], copy.deepcopy(rng)",
        "Dropout and recomputed",
        "dx",
    ),
    Bug("scale forgotten", "layers/attention.py", "return dq, dk, dv", "return dq / scale, dk, dv", "attention", "dq"),
    Bug(
        "missing term",
        "layers/multi_head_attention.py",
        "return q_backward(dq) + k_backward(",
        "return q_backward(dq) + 0 * k_backward(",
        "MultiHeadAttention",
        "dx",
    ),
    Bug(
        "rotation not undone",
        "layers/multi_head_attention.py",
        "dy = rotary_backward(dy)",
        "pass",
        "MultiHeadAttention and rotary",
        "w_q.weight.grad",
    ),
    Bug(
        "wrong axis",
        "layers/multi_head_attention.py",
        "dheads = split(w_o_backward(dy), self.d_head)",
        "dheads = np.flip(split(w_o_backward(dy), self.d_head), axis=-3)",
        "MultiHeadAttention",
        "w_v.weight.grad",
    ),
    Bug("dy ignored", "layers/activations.py", "np.where(x > 0, dy, 0)", "np.where(x > 0, 1.0, 0)", "relu", "dx"),
    Bug(
        "missing term",
        "layers/activations.py",
        "slope += 1",
        "pass",
        "silu",
        "dx",
    ),
    Bug("missing term", "layers/activations.py", "slope += distribution", "pass", "gelu and not tanh", "dx"),
    Bug("wrong constant", "layers/activations.py", "1 + 3 * 0.044715", "1 + 0.044715", "gelu and tanh", "dx"),
    Bug(
        "mask forgotten",
        "layers/dropout.py",
        "return dy * keep * scale",
        "return dy * scale",
        "dropout and not attention",
        "dx",
    ),
    Bug(
        "activation forgotten",
        "layers/feed_forward.py",
        "up_backward(activation_backward(da))",
        "up_backward(da)",
        "FeedForward and not Gated",
        "up.weight.grad",
    ),
    Bug(
        "wrong factor",
        "layers/feed_forward.py",
        "dp * (g * sigma)",
        "dp * u",
        "swiglu",
        "du",
    ),
    Bug(
        "missing term",
        "layers/feed_forward.py",
        "gate_backward(dg) + up_backward(du)",
        "up_backward(du) + 0 * gate_backward(dg)",
        "GatedFeedForward",
        "dx",
    ),
    Bug(
        "missing term",
        "layers/block.py",
        "dr = dy + norm2_backward(",
        "dr = norm2_backward(",
        "TransformerBlock and Llama",
        "dx",
    ),
    Bug(
        "mask forgotten",
        "layers/block.py",
        "feed_forward_backward(dropout2_backward(dy))",
        "feed_forward_backward(dy)",
        "TransformerBlock and GPT",
        "feed_forward.down.weight.grad",
    ),
    Bug(
        "mean for sum",
        "transformer.py",
        "dx.sum(axis=tuple(range(dx.ndim - 2)))",
        "dx.mean(axis=tuple(range(dx.ndim - 2)))",
        "GPT and not Block and not sinusoidal",
        "positional_embedding.weight.grad",
    ),
    Bug(
        "zero gradient",
        "transformer.py",
        "            embedding_backward(dx)",
        "            embedding_backward(0 * dx)",
        "Llama and not Block",
        "embedding.weight.grad",
    ),
    Bug(
        "only the last gradient kept",
        "module.py",
        "self.grad = grad if self.grad is None else self.grad + grad",
        "self.grad = grad",
        "tied",
        "embedding.weight.grad",
    ),
    Bug(
        "sign flipped",
        "losses.py",
        "dlogits[at_target] -= at_target_coefficient",
        "dlogits[at_target] += at_target_coefficient",
        "cross_entropy",
        "dlogits",
    ),
    Bug(
        "dy ignored",
        "losses.py",
        "np.asarray(dloss, real)",
        "np.ones_like(np.asarray(dloss, real))",
        "cross_entropy and sum",
        "dlogits",
    ),
    Bug(
        "mask forgotten",
        "losses.py",
        "dlogits -= (kept * per_position)[:, None] * smoothing",
        "dlogits -= (np.ones(kept.shape) * per_position)[:, None] * smoothing",
        "cross_entropy and smoothed",
        "dlogits",
    ),
    Bug(
        "scale forgotten",
        "layers/lora.py",
        "scaled = scale * dy.reshape(",
        "scaled = dy.reshape(",
        "low_rank",
        "db",
    ),
    Bug("transposed product", "layers/lora.py", "(dh @ a.T)", "(dh @ a)", "low_rank and square", "dx"),
    Bug(
        "missing term",
        "layers/lora.py",
        "linear_backward(dy) + low_rank_backward(dy)",
        "linear_backward(dy) + 0 * low_rank_backward(dy)",
        "LowRankLinear",
        "dx",
    ),
    Bug(
        "sign flipped",
        "training/finetuning/objectives/log_likelihood.py",
        "np.broadcast_to(-np.asarray(dy)",
        "np.broadcast_to(np.asarray(dy)",
        "sequence_log_likelihood",
        "dlogits",
    ),
    Bug(
        "missing term",
        "training/finetuning/objectives/unlikelihood.py",
        "dlogits[at_target] = dz",
        "pass",
        "sequence_unlikelihood",
        "dlogits",
    ),
    Bug(
        "mask forgotten",
        "training/finetuning/objectives/unlikelihood.py",
        "targets.shape).reshape(-1) * kept",
        "targets.shape).reshape(-1)",
        "sequence_unlikelihood",
        "dlogits",
    ),
    Bug(
        "wrong factor",
        "training/finetuning/objectives/direct_preference.py",
        "safe_backward(beta * dz), unsafe_backward(-beta * dz)",
        "safe_backward(dz), unsafe_backward(-dz)",
        "direct_preference",
        "dsafe_logits",
    ),
    Bug(
        "dy ignored",
        "training/finetuning/objectives/softplus.py",
        "return dy * sigma",
        "return np.ones_like(dy) * sigma",
        "softplus",
        "dx",
    ),
    Bug(
        "sum for mean",
        "training/finetuning/objectives/unbounded_difference.py",
        "dloss / unsafe.size",
        "dloss",
        "unbounded_difference",
        "dunsafe_logits",
    ),
]

BUGS = PUBLISHED + PLANTED

CHECKER = [
    (
        "the numerical gradient is 1.5 times the truth",
        "central_differences.py",
        "    return float(np.dot(",
        "    return 1.5 * float(np.dot(",
        "GradientError",
    ),
    (
        "every gradient is called right",
        "checking.py",
        "    if not report.is_right:\n",
        "    if False:\n",
        "DID NOT RAISE",
    ),
    (
        "dy is ones",
        "contract.py",
        "rng.standard_normal(y.shape) if dy is None",
        "np.ones(y.shape) if dy is None",
        "DID NOT RAISE",
    ),
]


def copy_source(destination):
    """Copy what pytest needs to check gradients to a new folder, and compile it once for all further copies."""
    destination.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, destination / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, destination / name)
    for package in ("minitransformer", "gradcheck"):
        compile_dir(destination / package, quiet=1)
    return destination


def plant(pristine, destination, file, old, new):
    """Copy a copy of the source, with `old`, which must occur once, replaced by `new` in one file of it."""
    source = (pristine / file).read_text("utf-8")
    if source.count(old) != 1:
        raise LookupError(
            f"{old.strip()!r} occurs {source.count(old)} times in {file}, not once. The source has changed: "
            "update the tables of tests/test_planted_bugs.py, so that this bug is planted in the code as it is now"
        )
    shutil.copytree(pristine, destination)
    (destination / file).write_text(source.replace(old, new), "utf-8")
    Path(cache_from_source(destination / file)).unlink(missing_ok=True)
    return destination


def run_pytest(folder, *arguments):
    """Run pytest in a copy of the source. Returns (exit status, what it printed)."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",  # pytest writes in the encoding of the locale
    )
    return run.returncode, run.stdout + run.stderr


def check_gradients(folder, component):
    """Run the comparisons with central differences of a component, without the fixtures of other tests."""
    return run_pytest(folder, "--noconftest", "tests/test_gradients.py", "-k", f"central_difference and ({component})")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return copy_source(tmp_path_factory.mktemp("planted") / "pristine")


@pytest.fixture(scope="module")
def runs(request, pristine):
    """For each bug whose test was selected the future (exit status, output) of its run; two run at a time."""
    here = [item for item in request.session.items if item.module is request.module and hasattr(item, "callspec")]
    selected = [item.callspec.params["bug"] for item in here if "bug" in item.callspec.params]

    def check(bug):
        folder = pristine.parent / f"bug {BUGS.index(bug)}"
        return check_gradients(plant(pristine, folder, f"minitransformer/{bug.file}", bug.old, bug.new), bug.component)

    with ThreadPoolExecutor(2) as executor:
        yield {bug: executor.submit(check, bug) for bug in selected}
        executor.shutdown(cancel_futures=True)


def marks_of(bug):
    """A plain run plants all published bugs and one of each of KINDS, a slow one all."""
    first = next(other for other in PLANTED if other.kind == bug.kind) if bug.kind in KINDS else None
    return [] if bug in PUBLISHED or bug is first else [pytest.mark.slow]


@pytest.mark.slow
def test_without_a_bug_the_copy_passes(pristine):
    status, output = check_gradients(pristine, "-0] and not Transformer")
    assert status == pytest.ExitCode.OK, output


@pytest.mark.parametrize("bug", [pytest.param(bug, id=f"{bug.file}: {bug.kind}", marks=marks_of(bug)) for bug in BUGS])
def test_a_planted_bug_makes_pytest_fail_by_the_gradient_it_spoils(bug, runs):
    status, output = runs[bug].result()
    assert status == pytest.ExitCode.TESTS_FAILED, output
    found = re.search(rf"GradientError: .*?\b{re.escape(bug.gradient)}: \d+ of \d+ entries disagree", output, re.DOTALL)
    assert found, output


@pytest.mark.parametrize("what, file, old, new, message", CHECKER, ids=[what for what, *_ in CHECKER])
def test_a_checker_that_is_wrong_makes_its_own_tests_fail(what, file, old, new, message, pristine, tmp_path):
    folder = plant(pristine, tmp_path / "copy", f"gradcheck/{file}", old, new)
    status, output = run_pytest(folder, "tests/test_gradcheck_bugs.py", "-k", "right_gradient or planted")
    assert status == pytest.ExitCode.TESTS_FAILED, output
    assert message in output


def test_every_kind_of_bug_and_every_layer_has_its_turn():
    assert set(KINDS) <= {bug.kind for bug in PLANTED}
    layers = ROOT / "minitransformer" / "layers"
    derived = {path.name for path in layers.glob("*.py") if "def backward" in path.read_text("utf-8")}
    assert {f"layers/{name}" for name in derived} <= {bug.file for bug in BUGS}
    assert {"losses.py", "transformer.py", "module.py"} <= {bug.file for bug in BUGS}
    assert len(BUGS) >= 25


def test_a_bug_that_fits_the_source_no_longer_asks_for_a_new_one(pristine, tmp_path):
    with pytest.raises(LookupError, match=r"occurs 0 times in minitransformer/losses.py.* update the tables of tests/"):
        plant(pristine, tmp_path / "copy", "minitransformer/losses.py", "a line that is not there", "pass")
