"""A client of both packages with annotations throughout, which test_types.py gives to `mypy --strict`. It is never run.

Each `assert_type` says which type a result has; none of them may be Any.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import gradcheck
import minitransformer
from gradcheck import (
    ArgumentReport,
    Call,
    Case,
    GradientError,
    Jacobian,
    Report,
    adjoint,
    check,
    check_case,
    check_module,
    check_update,
    jacobian,
    load_cases,
    randomize_parameters,
    steps,
)
from gradcheck.adapters import (
    from_derivative,
    from_jacobian,
    from_layer,
    from_nested,
    from_pair,
    from_value_and_gradient,
)
from gradcheck.lines import StepRow, StepsReport
from gradcheck.plugin import Checker
from gradcheck.updates import UpdateReport, from_config, from_object, from_optimizer, from_steps
from minitransformer import (
    AdamW,
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    Config,
    Dropout,
    Embedding,
    FeedForward,
    GatedFeedForward,
    KeyValueCache,
    LanguageModel,
    LayerNorm,
    Linear,
    LowRank,
    LowRankLinear,
    Module,
    MultiHeadAttention,
    Parameter,
    RMSNorm,
    Softmax,
    TinyTransformer,
    Transformer,
    TransformerBlock,
    Unembedding,
    apply,
    attention,
    causal_mask,
    clip_grad_norm,
    cosine_schedule,
    cross_entropy,
    decay_groups,
    direct_preference,
    dropout,
    embedding,
    fine_tune,
    fine_tune_for_safety,
    gelu,
    generate,
    layer_norm,
    linear,
    log_softmax,
    low_rank,
    plain,
    relu,
    rms_norm,
    rotary,
    sequence_log_likelihood,
    silu,
    sinusoidal_positions,
    softmax,
    softplus,
    train_on_simple_patterns,
    unbounded_difference,
    unembedding,
    unlikelihood,
)

Array = NDArray[Any]
Backward = Callable[[Array], Array]
Backwards = Callable[[Array], tuple[Array, ...]]

rng = np.random.default_rng(0)
x, gamma, beta = rng.normal(size=(2, 3, 4)), rng.normal(size=4), rng.normal(size=4)
heads = rng.normal(size=(2, 3, 5, 4))
ids = rng.integers(0, 50, (2, 5))


def functions() -> None:
    """Call every differentiable function of the textbook."""
    y, layer_norm_backward = layer_norm(x, gamma, beta, eps=1e-6)
    dx, dgamma, dbeta = layer_norm_backward(y)
    for array in (y, dx, dgamma, dbeta):
        assert_type(array, Array)
    assert_type(rms_norm(x, gamma), tuple[Array, Backwards])
    assert_type(softmax(x, axis=-1), tuple[Array, Backward])
    assert_type(log_softmax(x), tuple[Array, Backward])
    assert_type(relu(x), tuple[Array, Backward])
    assert_type(silu(x), tuple[Array, Backward])
    assert_type(gelu(x, approximate="tanh"), tuple[Array, Backward])
    assert_type(linear(x, gamma[:, None], None), tuple[Array, Backwards])
    assert_type(low_rank(x, gamma[:, None], gamma[None], scale=0.5), tuple[Array, Backwards])
    assert_type(embedding(ids, x[0]), tuple[Array, Backward])
    assert_type(unembedding(x, x[0]), tuple[Array, Backwards])
    assert_type(dropout(x, keep=rng.random(x.shape) < 0.5, p=0.5), tuple[Array, Backward])
    assert_type(rotary(x, positions=np.arange(3)), tuple[Array, Backward])
    assert_type(sinusoidal_positions(3, 4), NDArray[np.float64])
    assert_type(causal_mask(3, 3), NDArray[np.bool_])
    attended, attention_backward = attention(heads, heads, heads, mask=causal_mask(5, 5), on_weights=softmax)
    dq, dk, dv = attention_backward(attended)
    for array in (dq, dk, dv):
        assert_type(array, Array)
    loss, loss_backward = cross_entropy(x, ids[:, :3], label_smoothing=0.1)
    assert_type(float(loss), float)
    assert_type(loss_backward(), Array)
    assert_type(loss_backward(0.5), Array)
    assert_type(softplus(x), tuple[Array, Backward])
    assert_type(sequence_log_likelihood(x, ids[:, :3]), tuple[Array, Backward])
    for objective in (unbounded_difference, unlikelihood):
        assert_type(float(objective(x, ids, x, ids)[0]), float)
    direct_preference(x, ids, x, ids, reference_safe=gamma, reference_unsafe=gamma, beta=0.1)


class Doubled(Module):
    """A module of one's own."""

    def __init__(self, size: int) -> None:
        self.weight = Parameter(np.ones(size))

    def forward(self, x: Array) -> tuple[Array, Backward]:
        """Call a function through apply."""
        return apply(rms_norm, x, self.weight, eps=1e-5)


def modules() -> None:
    """Build and call every module."""
    for module in (
        Doubled(4),
        Linear(4, 4, rng=rng, dtype=np.float64),
        LowRankLinear(Linear(4, 4), 2, 4.0),
        Embedding(50, 4),
        Unembedding(Parameter(x[0])),
        LayerNorm(4, dtype="float64"),
        RMSNorm(4),
        Softmax(),
        Dropout(0.1),
        FeedForward(4, 8),
        GatedFeedForward(4, 8),
        MultiHeadAttention(4, 2, bias=False),
        TransformerBlock(4, 2, 8, norm="rms_norm"),
    ):
        y, backward = module(x)
        assert_type(y, Array)
        backward(y)
    for name, parameter in Doubled(4).named_parameters():
        assert_type(name, str)
        assert_type(parameter, Parameter)
        assert_type(parameter.data, Array)
        assert_type(parameter.grad, Array | None)

    def zeroed(y: Array, backward: Callable[[Array], Any]) -> tuple[Array, Callable[[Array], Any]]:
        return np.zeros_like(y), backward

    model = TinyTransformer(seed=1, n_layers=1)
    with plain(), model.hooked({"blocks.0.attention": zeroed}) as hooked:
        assert_type(hooked, TinyTransformer)


def training() -> None:
    """Train a model, and generate."""
    config = Config(vocab_size=50, context=8, d_model=16, n_heads=2, n_layers=1, dtype="float64")
    model = Transformer(config, seed=0)
    logits, backward = model(ids)
    assert_type(logits, Array)
    backward(logits)
    loss, loss_backward = model.loss(ids, ids, rng=rng, label_smoothing=0.1)
    assert_type(float(loss), float)
    loss_backward()
    assert_type(clip_grad_norm(model.parameters(), 1.0), float)
    for optimizer in (AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99)), AdamW(decay_groups(model, 0.1))):
        optimizer.param_groups[0]["lr"] = cosine_schedule(0, lr=1e-3, min_lr=1e-4, warmup=10, steps=100)
        optimizer.step()
        optimizer.zero_grad()
    cache = KeyValueCache(config)
    assert_type(model.predict(ids, cache=cache, last_only=True), Array)
    assert_type(cache.length, int)
    assert_type(model.n_parameters(), int)
    assert_type(generate(model, [1, 2, 3], max_new_tokens=4, top_k=5, rng=rng), NDArray[np.int64])
    assert_type(train_on_simple_patterns(TinyTransformer(), ["copy"], steps=3), list[dict[str, Any]])


def text() -> None:
    """Use the tokenizers and a language model."""
    characters, pairs = CharTokenizer.train("abc"), BPETokenizer.train("low lower", 260)
    assert_type(characters, CharTokenizer)
    assert_type(pairs, BPETokenizer)
    assert_type(BPETokenizer.from_gpt2("encoder.json", Path("vocab.bpe")), BPETokenizer)
    for tokenizer in (ByteTokenizer(), characters, pairs):
        assert_type(tokenizer.encode("abc"), NDArray[np.int64])
        assert_type(tokenizer.decode([1, 2]), str)
        assert_type(tokenizer.vocab_size, int)
        tokenizer.save("tokenizer.json")
    assert_type(CharTokenizer.load("tokenizer.json"), CharTokenizer)
    lm = LanguageModel(Transformer(Config(vocab_size=256, context=8)), ByteTokenizer())
    assert_type(lm.logits("abc"), Array)
    assert_type(lm.generate("abc", max_new_tokens=3, temperature=0.5), str)
    assert_type(list(lm.stream("abc")), list[str])
    assert_type(lm.perplexity("abc"), float)
    lm.save(Path("model.npz"))
    assert_type(LanguageModel.load("model.npz"), LanguageModel)
    assert_type(fine_tune(lm, "some text"), list[dict[str, Any]])
    assert_type(fine_tune_for_safety(lm, "politeness", trainable=LowRank(rank=2)).verdict, str)
    minitransformer.trace_information_flow(lm, "some text", 1)
    minitransformer.visualize_context_influence(lm, "some text", 1)
    minitransformer.analyze_learned_patterns(TinyTransformer(), ["copy"])
    minitransformer.analyze_training_influence(lm, ["some text"])
    minitransformer.analyze_emergent_capabilities([10_000])


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
    report = check(square, x, seed=1, rtol=1e-7, oracles=("central", "complex"), explain=False)
    assert_type(report, Report)
    assert_type(report["x"], ArgumentReport)
    assert_type(report.is_right, bool)
    assert_type(report["x"].worst_relative, float)
    assert_type(report.failures(), list[str])
    assert_type(check(layer_norm, x, gamma, beta, eps=1e-6), Report)
    assert_type(check_module(LayerNorm(4), x, randomize=False), Report)
    assert_type(adjoint(Doubled(4), x), Report)
    assert_type(check_case(Case("square", lambda rng: Call(square, rng.normal(size=3))), seed=3), Report)
    assert_type(load_cases("minitransformer"), list[Case])
    randomize_parameters(LayerNorm(4), rng)
    assert_type(steps(square, x), StepsReport)
    assert_type(steps(square, x).first_wrong, StepRow | None)
    assert_type(jacobian(square, x), Jacobian)
    assert_type(jacobian(square, x).oracle, str)
    check(from_pair(affine_forward, affine_backward), x, x)
    check(from_value_and_gradient(np.sum, np.ones_like), x)
    check(from_derivative(np.sin, np.cos), x)
    check(from_jacobian(np.sin, lambda x: np.diag(np.cos(x))), gamma)
    check(*from_nested(lambda params: square(params["x"]), {"x": x}))
    check_module(from_layer(object(), {}), x)
    for update in (from_config(affine_forward), from_optimizer(AdamW, Parameter), from_object(AdamW, dict)):
        assert_type(check_update(update, "adamw", eps=1e-8), UpdateReport)
    check_update(from_steps(lambda parameters, gradients, lr: iter([])), "sgd")
    try:
        gradcheck.check(square, x)
    except GradientError as error:
        assert_type(error.report, Report)
        assert_type(error.lines, tuple[str, ...])


def test_square(gradcheck: Checker) -> None:
    """Use the fixture of the plugin."""
    assert_type(gradcheck(square, x), Report)
    assert_type(gradcheck.module(LayerNorm(4), x), Report)


def wrong() -> None:
    """Make mistakes, each of which must be reported by the code in its comment: mypy reports a comment without use."""
    gradcheck.chek(layer_norm, x, gamma, beta)  # type: ignore[attr-defined]
    layer_norm("text", gamma, beta)  # type: ignore[arg-type]
    layer_norm(x, gamma, beta, 1e-5)  # type: ignore[call-arg]
    softmax(x, axis="last")  # type: ignore[arg-type]
    softmax(x).sum()  # type: ignore[attr-defined]
    attention(x, x, x, mask=[True])  # type: ignore[arg-type]
    cross_entropy(x, ids, reduction=1)  # type: ignore[arg-type]
    LayerNorm("4")  # type: ignore[arg-type]
    LayerNorm(4)("text")  # type: ignore[arg-type]
    Config(vocab_size=50, context="8")  # type: ignore[arg-type]
    model = Transformer({"vocab_size": 50})  # type: ignore[arg-type]
    model.loss(ids)  # type: ignore[call-arg]
    AdamW(model.parameters(), lr="fast")  # type: ignore[arg-type]
    AdamW(model)  # type: ignore[arg-type]
    generate(model, ids, max_new_tokens="many")  # type: ignore[arg-type]
    LanguageModel(model)  # type: ignore[call-arg]
    ByteTokenizer().encode(3)  # type: ignore[arg-type]
    check("square", x)  # type: ignore[arg-type]
    check(np.size, x)  # type: ignore[arg-type]
    check(square, x, seed="0")  # type: ignore[arg-type]
    check_module(LayerNorm(4), x, randomize="no")  # type: ignore[arg-type]
    check(square, x).is_rihgt()  # type: ignore[attr-defined]
    check_update(affine_forward, 1.0)  # type: ignore[arg-type]
    from_pair(affine_forward, "backward")  # type: ignore[arg-type]
    Call(3)  # type: ignore[arg-type]
