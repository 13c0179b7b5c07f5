"""A client of both packages with annotations throughout, which test_types.py gives to `mypy --strict`. It is never run.

Each `assert_type` says which type a result has; none of them may be Any.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import gradcheck
import minitransformer as mt
from gradcheck import Call, Case, Report, adapters
from gradcheck.lines import StepRow, StepsReport
from gradcheck.plugin import Checker
from gradcheck.updates import UpdateReport, from_config, from_object, from_optimizer, from_steps

Array = NDArray[Any]
Backward = Callable[[Array], Array]
Backwards = Callable[[Array], tuple[Array, ...]]

rng = np.random.default_rng(0)
x, gamma, beta = rng.normal(size=(2, 3, 4)), rng.normal(size=4), rng.normal(size=4)
heads = rng.normal(size=(2, 3, 5, 4))
ids = rng.integers(0, 50, (2, 5))


def functions() -> None:
    """Call every differentiable function of the textbook."""
    y, layer_norm_backward = mt.layer_norm(x, gamma, beta, eps=1e-6)
    dx, dgamma, dbeta = layer_norm_backward(y)
    for array in (y, dx, dgamma, dbeta):
        assert_type(array, Array)
    assert_type(mt.rms_norm(x, gamma), tuple[Array, Backwards])
    assert_type(mt.softmax(x, axis=-1), tuple[Array, Backward])
    assert_type(mt.log_softmax(x), tuple[Array, Backward])
    assert_type(mt.relu(x), tuple[Array, Backward])
    assert_type(mt.silu(x), tuple[Array, Backward])
    assert_type(mt.gelu(x, approximate="tanh"), tuple[Array, Backward])
    assert_type(mt.linear(x, gamma[:, None], None), tuple[Array, Backwards])
    assert_type(mt.low_rank(x, gamma[:, None], gamma[None], scale=0.5), tuple[Array, Backwards])
    assert_type(mt.embedding(ids, x[0]), tuple[Array, Backward])
    assert_type(mt.unembedding(x, x[0]), tuple[Array, Backwards])
    assert_type(mt.dropout(x, keep=rng.random(x.shape) < 0.5, p=0.5), tuple[Array, Backward])
    assert_type(mt.rotary(x, positions=np.arange(3)), tuple[Array, Backward])
    assert_type(mt.sinusoidal_positions(3, 4), NDArray[np.float64])
    assert_type(mt.causal_mask(3, 3), NDArray[np.bool_])
    attended, attention_backward = mt.attention(heads, heads, heads, mask=mt.causal_mask(5, 5), on_weights=mt.softmax)
    dq, dk, dv = attention_backward(attended)
    for array in (dq, dk, dv):
        assert_type(array, Array)
    loss, loss_backward = mt.cross_entropy(x, ids[:, :3], label_smoothing=0.1)
    assert_type(float(loss), float)
    assert_type(loss_backward(), Array)
    assert_type(loss_backward(0.5), Array)
    assert_type(mt.softplus(x), tuple[Array, Backward])
    assert_type(mt.sequence_log_likelihood(x, ids[:, :3]), tuple[Array, Backward])
    for objective in (mt.unbounded_difference, mt.unlikelihood):
        assert_type(float(objective(x, ids, x, ids)[0]), float)
    mt.direct_preference(x, ids, x, ids, reference_safe=gamma, reference_unsafe=gamma, beta=0.1)


class Doubled(mt.Module):
    """A module of one's own."""

    def __init__(self, size: int) -> None:
        self.weight = mt.Parameter(np.ones(size))

    def forward(self, x: Array) -> tuple[Array, Backward]:
        """Call a function through apply."""
        return mt.apply(mt.rms_norm, x, self.weight, eps=1e-5)


def modules() -> None:
    """Build and call every module."""
    for module in (
        Doubled(4),
        mt.Linear(4, 4, rng=rng, dtype=np.float64),
        mt.LowRankLinear(mt.Linear(4, 4), 2, 4.0),
        mt.Embedding(50, 4),
        mt.Unembedding(mt.Parameter(x[0])),
        mt.LayerNorm(4, dtype="float64"),
        mt.RMSNorm(4),
        mt.Softmax(),
        mt.Dropout(0.1),
        mt.FeedForward(4, 8),
        mt.GatedFeedForward(4, 8),
        mt.MultiHeadAttention(4, 2, bias=False),
        mt.TransformerBlock(4, 2, 8, norm="rms_norm"),
    ):
        y, backward = module(x)
        assert_type(y, Array)
        backward(y)
    for name, parameter in Doubled(4).named_parameters():
        assert_type(name, str)
        assert_type(parameter, mt.Parameter)
        assert_type(parameter.data, Array)
        assert_type(parameter.grad, Array | None)

    def zeroed(y: Array, backward: Callable[[Array], Any]) -> tuple[Array, Callable[[Array], Any]]:
        return np.zeros_like(y), backward

    model = mt.TinyTransformer(seed=1, n_layers=1)
    with mt.plain(), model.hooked({"blocks.0.attention": zeroed}) as hooked:
        assert_type(hooked, mt.TinyTransformer)


def training() -> None:
    """Train a model, and generate."""
    config = mt.Config(vocab_size=50, context=8, d_model=16, n_heads=2, n_layers=1, dtype="float64")
    model = mt.Transformer(config, seed=0)
    logits, backward = model(ids)
    assert_type(logits, Array)
    backward(logits)
    loss, loss_backward = model.loss(ids, ids, rng=rng, label_smoothing=0.1)
    assert_type(float(loss), float)
    loss_backward()
    assert_type(mt.clip_grad_norm(model.parameters(), 1.0), float)
    for optimizer in (mt.AdamW(mt.decay_groups(model, 0.1), lr=1e-3), mt.Muon([model.blocks[0].attention.w_q.weight])):
        optimizer.param_groups[0]["lr"] = mt.cosine_schedule(0, lr=1e-3, min_lr=1e-4, warmup=10, steps=100)
        optimizer.step()
        optimizer.zero_grad()
    cache = mt.KeyValueCache(config)
    assert_type(model.predict(ids, cache=cache, last_only=True), Array)
    assert_type(cache.length, int)
    assert_type(model.n_parameters(), int)
    assert_type(mt.generate(model, [1, 2, 3], max_new_tokens=4, top_k=5, rng=rng), NDArray[np.int64])
    assert_type(mt.train_on_simple_patterns(mt.TinyTransformer(), ["copy"], steps=3), list[dict[str, Any]])


def text() -> None:
    """Use the tokenizers and a language model."""
    characters, pairs = mt.CharTokenizer.train("abc"), mt.BPETokenizer.train("low lower", 260)
    assert_type(characters, mt.CharTokenizer)
    assert_type(pairs, mt.BPETokenizer)
    assert_type(mt.BPETokenizer.from_gpt2("encoder.json", Path("vocab.bpe")), mt.BPETokenizer)
    for tokenizer in (mt.ByteTokenizer(), characters, pairs):
        assert_type(tokenizer.encode("abc"), NDArray[np.int64])
        assert_type(tokenizer.decode([1, 2]), str)
        assert_type(tokenizer.vocab_size, int)
        tokenizer.save("tokenizer.json")
    assert_type(mt.CharTokenizer.load("tokenizer.json"), mt.CharTokenizer)
    lm = mt.LanguageModel(mt.Transformer(mt.Config(vocab_size=256, context=8)), mt.ByteTokenizer())
    assert_type(lm.logits("abc"), Array)
    assert_type(lm.generate("abc", max_new_tokens=3, temperature=0.5), str)
    assert_type(list(lm.stream("abc")), list[str])
    assert_type(lm.perplexity("abc"), float)
    lm.save(Path("model.npz"))
    assert_type(mt.LanguageModel.load("model.npz"), mt.LanguageModel)
    assert_type(mt.fine_tune(lm, "some text"), list[dict[str, Any]])
    assert_type(mt.fine_tune_for_safety(lm, "politeness", trainable=mt.LowRank(rank=2)).verdict, str)
    mt.trace_information_flow(lm, "some text", 1)
    mt.visualize_context_influence(lm, "some text", 1)
    mt.analyze_learned_patterns(mt.TinyTransformer(), ["copy"])
    mt.analyze_training_influence(lm, ["some text"])
    mt.analyze_emergent_capabilities([10_000])


def square(x: Array) -> tuple[Array, Backward]:
    """Return x² and its backward pass."""

    def backward(dy: Array) -> Array:
        return 2 * x * dy

    return x * x, backward


def affine_forward(x: Array, w: Array) -> tuple[Array, Array]:
    """Return x w, and w for the backward pass."""
    return x * w, w


def affine_backward(dy: Array, cache: Array) -> tuple[Array, Array]:
    """Return the gradients."""
    return dy * cache, dy


def checks() -> None:
    """Check functions, modules, cases and updates."""
    report = gradcheck.check(square, x, seed=1, rtol=1e-7, oracles=("central", "complex"), explain=False)
    assert_type(report, Report)
    assert_type(report["x"], gradcheck.ArgumentReport)
    assert_type(report.is_right, bool)
    assert_type(report["x"].worst_relative, float)
    assert_type(report.failures(), list[str])
    assert_type(gradcheck.check(mt.layer_norm, x, gamma, beta, eps=1e-6), Report)
    assert_type(gradcheck.check_module(mt.LayerNorm(4), x, randomize=False), Report)
    assert_type(gradcheck.adjoint(Doubled(4), x), Report)
    assert_type(gradcheck.check_case(Case("square", lambda rng: Call(square, rng.normal(size=3))), seed=3), Report)
    assert_type(gradcheck.load_cases("minitransformer"), list[Case])
    gradcheck.randomize_parameters(mt.LayerNorm(4), rng)
    assert_type(gradcheck.steps(square, x), StepsReport)
    assert_type(gradcheck.steps(square, x).first_wrong, StepRow | None)
    assert_type(gradcheck.jacobian(square, x), gradcheck.Jacobian)
    assert_type(gradcheck.jacobian(square, x).oracle, str)
    gradcheck.check(adapters.from_pair(affine_forward, affine_backward), x, x)
    gradcheck.check(adapters.from_value_and_gradient(np.sum, np.ones_like), x)
    gradcheck.check(adapters.from_derivative(np.sin, np.cos), x)
    gradcheck.check(adapters.from_jacobian(np.sin, lambda x: np.diag(np.cos(x))), gamma)
    gradcheck.check(*adapters.from_nested(lambda params: square(params["x"]), {"x": x}))
    gradcheck.check_module(adapters.from_layer(object(), {}), x)
    for update in (from_config(affine_forward), from_optimizer(mt.AdamW, mt.Parameter), from_object(mt.AdamW, dict)):
        assert_type(gradcheck.check_update(update, "adamw", eps=1e-8), UpdateReport)
    gradcheck.check_update(from_steps(lambda parameters, gradients, lr: iter([])), "sgd")
    try:
        gradcheck.check(square, x)
    except gradcheck.GradientError as error:
        assert_type(error.report, Report)
        assert_type(error.lines, tuple[str, ...])


def test_square(gradcheck: Checker) -> None:
    """Use the fixture of the plugin."""
    assert_type(gradcheck(square, x), Report)
    assert_type(gradcheck.module(mt.LayerNorm(4), x), Report)


def wrong() -> None:
    """Make mistakes, each of which must be reported by the code in its comment: mypy reports a comment without use."""
    gradcheck.chek(mt.layer_norm, x, gamma, beta)  # type: ignore[attr-defined]
    mt.layer_norm("text", gamma, beta)  # type: ignore[arg-type]
    mt.layer_norm(x, gamma, beta, 1e-5)  # type: ignore[call-arg]
    mt.softmax(x, axis="last")  # type: ignore[arg-type]
    mt.softmax(x).sum()  # type: ignore[attr-defined]
    mt.attention(x, x, x, mask=[True])  # type: ignore[arg-type]
    mt.cross_entropy(x, ids, reduction=1)  # type: ignore[arg-type]
    mt.LayerNorm("4")  # type: ignore[arg-type]
    mt.LayerNorm(4)("text")  # type: ignore[arg-type]
    mt.Config(vocab_size=50, context="8")  # type: ignore[arg-type]
    model = mt.Transformer({"vocab_size": 50})  # type: ignore[arg-type]
    model.loss(ids)  # type: ignore[call-arg]
    mt.AdamW(model.parameters(), lr="fast")  # type: ignore[arg-type]
    mt.AdamW(model)  # type: ignore[arg-type]
    mt.generate(model, ids, max_new_tokens="many")  # type: ignore[arg-type]
    mt.LanguageModel(model)  # type: ignore[call-arg]
    mt.ByteTokenizer().encode(3)  # type: ignore[arg-type]
    gradcheck.check("square", x)  # type: ignore[arg-type]
    gradcheck.check(np.size, x)  # type: ignore[arg-type]
    gradcheck.check(square, x, seed="0")  # type: ignore[arg-type]
    gradcheck.check_module(mt.LayerNorm(4), x, randomize="no")  # type: ignore[arg-type]
    gradcheck.check(square, x).is_rihgt()  # type: ignore[attr-defined]
    gradcheck.check_update(affine_forward, 1.0)  # type: ignore[arg-type]
    adapters.from_pair(affine_forward, "backward")  # type: ignore[arg-type]
    Call(3)  # type: ignore[arg-type]
