"""A test of the tests: each bug, planted in a copy of the source, makes pytest fail, and by the gradient it spoils.

The first group are bugs found in published projects, whose own tests passed; the others are those that everyone writes
sooner or later, in the textbook and in the engine. Each goes into the component it belongs to, and into the checker go
those that would make it blind.
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
        "dk = s * together(dscores, K).swapaxes(-1, -2) @ together(q, K)",
        "dk = s * together(dscores, K) @ together(q, K)",
        "attention and square and not fast",
        "dk",
    ),
    Bug(
        "γ outside the means",
        "layers/layer_norm.py",
        "dx = r * (dx_hat - shift - x_hat * scale)",
        "dx = r * gamma * (dy - dy.mean(-1, keepdims=True) - x_hat * (dy * x_hat).mean(-1, keepdims=True))",
        "layer_norm and not fast",
        "dx",
    ),
    Bug(
        "dropout ignored in attention's backward",
        "layers/attention.py",
        "dweights = on_weights_backward(dused)",
        "dweights = dused",
        "attention and dropout and not fast",
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
        "attention and not fast",
        "dq",
    ),
    Bug(
        "softmax's backward is y · dy",
        "layers/softmax.py",
        "dx = y * (dy - mean_dy)",
        "dx = y * dy",
        "softmax and not fast",
        "dx",
    ),
    Bug(
        "softmax's backward is zeros",
        "layers/softmax.py",
        "dx = y * (dy - mean_dy)",
        "dx = np.zeros_like(dy)",
        "softmax and not fast",
        "dx",
    ),
    Bug(
        "averaged over ignored positions",
        "losses.py",
        "np.asarray(dloss, dtype) * share",
        "np.asarray(dloss, dtype) * (1 / targets.size)",
        "cross_entropy and not fast",
        "dlogits",
    ),
]

PLANTED = [
    Bug(
        "transposed product",
        "layers/linear.py",
        "dx = dy @ weight.T",
        "dx = dy @ weight",
        "linear and square and not fast",
        "dx",
    ),
    Bug(
        "mean for sum",
        "layers/linear.py",
        "dbias = rows(dy).sum(axis=0)",
        "dbias = rows(dy).mean(axis=0)",
        "linear and not fast",
        "dbias",
    ),
    Bug(
        "dy ignored",
        "layers/linear.py",
        "dweight = rows(x).T @ rows(dy)",
        "dweight = rows(x).T @ np.ones_like(rows(dy))",
        "linear and not fast",
        "dweight",
    ),
    Bug(
        "repeated ids overwritten",
        "layers/embedding.py",
        "np.add.at(dweight, ids, dy)",
        "dweight[ids] = dy",
        "embedding and not un and not fast",
        "dweight",
    ),
    Bug(
        "repeated ids added once",
        "layers/embedding.py",
        "np.add.at(dweight, ids, dy)",
        "dweight[ids] += dy",
        "embedding and not un and not fast",
        "dweight",
    ),
    Bug(
        "sign flipped",
        "layers/embedding.py",
        "return dx, dweight",
        "return dx, -dweight",
        "unembedding and not fast",
        "dweight",
    ),
    Bug(
        "sign flipped",
        "layers/positions.py",
        "da = da_turned * cos + db_turned * sin",
        "da = da_turned * cos - db_turned * sin",
        "rotary and half and not fast",
        "dx",
    ),
    Bug(
        "missing term",
        "layers/positions.py",
        "db = db_turned * cos - da_turned * sin",
        "db = db_turned * cos",
        "rotary and interleaved and not fast",
        "dx",
    ),
    Bug(
        "missing term",
        "layers/layer_norm.py",
        "dx = r * (dx_hat - shift - x_hat * scale)",
        "dx = r * (dx_hat - shift)",
        "layer_norm and not fast",
        "dx",
    ),
    Bug(
        "wrong axis",
        "layers/layer_norm.py",
        "shift = dx_hat.mean(axis=-1, keepdims=True)",
        "shift = dx_hat.mean(axis=1, keepdims=True)",
        "layer_norm and not fast",
        "dx",
    ),
    Bug(
        "mean for sum",
        "layers/layer_norm.py",
        "dbeta = dy.sum(axis=positions)",
        "dbeta = dy.mean(axis=positions)",
        "layer_norm and not fast",
        "dbeta",
    ),
    Bug(
        "exchanged gradients",
        "layers/layer_norm.py",
        "return dx, dgamma, dbeta",
        "return dx, dbeta, dgamma",
        "layer_norm and not fast",
        "dgamma",
    ),
    Bug(
        "exchanged parameters",
        "layers/layer_norm.py",
        "return apply(layer_norm, x, self.gamma, self.beta, eps=self.eps)",
        "y, backward = layer_norm(x, self.gamma.data, self.beta.data, eps=self.eps)\n\n"
        "        def exchanged(dy):\n"
        "            dx, dgamma, dbeta = backward(dy)\n"
        "            self.gamma.accumulate(dbeta)\n"
        "            self.beta.accumulate(dgamma)\n"
        "            return dx\n\n"
        "        return y, exchanged",
        "LayerNorm",
        "gamma.grad",
    ),
    Bug(
        "copied from layer norm",
        "layers/rms_norm.py",
        "dx = r * (dx_hat - x_hat * scale)",
        "dx = r * (dx_hat - dx_hat.mean(axis=-1, keepdims=True) - x_hat * scale)",
        "rms_norm and not fast",
        "dx",
    ),
    Bug(
        "zero gradient",
        "layers/rms_norm.py",
        "return dx, dgamma",
        "return dx, 0 * dgamma",
        "rms_norm and not fast",
        "dgamma",
    ),
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
        "dscores = softmax_backward(dweights)",
        "dscores = softmax(scores)[1](dweights)",
        "attention and causal and not fast",
        "dq",
    ),
    Bug(
        "recomputed with other dropout",
        "layers/recomputation.py",
        "before, was_plain = copy.deepcopy(rng), is_plain()\n    y = module(x, rng=rng, **options)[0]",
        "y, before, was_plain = module(x, rng=rng, **options)[0], copy.deepcopy(rng), is_plain()",
        "Dropout and recomputed",
        "dx",
    ),
    Bug(
        "scale forgotten",
        "layers/attention.py",
        "dq = s * apart(",
        "dq = apart(",
        "attention and not fast",
        "dq",
    ),
    Bug(
        "missing term",
        "layers/multi_head_attention.py",
        "dx = q_backward(dxq) + k_backward(",
        "dx = q_backward(dxq) + 0 * k_backward(",
        "MultiHeadAttention",
        "dx",
    ),
    Bug(
        "rotation not undone",
        "layers/multi_head_attention.py",
        "return merge(rotary_backward(named_backward(dy)))",
        "return merge(named_backward(dy))",
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
    Bug(
        "dy ignored",
        "layers/activations.py",
        "np.where(off, 0, dy)",
        "np.where(off, 0, 1.0)",
        "relu and not fast",
        "dx",
    ),
    Bug(
        "missing term",
        "layers/activations.py",
        "dx = dy * sigma * (1 + x * (1 - sigma))",
        "dx = dy * sigma * (x * (1 - sigma))",
        "silu and not fast",
        "dx",
    ),
    Bug(
        "missing term",
        "layers/activations.py",
        "slope = Phi + x * phi",
        "slope = x * phi",
        "gelu and not tanh and not fast",
        "dx",
    ),
    Bug(
        "wrong constant",
        "layers/activations.py",
        "1 + 3 * 0.044715",
        "1 + 0.044715",
        "gelu and tanh and not fast",
        "dx",
    ),
    Bug(
        "mask forgotten",
        "layers/dropout.py",
        "dx = dy * keep * scale",
        "dx = dy * scale",
        "dropout and not attention",
        "dx",
    ),
    Bug(
        "activation forgotten",
        "layers/feed_forward.py",
        "dh = activation_backward(da)",
        "dh = da",
        "FeedForward and not Gated",
        "up.weight.grad",
    ),
    Bug(
        "wrong factor",
        "layers/feed_forward.py",
        "du = dp * a",
        "du = dp * u",
        "swiglu and not fast",
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
        "dr = residual_mid_backward(dy + norm2_backward(",
        "dr = residual_mid_backward(norm2_backward(",
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
        "de.sum(axis=tuple(range(de.ndim - 2)))",
        "de.mean(axis=tuple(range(de.ndim - 2)))",
        "GPT and not Block and not sinusoidal",
        "positional_embedding.weight.grad",
    ),
    Bug(
        "zero gradient",
        "transformer.py",
        "            embedding_backward(de)",
        "            embedding_backward(0 * de)",
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
        "dlogits = (A * p - a)",
        "dlogits = (A * p + a)",
        "cross_entropy and not fast",
        "dlogits",
    ),
    Bug(
        "dy ignored",
        "losses.py",
        "np.asarray(dloss, dtype)",
        "np.ones_like(np.asarray(dloss, dtype))",
        "cross_entropy and sum and not fast",
        "dlogits",
    ),
    Bug(
        "mask forgotten",
        "losses.py",
        "np.where(kept, np.asarray(dloss, dtype) * share, 0)",
        "np.broadcast_to(np.asarray(dloss, dtype) * share, kept.shape)",
        "cross_entropy and not fast",
        "dlogits",
    ),
    Bug(
        "scale forgotten",
        "layers/lora.py",
        "db = rows(h).T @ rows(scaled)",
        "db = rows(h).T @ rows(dy)",
        "low_rank",
        "db",
    ),
    Bug("transposed product", "layers/lora.py", "dx = dh @ a.T", "dx = dh @ a", "low_rank and square", "dx"),
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
        "np.put_along_axis(dlogits, token, dz[..., None], axis=-1)",
        "pass",
        "sequence_unlikelihood",
        "dlogits",
    ),
    Bug(
        "mask forgotten",
        "training/finetuning/objectives/unlikelihood.py",
        "np.broadcast_to(np.asarray(dy)[..., None], shape) * kept",
        "np.broadcast_to(np.asarray(dy)[..., None], shape)",
        "sequence_unlikelihood",
        "dlogits",
    ),
    Bug(
        "wrong factor",
        "training/finetuning/objectives/direct_preference.py",
        "safe_backward(b * dz), unsafe_backward(-b * dz)",
        "safe_backward(dz), unsafe_backward(-dz)",
        "direct_preference",
        "dsafe_logits",
    ),
    Bug(
        "dy ignored",
        "training/finetuning/objectives/softplus.py",
        "dx = dy * sigma",
        "dx = np.ones_like(dy) * sigma",
        "softplus",
        "dx",
    ),
    Bug(
        "sum for mean",
        "training/finetuning/objectives/unbounded_difference.py",
        "dloss / pairs",
        "dloss",
        "unbounded_difference",
        "dunsafe_logits",
    ),
]

ENGINE = [
    Bug(
        "transposed product",
        "fast/linear.py",
        "dy_rows @ weight.T",
        "dy_rows @ weight",
        "fast.linear and square",
        "dx",
    ),
    Bug("mean for sum", "fast/linear.py", "position_sum(dy_rows)", "dy_rows.mean(axis=0)", "fast.linear", "dbias"),
    Bug(
        "y · dy",
        "fast/softmax.py",
        "        dx *= y  # (3)\n",
        "        dx = y * dy\n",
        "fast.softmax",
        "dx",
    ),
    Bug(
        "wrong axis",
        "fast/softmax.py",
        "np.expand_dims(np.vecdot(y, dy, axis=axis), axis)",
        "np.expand_dims(np.vecdot(y, dy, axis=-1), -1)",
        "fast.softmax and axis",
        "dx",
    ),
    Bug(
        "dK not transposed",
        "fast/attention.py",
        "dk = dscores.swapaxes(-1, -2) @ q_grouped",
        "dk = dscores @ q_grouped",
        "fast.attention and square",
        "dk",
    ),
    Bug("scale forgotten", "fast/attention.py", "dq *= scale", "pass", "fast.attention", "dq"),
    Bug(
        "mask forgotten",
        "fast/attention.py",
        "dscores = together(softmax_backward(dweights), K)",
        "unmasked = apart((q_grouped * scale) @ k.swapaxes(-1, -2), H)\n"
        "        dscores = together(softmax(unmasked)[1](dweights), K)",
        "fast.attention and causal",
        "dq",
    ),
    Bug(
        "dropout ignored",
        "fast/attention.py",
        "dweights = weights_backward(dweights)",
        "pass",
        "fast.attention and dropout",
        "dq",
    ),
    Bug(
        "a block's share of dk overwrites the others",
        "fast/blocked_attention.py",
        "dk[..., columns, :] += ",
        "dk[..., columns, :] = ",
        "blocked_attention",
        "dk",
    ),
    Bug(
        "δ forgotten",
        "fast/blocked_attention.py",
        "                dscores -= delta  # (8)\n",
        "",
        "blocked_attention",
        "dq",
    ),
    Bug(
        "scale once too often",
        "fast/blocked_attention.py",
        "dscores.swapaxes(-1, -2) @ q_rows",
        "dscores.swapaxes(-1, -2) @ (q_rows * scale)",
        "blocked_attention",
        "dk",
    ),
    Bug(
        "the gradients of the groups in reverse",
        "fast/head_groups.py",
        "np.concatenate(groups, axis=-3)",
        "np.concatenate(groups[::-1], axis=-3)",
        "in_head_groups",
        "dq",
    ),
    Bug(
        "a key's gradient from the last block of queries alone",
        "fast/query_blocks.py",
        "dk[..., keys, :] += dk_keys",
        "dk[..., keys, :] = dk_keys",
        "in_query_blocks",
        "dk",
    ),
    Bug("missing term", "fast/swiglu.py", "slope += 1", "pass", "fast.swiglu", "dg"),
    Bug("missing term", "fast/gelu.py", "slope += distribution", "pass", "fast.gelu and not tanh", "dx"),
    Bug("wrong constant", "fast/gelu.py", "slope *= 3 * 0.044715", "slope *= 0.044715", "fast.gelu and tanh", "dx"),
    Bug("wrong factor", "fast/swiglu.py", "dp * (g * sigma)", "dp * u", "fast.swiglu", "du"),
    Bug(
        "averaged over ignored positions",
        "fast/cross_entropy.py",
        ".reshape(-1) * share  #",
        ".reshape(-1) * (1 / flat.size)  #",
        "fast.cross_entropy",
        "dlogits",
    ),
    Bug(
        "sign flipped",
        "fast/cross_entropy.py",
        "dlogits[at_target] -= at_target_coefficient",
        "dlogits[at_target] += at_target_coefficient",
        "fast.cross_entropy",
        "dlogits",
    ),
    Bug(
        "dy ignored",
        "fast/cross_entropy.py",
        "np.asarray(dloss, real)",
        "np.ones_like(np.asarray(dloss, real))",
        "fast.cross_entropy and sum",
        "dlogits",
    ),
    Bug(
        "mask forgotten",
        "fast/cross_entropy.py",
        "dlogits -= (kept * per_position)[:, None] * smoothing",
        "dlogits -= (np.ones(kept.shape) * per_position)[:, None] * smoothing",
        "fast.cross_entropy and smoothed",
        "dlogits",
    ),
]

BUGS = PUBLISHED + PLANTED + ENGINE

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
    """Copy what pytest needs to check gradients to a new folder, and compile once what is not compiled already."""
    destination.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, destination / name)
        else:
            shutil.copy2(ROOT / name, destination / name)
    for package in ("minitransformer", "gradcheck"):
        compile_dir(destination / package, quiet=1)
    return destination


def plant(pristine, destination, file, old, new):
    """Link a copy of the source, with `old`, which must occur once, replaced by `new` in a file of its own."""
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
    """Run pytest in a copy of the source. Returns (exit status, what it printed)."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=os.environ
        | {
            "OPENBLAS_NUM_THREADS": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "MINITRANSFORMER_PLAIN": "0",  # a bug of the engine shows in the cases of modules only while it is on
        },
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",  # pytest writes in the encoding of the locale
    )
    return run.returncode, run.stdout + run.stderr


def check_gradients(folder, component):
    """Run the comparisons with central differences of a component, without the fixtures of other tests."""
    choice = ["-m", "slow or not slow", "-k", f"central_difference and -0 and ({component})"]
    return run_pytest(folder, "--noconftest", "tests/test_gradients.py", *choice)


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
    """A plain run plants three of the published bugs and one in the engine, a slow one all."""
    return [] if bug in PUBLISHED[:3] or bug is ENGINE[0] else [pytest.mark.slow]


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


@pytest.mark.slow
@pytest.mark.parametrize("what, file, old, new, message", CHECKER, ids=[what for what, *_ in CHECKER])
def test_a_checker_that_is_wrong_makes_its_own_tests_fail(what, file, old, new, message, pristine, tmp_path):
    folder = plant(pristine, tmp_path / "copy", f"gradcheck/{file}", old, new)
    status, output = run_pytest(folder, "tests/gradcheck/test_bugs.py", "-k", "right_gradient or planted")
    assert status == pytest.ExitCode.TESTS_FAILED, output
    assert message in output


def test_every_kind_of_bug_and_every_layer_has_its_turn():
    assert set(KINDS) <= {bug.kind for bug in PLANTED}
    package = ROOT / "minitransformer"
    sources = [*package.glob("layers/*.py"), *package.glob("fast/*.py")]
    derived = [path for path in sources if "def backward" in path.read_text("utf-8")]
    assert {path.relative_to(package).as_posix() for path in derived} <= {bug.file for bug in BUGS}
    assert {"losses.py", "transformer.py", "module.py"} <= {bug.file for bug in BUGS}
    assert len(BUGS) >= 25


def test_a_bug_that_fits_the_source_no_longer_asks_for_a_new_one(pristine, tmp_path):
    with pytest.raises(LookupError, match=r"occurs 0 times in minitransformer/losses.py.* update the tables of tests/"):
        plant(pristine, tmp_path / "copy", "minitransformer/losses.py", "a line that is not there", "pass")
