"""Wrong gradients are not only found but named: a table of (component, mistake, expected words).

A component is a right function of the library, drawn with sizes that all differ, whose backward is made wrong by a
function of (its gradients, dy, its inputs); or one written out here, where the mistake sits inside.
"""

import re

import numpy as np
import pytest
from corpus import functions_in

from gradcheck import Call, GradientError, check
from gradcheck.checking import check_call
from minitransformer import (
    Linear,
    attention,
    cross_entropy,
    dropout,
    embedding,
    gelu,
    layer_norm,
    linear,
    log_softmax,
    relu,
    rms_norm,
    silu,
    softmax,
    unembedding,
)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    monkeypatch.setattr("gradcheck.checking.LEAST", np.inf)  # test_explanation tests the limit


B, T, C, F, V = 3, 4, 5, 7, 11
KEEP = np.random.default_rng(1).random((B, T, C)) < 0.6
MASK = np.tri(T, T, dtype=bool)
IDS = np.array([[1, 4, 4, 9], [2, 0, 7, 4], [8, 3, 5, 6]])
TARGETS = np.array([[1, 4, -100, 9], [2, 0, 7, 4], [8, 3, -100, 6]])


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


X = normal(B, T, C)
SQUARE = normal(C, C)


FUNCTIONS = functions_in("""
multiply(x, gain): X, normal(C)
    y = x * gain
backward(dy):
    return dy * gain, (dy * x).sum(axis=tuple(range(x.ndim - gain.ndim)))

multiply_all(x, w): X, normal(B, T, C, seed=1)
    y = x * w
backward(dy):
    return dy * w, dy * x

shift(x, bias): X, normal(C)
    t = np.tanh(x)
    y = t + bias
backward(dy):
    return dy * (1 - t * t), dy.sum(axis=tuple(range(x.ndim - bias.ndim)))

mean_rows(x): X
    y = x.mean(axis=-2)
backward(dy):
    return np.repeat(dy[..., None, :], x.shape[-2], axis=-2) / x.shape[-2]
""", normal, X=X, B=B, T=T, C=C)  # fmt: skip

RIGHT = FUNCTIONS | {
    "linear": (linear, (X, normal(C, F), normal(F))),
    "linear, square": (linear, (X, SQUARE, normal(C))),
    "embedding": (embedding, (IDS, normal(V, C))),
    "unembedding": (unembedding, (X, normal(V, C))),
    "softmax": (softmax, (X,)),
    "log_softmax": (log_softmax, (X,)),
    "layer_norm": (layer_norm, (X, normal(C), normal(C, seed=1))),
    "rms_norm": (rms_norm, (X, normal(C))),
    "relu": (relu, (X,)),
    "silu": (silu, (X,)),
    "gelu": (gelu, (X,)),
    "attention": (attention, (normal(1, 2, T, C), normal(1, 2, T, C, seed=1), normal(1, 2, T, 6))),
    "cross_entropy": (cross_entropy, (normal(B, T, V), TARGETS)),
}
OPTIONS = {"dropout": {"keep": KEEP, "p": 0.4}, "attention": {"mask": MASK}}
RIGHT["dropout"] = (dropout, (X,))


class Wrong:
    """A right function whose backward replaces the gradient of one argument (by its position among them)."""

    def __init__(self, function, position, mistake):
        self.function = function
        self.position = position
        self.mistake = mistake
        self.__name__ = function.__name__
        self.forward = function  # so that inputs have the function's names

    def __call__(self, *inputs, **options):
        y, right_backward = self.function(*inputs, **options)

        def backward(dy):
            gradients = right_backward(dy)
            gradients = list(gradients) if isinstance(gradients, tuple) else [gradients]
            if self.position is None:
                gradients = list(self.mistake(gradients))
            else:
                gradients[self.position] = self.mistake(gradients[self.position], dy, *inputs)
            return tuple(gradients)

        return y, backward


def at(index, value=None, factor=None):
    def mistake(g, dy, *inputs):
        g = g.copy()
        g[index] = value if factor is None else factor * g[index]
        return g

    return mistake


# (component, position of the gradient, mistake, words)
WRAPPED = [
    ("cross_entropy", 0, lambda g, dy, *_: -g, "dlogits has its sign flipped"),
    # A size forgotten or applied twice
    ("mean_rows", 0, lambda g, dy, x: g * x.shape[1], r"dx is x\.shape\[1\] times"),
    ("linear", 2, lambda g, dy, *_: g / dy[..., 0].size, r"dbias is 1 / \(x\.shape\[0\] \* x\.shape\[1\]\) or"),
    ("layer_norm", 2, lambda g, dy, *_: g / dy.shape[0], r"dbeta is 1 / x\.shape\[0\] or"),
    ("attention", 0, lambda g, dy, *_: g * g.shape[3] ** 0.5, r"dq is np.sqrt\(q\.shape\[3\]\) or np.sqrt\(k"),
    ("attention", 1, lambda g, dy, *_: g / g.shape[3] ** 0.5, r"dk is 1 / np.sqrt\(k\.shape\[3\]\) or"),
    ("cross_entropy", 0, lambda g, dy, x, t: g * np.sum(t >= 0), r"dlogits is \(targets >= 0\)\.sum\(\) times"),
    ("cross_entropy", 0, lambda g, dy, x, t: g * np.mean(t >= 0), r"dlogits is \(targets >= 0\)\.mean\(\) times"),
    ("rms_norm", 0, lambda g, dy, *_: g * 1.37, "dx is off by a constant factor$"),
    ("gelu", 0, lambda g, dy, *_: g * 2, "dx is 2 times"),
    # Transposed
    ("linear, square", 1, lambda g, dy, *_: g.T, "dweight is not transposed"),
    # Wrong on a slice
    ("dropout", 0, lambda g, dy, *_: dy / 0.6, "only where keep is False"),
    ("softmax", 0, at((slice(None), -1), 0.0), "only at index 3 .* of axis 1, where it is zero"),
    ("layer_norm", 0, at((slice(None), 0), factor=3.0), "only at index 0 .* of axis 1"),
    (
        "attention",
        0,
        at((slice(None), 0, slice(1, 3)), factor=-1),
        "index 0 .* of axis 1 and at indices 1 to 2 of axis 2",
    ),
    ("embedding", 0, at(4, factor=0.5), "only in row 4, that of the ids equal to 4"),
    ("embedding", 0, at(9, 0.0), "only in row 9, "),
    (
        *("cross_entropy", 0, lambda g, dy, x, t: g + 0.1 * (t < 0)[..., None] * np.cos(x)),
        "only where targets is (negative|-100)",
    ),
    (
        *("cross_entropy", 0, lambda g, dy, x, t: g + (t[..., None] == np.arange(V)) * dy * 0.1),
        "only at the entries that targets picks",
    ),
    # A factor missing or too many, and dy
    ("multiply", 0, lambda g, dy, *_: dy, "dx equals dy"),
    ("layer_norm", 1, lambda g, dy, x, gamma, beta: g * gamma, "factor gamma is too much"),
    ("multiply", 1, lambda g, dy, x, gain: g / gain, "factor gain is missing from dgain"),
    ("cross_entropy", 0, lambda g, dy, *_: g / dy, "dlogits does not depend on dy"),
    ("relu", 0, lambda g, dy, *_: g * np.abs(dy), "dx is not linear in dy"),
    # The mean not removed
    ("layer_norm", 0, lambda g, dy, x, *_: g + dy.mean(-1, keepdims=True), r"mean\(dx\) over axis 2"),
    (
        *("cross_entropy", 0, lambda g, dy, x, t: g + dy * (t >= 0)[..., None] * x[..., :1]),
        r"mean\(d.*\) over axis 2 is not subtracted",
    ),
    ("gelu", 0, lambda g, dy, x: g + dy.sum(axis=1, keepdims=True), "dx is off by a constant along axis 1"),
    # Exchanged
    ("layer_norm", None, lambda g: (g[0], g[2], g[1]), "dgamma and dbeta are returned in each other's place"),
    ("layer_norm", 1, lambda g, dy, *_: dy.sum(axis=(0, 1)), "dgamma equals the true dbeta"),
    # A broadcast axis not summed
    ("linear", 2, lambda g, dy, *_: dy, "not summed over axes 0, 1 of dbias, along which bias is broadcast"),
    ("layer_norm", 2, lambda g, dy, *_: dy.sum(axis=0), "not summed over axis 0 of dbeta, along which beta is"),
    ("rms_norm", 1, lambda g, dy, *_: g[None], r"an axis of length 1 is kept or lost \(keepdims\)"),
    ("unembedding", 1, lambda g, dy, *_: g.T, "the shape of weight transposed"),
]


# Mistakes that sit inside


INSIDE_OF = functions_in("""
centred_normalization(x, *, forgotten, axis=-1): X
    centred = x - x.mean(axis=axis, keepdims=True)
    r = 1 / np.sqrt((centred * centred).mean(axis=axis, keepdims=True))
    y = centred * r
backward(dy):
    dx = dy.copy()
    if forgotten != "shift":
        dx -= dy.mean(axis=axis, keepdims=True)
    if forgotten != "scale":
        dx -= y * (dy * y).mean(axis=axis, keepdims=True)
    return r * dx

softmax_without_the_sum(x, *, axis=-1, mean=False): X
    e = np.exp(x - x.real.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
backward(dy):
    return y * (dy - (dy * y).mean(axis=axis, keepdims=True)) if mean else y * dy

scaled_remove_mean(x): X
    y = 3 * (x - x.mean(axis=1, keepdims=True))
backward(dy):
    return 3 * dy

column_bias(x, bias): normal(C, C, seed=3), normal(C)
    y = x + bias
backward(dy):
    return dy * 1.0, dy.sum(axis=1)

scaled_column_bias(x, bias): normal(C, C, C), normal(C)
    y = x * x + bias
backward(dy):
    return dy * 2 * x, dy.sum(axis=(1, 2))

unscaled_dropout(x, *, keep, p): X
    y = x * keep / (1 - p)
backward(dy):
    return dy * keep
""", normal, X=X, C=C)  # fmt: skip


def inside(name, **options):
    """Return the Call of one of these functions."""
    function, inputs = INSIDE_OF[name]
    return Call(function, *inputs, **options)


class Accumulating:
    """A module of which one parameter's gradient is wrong by `mistake`."""

    def __init__(self, module, name, mistake):
        self.module = module
        self.name = name
        self.mistake = mistake

    def named_parameters(self):
        return self.module.named_parameters()

    def __call__(self, x):
        y, right_backward = self.module(x)

        def backward(dy):
            dx = right_backward(dy)
            for name, parameter in self.named_parameters():
                if name == self.name:
                    parameter.grad = self.mistake(parameter.grad)
            return dx

        return y, backward


def elementwise(x, *, function, derivative):
    """y = function(x), with a derivative given as a function of (x, y)."""
    y = function(x)

    def backward(dy):
        return dy * derivative(x, y)

    return y, backward


# The museum's exhibits are other examples (test_museum.py).
INSIDE = [
    (
        Call(elementwise, X, function=np.tanh, derivative=lambda x, y: 1 - x * x),
        r"dy \* \(1 - x \*\* 2\), .* dy \* \(1 - y \*\* 2\)",
    ),
    (inside("unscaled_dropout", keep=KEEP, p=0.4), r"\(1 - p\) times"),
    (inside("centred_normalization", forgotten="shift"), r"mean\(dx\) over axis 2"),
    (inside("centred_normalization", forgotten="shift", axis=1), r"mean\(dx\) over axis 1 is not subtracted"),
    (inside("scaled_remove_mean"), r"mean\(dx\) over axis 1 is not subtracted"),
    (inside("centred_normalization", forgotten="scale"), "off by a multiple of .* along axis 2"),
    (inside("softmax_without_the_sum", axis=1), r"y \* sum\(dx\) over axis 1"),
    (inside("softmax_without_the_sum", mean=True), "multiple of y along axis 2|y .* over axis 2"),
    (inside("column_bias"), r"dy\.sum\(axis=1\), .* dy\.sum\(axis=0\)"),
    (inside("scaled_column_bias"), r"axis=\(1, 2\)\), .*axis=\(0, 1\)"),
    (Call(Accumulating(Linear(C, F), "weight", lambda g: g + g), X), "weight.grad is 2 times"),
]
TABLE = [
    *(
        (Call(Wrong(RIGHT[c][0], at, wrong), *RIGHT[c][1], **OPTIONS.get(c, {})), words)
        for c, at, wrong, words in WRAPPED
    ),
    *INSIDE,
]


def diagnosis_of(call, seed=0):
    with pytest.raises(GradientError) as caught:
        check_call(call, seed=seed, randomize=isinstance(call.target, Accumulating), lines=False)
    return caught.value.report


@pytest.mark.parametrize(
    "call, words",
    [
        pytest.param(*row, id=f"{i}: {row[0].name}", marks=pytest.mark.slow if i % 2 else ())
        for i, row in enumerate(TABLE)
    ],
)
def test_a_planted_mistake_is_named(call, words):
    report = diagnosis_of(call)
    said = [*report.problems, *(argument.diagnosis for argument in report.arguments if argument.diagnosis)]
    assert any(re.search(words, sentence) for sentence in said), said or "nothing was said"
    if isinstance(call.target, Wrong) and call.target.position is not None and not report.problems:
        wrong = [argument.is_right for argument in report.arguments].index(False)
        assert wrong == call.target.position, "no other gradient is called wrong"


@pytest.mark.parametrize("component", RIGHT)
def test_nothing_is_named_on_a_right_gradient(component):
    function, inputs = RIGHT[component]
    for seed in range(3):
        report = check_call(Call(function, *inputs, **OPTIONS.get(component, {})), seed=seed)
        assert report.is_right and not report.notes
        assert [argument.entries for argument in report.arguments] == [x.size for x in inputs if x.dtype == float]
        for argument in report.arguments:
            assert argument.diagnosis == "" and argument.worst_relative < 1e-8


def test_a_mistake_without_a_name_is_reported_without_one():
    def noisy(g, dy, x):
        return g + np.einsum("ijk,klm->ijm", dy, normal(C, C, C))[..., :C]

    report = diagnosis_of(Call(Wrong(gelu, 0, noisy), X))
    assert report["x"].disagree == X.size and report["x"].diagnosis == ""


NEARLY = {
    "twice": ("gelu", 0, lambda g, dy, *_: 2 * g),
    "sign": ("softmax", 0, lambda g, dy, *_: -g),
    "transposed": ("linear, square", 1, lambda g, dy, *_: g.T),
    "mean": ("layer_norm", 0, lambda g, dy, *_: g + dy.mean(-1, keepdims=True)),
    "multiple": ("softmax", 0, lambda g, dy, x: g + softmax(x)[0] * dy[..., :1]),
    "slice": ("attention", 0, lambda g, dy, *_: g * np.arange(1, 5)[:, None]),
    "factor": ("multiply", 1, lambda g, dy, x, gain: g / gain),
    "dy": ("gelu", 0, lambda g, dy, *_: dy * 1.0),
}


@pytest.mark.parametrize("name", NEARLY)
def test_a_mistake_that_is_only_nearly_of_a_kind_is_not_named_so(name):
    # Off from the kind by a thousandth, in a way that is linear in dy: a coincidence, not a cause.
    component, position, mistake = NEARLY[name]

    def nearly(g, dy, *inputs):
        wrong = mistake(g, dy, *inputs)
        mixed = np.roll(g.ravel(), 7) + np.roll(g.ravel()[::-1], 3) * np.cos(np.arange(g.size) ** 2)
        return wrong + 1e-3 * mixed.reshape(g.shape)

    function, inputs = RIGHT[component]
    report = diagnosis_of(Call(Wrong(function, position, nearly), *inputs, **OPTIONS.get(component, {})))
    assert [argument.diagnosis for argument in report.arguments] == [""] * len(report.arguments)


def test_a_factor_of_no_size_is_given_as_a_number_and_one_entry_alone_is_no_evidence_for_it():
    assert (
        diagnosis_of(Call(Wrong(gelu, 0, lambda g, dy, x: 1.37 * g), X))["x"].diagnosis
        == "dx is off by a constant factor"
    )
    assert diagnosis_of(Call(Wrong(gelu, 0, lambda g, dy, x: 1.37 * g), X[:1, 0, 0]))["x"].diagnosis == ""


def test_a_length_that_is_the_factor_by_chance_is_not_named():
    third = diagnosis_of(Call(Wrong(gelu, 0, lambda g, dy, x: g / 3), X))["x"].diagnosis  # the first axis has 3
    assert "1/3 times" in third and "shape" not in third


def masked_scale(x, *, keep, p):
    return x * keep / (1 - p), lambda dy: dy * keep * 2.5  # 1 / 0.4: p is 0.4 on this draw


def test_a_factor_that_is_an_option_by_chance_is_not_named():
    assert "p" not in diagnosis_of(Call(masked_scale, X, keep=KEEP, p=0.4))["x"].diagnosis


@pytest.mark.parametrize("function", [np.abs, np.cbrt], ids=["unsafe", "raises"])
def test_mistakes_are_named_too_where_only_central_differences_apply(function):
    slope = {np.abs: np.sign, np.cbrt: lambda x: np.cbrt(x) / (3 * x)}[function]

    def sums(x):
        def backward(dy):
            return -dy * slope(x)

        return function(x), backward

    report = diagnosis_of(Call(sums, X))
    assert report["x"].diagnosis == "dx has its sign flipped"
    assert "complex step does not apply" in report.notes[0]


def test_where_only_the_direction_disagrees_nothing_is_said_to_be_a_multiple_of_the_truth():
    def square(x):
        def backward(dy):
            dx = 2 * x * dy
            dx[100:200] = 0  # among 5,000 entries, of which three are looked at
            return dx

        return x * x, backward

    with pytest.raises(GradientError) as failure:
        check(square, np.random.default_rng(0).normal(size=5000), max_entries=3)
    assert "times" not in str(failure.value)
