"""Wrong gradients are not only found but named, and nothing false is said of them: tables of mistakes and sentences."""

import re

import numpy as np
import pytest
from corpus import entries, functions_in
from verdicts import Scale, diagnosed, message

from gradcheck import Call, check, check_call, check_module
from minitransformer import (
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


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


X = normal(B, T, C)


# One gradient of a right function is replaced

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
RIGHT = {name: Call(function, *inputs) for name, (function, inputs) in FUNCTIONS.items()} | {
    "linear": Call(linear, X, normal(C, F), normal(F)),
    "square_linear": Call(linear, X, normal(C, C), normal(C)),
    "embedding": Call(embedding, IDS, normal(V, C)),
    "unembedding": Call(unembedding, X, normal(V, C)),
    "softmax": Call(softmax, X),
    "log_softmax": Call(log_softmax, X),
    "layer_norm": Call(layer_norm, X, normal(C), normal(C, seed=1)),
    "rms_norm": Call(rms_norm, X, normal(C)),
    "relu": Call(relu, X),
    "silu": Call(silu, X),
    "gelu": Call(gelu, X),
    "dropout": Call(dropout, X, keep=KEEP, p=0.4),
    "attention": Call(attention, normal(1, 2, T, C), normal(1, 2, T, C, seed=1), normal(1, 2, T, 6), mask=MASK),
    "cross_entropy": Call(cross_entropy, normal(B, T, V), TARGETS),
}


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_named_on_a_right_gradient(name):
    for seed in range(3):
        report = check_call(RIGHT[name], seed=seed)
        assert report.is_right and not report.notes
        assert [a.entries for a in report.arguments] == [x.size for x in RIGHT[name].inputs if x.dtype == float]
        for argument in report.arguments:
            assert argument.diagnosis == "" and argument.worst_relative < 1e-8


def at(g, index, factor):
    """Return a gradient with the entries at an index multiplied by a factor."""
    g = g.copy()
    g[index] = factor * g[index]
    return g


def replaced(right, argument, change):
    """Return a Call in which change(g, dy, *inputs) replaces the gradient g of an argument, or of all without one."""

    def function(*inputs, **options):
        y, right_backward = right.target(*inputs, **options)

        def backward(dy):
            gradients = right_backward(dy)
            gradients = list(gradients) if isinstance(gradients, tuple) else [gradients]
            if not argument:
                return tuple(change(gradients, dy, *inputs))
            names = [name for name, x in zip(right.input_names(), inputs, strict=True) if x.dtype == float]
            at = names.index(argument)
            gradients[at] = change(gradients[at], dy, *inputs)
            return tuple(gradients)

        return y, backward

    function.names_of_inputs, function.__name__ = right.input_names(), right.name
    return Call(function, *right.inputs, **right.options)


# function argument: its gradient, from g, dy and the inputs => a pattern of the diagnosis or of the problem
REPLACED = r"""
cross_entropy logits: -g => dlogits has its sign flipped
mean_rows x: g * x.shape[1] => dx is x\.shape\[1\] times
linear bias: g / dy[..., 0].size => dbias is 1 / \(x\.shape\[0\] \* x\.shape\[1\]\) or
layer_norm beta: g / dy.shape[0] => dbeta is 1 / x\.shape\[0\] or
attention q: g * g.shape[3] ** 0.5 => dq is np.sqrt\(q\.shape\[3\]\) or np.sqrt\(k
attention k: g / g.shape[3] ** 0.5 => dk is 1 / np.sqrt\(k\.shape\[3\]\) or
cross_entropy logits: g * np.sum(targets >= 0) => dlogits is \(targets >= 0\)\.sum\(\) times
cross_entropy logits: g * np.mean(targets >= 0) => dlogits is \(targets >= 0\)\.mean\(\) times
rms_norm x: g * 1.37 => dx is off by a constant factor$
gelu x: 1.37 * g => dx is off by a constant factor$
gelu x: g * 2 => dx is 2 times
gelu x: g / 3 => ^(?!.*shape).*1/3 times
square_linear weight: g.T => dweight is not transposed
dropout x: dy / 0.6 => only where keep is False
softmax x: at(g, np.s_[:, -1], 0) => only at index 3 .* of axis 1, where it is zero
layer_norm x: at(g, np.s_[:, 0], 3) => only at index 0 .* of axis 1
attention q: at(g, np.s_[:, 0, 1:3], -1) => index 0 .* of axis 1 and at indices 1 to 2 of axis 2
embedding weight: at(g, 4, 0.5) => only in row 4, that of the ids equal to 4
embedding weight: at(g, 9, 0) => only in row 9,
cross_entropy logits: g + 0.1 * (targets < 0)[..., None] * np.cos(logits) => only where targets is (negative|-100)
cross_entropy logits: g + (targets[..., None] == np.arange(V)) * dy * 0.1 => only at the entries that targets picks
multiply x: dy => dx equals dy
layer_norm gamma: g * gamma => factor gamma is too much
multiply gain: g / gain => factor gain is missing from dgain
cross_entropy logits: g / dy => dlogits does not depend on dy
relu x: g * np.abs(dy) => dx is not linear in dy
layer_norm x: g + dy.mean(-1, keepdims=True) => mean\(dx\) over axis 2
cross_entropy logits: g + dy * (targets >= 0)[..., None] * logits[..., :1] => mean\(d.*\) over axis 2 is not subtracted
gelu x: g + dy.sum(axis=1, keepdims=True) => dx is off by a constant along axis 1
layer_norm: (g[0], g[2], g[1]) => dgamma and dbeta have each other's values
layer_norm gamma: dy.sum(axis=(0, 1)) => dgamma equals the true dbeta
linear bias: dy => not summed over axes 0, 1 of dbias, along which bias is broadcast
layer_norm beta: dy.sum(axis=0) => not summed over axis 0 of dbeta, along which beta is
rms_norm gamma: g[None] => an axis of length 1 is kept or lost \(keepdims\)
unembedding weight: g.T => the shape of weight transposed
linear x: np.moveaxis(g, 0, -1) => x's axes in another order
gelu x: g + np.einsum("ijk,klm->ijm", dy, normal(C, C, C))[..., :C] => ^$
""".strip().split("\n")


@pytest.mark.one_in(12)
@pytest.mark.parametrize("row", REPLACED)
def test_a_gradient_in_place_of_the_right_one_is_named(row):
    name, argument, expression, pattern = re.fullmatch(r"(\w+) ?(\w*): (.*) => (.*)", row).groups()
    names = ["g", "dy", *RIGHT[name].input_names()]
    scope = {"np": np, "at": at, "normal": normal, "C": C, "V": V}
    call = replaced(RIGHT[name], argument, eval(f"lambda {', '.join(names)}: {expression}", scope))
    report = check_call(call, lines=False, raises=False)
    wrong = {a.name: a.diagnosis for a in report.arguments if not a.is_right}
    assert any(re.search(pattern, sentence) for sentence in [*report.problems, *wrong.values()])
    assert report.problems or not argument or [*wrong] == [argument]


NEARLY = {
    "twice": ("gelu", "x", lambda g, dy, *_: 2 * g),
    "sign": ("softmax", "x", lambda g, dy, *_: -g),
    "transposed": ("square_linear", "weight", lambda g, dy, *_: g.T),
    "mean": ("layer_norm", "x", lambda g, dy, *_: g + dy.mean(-1, keepdims=True)),
    "multiple": ("softmax", "x", lambda g, dy, x: g + softmax(x)[0] * dy[..., :1]),
    "slice": ("attention", "q", lambda g, dy, *_: g * np.arange(1, 5)[:, None]),
    "factor": ("multiply", "gain", lambda g, dy, x, gain: g / gain),
    "dy": ("gelu", "x", lambda g, dy, *_: dy * 1.0),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", NEARLY)
def test_a_mistake_that_is_only_nearly_of_a_kind_is_not_named_so(name):
    # Off from the kind by a thousandth, in a way that is linear in dy: a coincidence, not a cause.
    component, argument, mistake = NEARLY[name]

    def nearly(g, dy, *inputs):
        mixed = np.roll(g.ravel(), 7) + np.roll(g.ravel()[::-1], 3) * np.cos(np.arange(g.size) ** 2)
        return mistake(g, dy, *inputs) + 1e-3 * mixed.reshape(g.shape)

    report = check_call(replaced(RIGHT[component], argument, nearly), lines=False, raises=False)
    assert not report.is_right and not any(a.diagnosis for a in report.arguments)


def test_one_entry_alone_is_no_evidence_for_a_factor():
    call = replaced(RIGHT["gelu"].on([X[:1, 0, 0]]), "x", lambda g, dy, x: 1.37 * g)
    assert check_call(call, lines=False, raises=False)["x"].diagnosis == ""


def test_the_wrong_gradient_of_a_parameter_is_named():
    assert "gamma.grad is 2 times" in check_module(Scale(wrong=True), normal(4, 3), raises=False)["gamma"].diagnosis


# Mistakes that sit inside. The museum's exhibits are other examples (test_museum.py).


def norm_with(x, gamma, *, dx, eps=1e-5):
    """γ (x − μ) r, with dx as an expression."""
    h = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((h**2).mean(axis=-1, keepdims=True) + eps)
    h = h * r

    def M(a):  # noqa: N802
        return a.mean(axis=-1, keepdims=True)

    def backward(dy):
        d = dy * gamma
        names = {"d": d, "m": M(d), "s": M(d * h), "h": h, "r": r, "x": x, "dy": dy, "g": gamma, "M": M}
        names["S"] = lambda a: a.sum(axis=-1, keepdims=True)
        return eval(dx, names), (dy * h).sum(axis=tuple(range(dy.ndim - 1)))

    return gamma * h, backward


RESIDUAL = drawn(2, 3, 5), drawn(5, 5, seed=5), drawn(5, seed=9)
SIGNS = np.array([[0.5, 1.0, 2.0], [1.0, -1.0, 0.3], [0.2, -3.0, -1.0]])  # all of the first row are positive
SMALL = np.array([[1.0, -2.0, 3.0], [0.1, -0.2, 3.0], [0.5, 0.3, 1.5]])
SMALL_ELSEWHERE = np.array([[1.0, -2.0, 3.0], [0.1, -0.2, 3.0], [1.5, 0.3, 0.5]])
TIED = drawn(6)
TIED[0] = TIED[-1] = 5.0

INSIDE = r"""
tanh_at_its_input(x): X
says x: dy \* \(1 - x \*\* 2\), .* dy \* \(1 - y \*\* 2\)
    y = np.tanh(x)
backward(dy):
    return dy * (1 - x * x)

centred_normalization(x, *, forgotten, axis=-1): X
says x: mean\(dx\) over axis 2 given X, forgotten="shift"
says x: mean\(dx\) over axis 1 is not subtracted given X, forgotten="shift", axis=1
says x: off by a multiple of .* along axis 2 given X, forgotten="scale"
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
says x: y \* sum\(dx\) over axis 1 given X, axis=1
says x: multiple of y along axis 2|y .* over axis 2 given X, mean=True
    e = np.exp(x - x.real.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
backward(dy):
    return y * (dy - (dy * y).mean(axis=axis, keepdims=True)) if mean else y * dy

scaled_remove_mean(x): X
says x: mean\(dx\) over axis 1 is not subtracted
    y = 3 * (x - x.mean(axis=1, keepdims=True))
backward(dy):
    return 3 * dy

column_bias(x, bias): normal(C, C, seed=3), normal(C)
says bias: dy\.sum\(axis=1\), .* dy\.sum\(axis=0\)
    y = x + bias
backward(dy):
    return dy * 1.0, dy.sum(axis=1)

scaled_column_bias(x, bias): normal(C, C, C), normal(C)
says bias: axis=\(1, 2\)\), .*axis=\(0, 1\)
    y = x * x + bias
backward(dy):
    return dy * 2 * x, dy.sum(axis=(1, 2))

unscaled_dropout(x, *, keep, p): X
says x: \(1 - p\) times given X, keep=KEEP, p=0.4
    y = x * keep / (1 - p)
backward(dy):
    return dy * keep

a_factor_that_is_an_option_by_chance(x, *, keep, p): X
says x: ^[^p]*$ given X, keep=KEEP, p=0.4
    y = x * keep / (1 - p)
backward(dy):
    return dy * keep * 2.5

absolute_value_reversed(x): X
says x: ^dx has its sign flipped$
    y = np.abs(x)
backward(dy):
    return -dy * np.sign(x)

cube_root_reversed(x): X
says x: ^dx has its sign flipped$
    y = np.cbrt(x)
backward(dy):
    return -dy * np.cbrt(x) / (3 * x)

where_only_the_direction_disagrees(x): X
says x: ^(?!.*times) given drawn(5000), max_entries=3
    y = x * x
backward(dy):
    dx = 2 * x * dy
    dx[100:200] = 0
    return dx

an_error_outside_the_compared_entries(x): X
says x: ^(?!.*off by no more than) given drawn(3000), max_entries=20, seed=1
    y = x**2
backward(dy):
    dx = 2 * x * dy
    dx[::1000] *= 3
    return dx

a_direction_that_is_not_the_input_itself(x, gamma): X, X
says x: ^$ given np.random.default_rng(0).standard_normal((2, 3, 5)), drawn(5, seed=9)
    y, right = norm_with(x, gamma, dx="d - m - h * s", eps=0.0)
backward(dy):
    return right(dy)

a_residual(x, w, gamma, *, mistake): *RESIDUAL
says x: ^(?!.*wrong indices) given *RESIDUAL, mistake="scale"
says x: ^(?!.*wrong indices) given *RESIDUAL, mistake="slope"
says w: ^(?!.*wrong indices) given *RESIDUAL, mistake="slope"
says gamma: ^(?!.*wrong indices) given *RESIDUAL, mistake="slope"
says x: ^(?!.*wrong indices) given *RESIDUAL, mistake="transposed"
says gamma: ^(?!.*wrong indices) given *RESIDUAL, mistake="transposed"
    n, norm_backward = norm_with(x, gamma, dx="r * (d - m)" if mistake == "scale" else "d - m - h * s", eps=0.0)
    t = np.tanh(n @ w)
    y = x + t
backward(dy):
    da = dy * (1 - t if mistake == "slope" else 1 - t * t)
    dx, dgamma = norm_backward(da @ (w if mistake == "transposed" else w.T))
    return dy + dx, np.einsum("bti,btj->ij", n, da), dgamma

sums_that_differ_too_little(x): drawn(4, 5)
says x: ^(?!.*indices)
    y = np.abs(x) * x.real
backward(dy):
    return 2 * np.abs(x) * dy * (1 + 1.5e-6 * np.cos(9 * x))

what_equal_weights_make_right(q, k, v): drawn(2, 4, 3, seed=3), drawn(2, 4, 3, seed=4), drawn(2, 4, 6, seed=8)
says v: ^$
    y, right = attention_with(q, k, v, gradients="ds @ k, T(ds) @ q, p @ dy")
backward(dy):
    return right(dy)

rectified(x, y): SIGNS, drawn(3, 3, seed=1)
says x: ^dx differs only where x is negative, where the truth is zero$
    z = np.where(x.real > 0, x * y, 0)
backward(dy):
    return dy * y, dy * np.where(x > 0, x, 0)
return z, backward

less_of_the_values_than_of_the_dimensions(x, y): SIGNS, drawn(3, 3, seed=1)
says x: ^(?!.*dimension)
    z = np.sqrt(x * x) * y
backward(dy):
    return dy * y, dy * np.abs(x)
return z, backward

one_gradient_minus_the_other(x, y): drawn(4), drawn(4, seed=1)
says x: ^dx has its sign flipped, or is that of y, which is minus the truth$
says y: ^dy has its sign flipped, or is that of x, which is minus the truth$
    loss = ((x - y) ** 2).sum()
backward(dy):
    return -2 * dy * (x - y), 2 * dy * (x - y)
return loss, backward

a_term_of_one_factor_everywhere(x, w): drawn(4, 3), drawn(3, 2, seed=1)
says w: ^dw is off by a multiple of w along axis 1: a term such as w \* sum\(...\) is missing or wrong$
    t = np.tanh(x @ w)
    y = t.sum() + 0.1 * (w * w).sum()
backward(dy):
    return dy * (1 - t * t) @ w.T, dy * x.T @ (1 - t * t)

multiplied_by_dy_twice(x): drawn(3)
says x: dy once too often
    y = (x * x).mean()
backward(dy):
    return 2 * dy * dy * x / x.size

a_number_by_chance(x, *, factor): X
says x: ^dx is off by a constant factor$ given drawn(10, 2), factor=lambda x: -100
says x: ^dx is off by a constant factor$ given drawn(4, 7), factor=lambda x: 4 / 7
says x: ^dx is off by a constant factor$ given drawn(4, 7), factor=lambda x: 1 + 2e-6
says x: is 2 times given drawn(4, 7), factor=lambda x: 2
says x: np.sqrt\(x.shape\[0\]\) or given drawn(4, 7), factor=lambda x: x.shape[0] ** 0.5
says x: is x.shape\[0\] or x.shape\[1\] times given drawn(5, 5), factor=lambda x: x.shape[0]
    y = 3 * x
backward(dy):
    return 3 * factor(x) * dy

a_mean_over_two_axes(x, b): drawn(2, 4, 5), drawn(4)
says b: 1 / \(x.shape\[0\] \* x.shape\[2\]\) or
    y = x + b[:, None]
backward(dy):
    return dy, dy.mean(axis=(0, 2))

a_place_where_other_entries_are_right(x, *, spread): SMALL
says x: ^dx differs only at indices 1 to 2 of axis 0 and at indices 0 to 1 of axis 1$ given SMALL, spread=0.7
says x: ^$ given SMALL_ELSEWHERE, spread=0.7
    small = np.abs(x.real) < 0.7
    y = np.where(small, 0.5 * x * x, 0.7 * np.where(x.real > 0, x, -x))
backward(dy):
    return dy * np.where(small, spread, 0.7 * np.sign(x))

a_rounded_constant(x): drawn(3, 4)
says x: dx is off by no more than \de-0[78] of its size: perhaps by a r given drawn(3, 4), rtol=1e-8, atol=1e-10
    t = np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))
    y = 0.5 * x * (1 + t)
backward(dy):
    slope = 0.797885 * (1 + 3 * 0.044715 * x * x)
    return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope)
"""


def attention_with(q, k, v, *, gradients):
    """Attention, with (dq, dk, dv) as an expression."""
    c = q.shape[-1] ** -0.5
    scores = q @ k.swapaxes(-1, -2) * c
    e = np.exp(scores - scores.real.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)

    def T(a):  # noqa: N802
        return a.swapaxes(-1, -2)

    def backward(dy):
        dp = dy @ T(v)
        ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * c
        return eval(gradients, {"ds": ds, "dp": dp, "dv": T(p) @ dy, "p": p, "dy": dy, "c": c, "q": q, "k": k, "T": T})

    return p @ v, backward


SAID = [
    pytest.param(entry.function, *said, id=f"{entry.function.__name__}, {given}")
    for entry in entries(INSIDE, **globals())
    for given, said in entry.says.items()
]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("function, inputs, options, patterns", SAID)
def test_what_is_said_of_each_wrong_gradient_is_true(function, inputs, options, patterns):
    report = diagnosed(function, *inputs, **options)
    wrong = {a.name: a.diagnosis for a in report.arguments if not a.is_right}
    assert wrong.keys() == patterns.keys()
    for name, sentence in wrong.items():
        assert re.search(patterns[name], sentence), sentence


def test_a_gain_outside_the_means_cannot_be_seen_where_it_is_one():
    # The value that every layer norm starts from: this is why parameters are drawn at random.
    outside = {"dx": "g * r * (dy - M(dy) - h * M(dy * h))", "explain": False}
    assert check(norm_with, drawn(2, 3, 5), np.ones(5), **outside).is_right
    assert not check(norm_with, drawn(2, 3, 5), drawn(5, seed=9), raises=False, **outside)["x"].is_right


def test_a_gradient_that_is_wrong_at_ties_alone_is_not_said_to_be_reversed():
    sentences = message(lambda x: (np.array([x.max()]), lambda dy: dy * (x == x.max())), TIED)
    assert "as they move together" in sentences and "reversed" not in sentences


def test_without_a_complex_step_the_reason_is_told_beside_the_name_of_the_mistake():
    report = check(lambda x: (np.abs(x), lambda dy: -dy * np.sign(x)), X, raises=False)
    assert "complex step does not apply" in report.notes[0]


@pytest.mark.parametrize(
    "size, verdict", [(1.0, "CANNOT TELL"), (1.000001, "CANNOT TELL"), (1.0001, "WRONG"), (-1.0, "WRONG")]
)
def test_a_right_gradient_of_a_forward_pass_in_float32_is_not_called_wrong(size, verdict):
    def computed(x):
        return np.tanh(x.astype(np.float32)).astype(float), lambda dy: size * dy * (1 - np.tanh(x) ** 2)

    x = drawn(3, 4)
    found = diagnosed(computed, x)["x"]
    assert (found.verdict, found.diagnosis) == (verdict, "")
    if verdict == "CANNOT TELL":
        assert "but the output changes in steps of 6e-8 of its value, as if part of it" in message(computed, x)


# A small campaign: mistakes in the two best-known functions, and the allowed diagnoses

MEAN = r"mean\(dx\) over axis 2 is not subtracted"
TERM, TERMS = r"off by a multiple of \(x - mean\(x\)\) along axis 2", "a constant and a multiple of x along axis 2"
NORM = {
    "g * r * (dy - M(dy) - h * M(dy * h))": "^$",
    "d - m - h * s": "^$",
    "r * r * (d - m - h * s)": "^$",
    "(d - m - h * s) / r": "^$",
    "r * (d - h * s)": MEAN,
    "r * (d + m - h * s)": MEAN,
    "r * (d - S(d) - h * s)": MEAN,
    "r * (d - M(dy) - h * s)": MEAN,
    "r * (d - m)": TERM,
    "r * (d - m + h * s)": TERM,
    "r * (d - m - h * S(d * h))": TERM,
    "r * (d - m - h * M(dy * h))": TERM,
    "r * (d - m - h * m)": TERM,
    "r * (d - m - x * s)": TERMS,
    "r * (d - m - s)": TERMS,
    "g * r * (d - m - h * s)": "factor gamma is too much",
    "0.5 * r * (d - m - h * s)": "is 1/2 times",
    "-r * (d - m - h * s)": "sign flipped",
    "r * (-m - h * s)": "^$",
    "r * (d - d.mean(axis=1, keepdims=True) - h * s)": "^$",
    "d": "^$",
    "dy": "equals dy",
}
ATTENTION = {
    "ds @ k, ds @ q, dv": "^$",
    "T(ds) @ k, T(ds) @ q, dv": "^$",
    "ds @ k, T(ds) @ q, p @ dy": "^$",
    "T(ds) @ q, ds @ k, dv": "have each other's values",
    "ds @ k / c, T(ds) @ q / c, dv": r"d[qk] is np.sqrt\([qk].shape\[2\]\) or np.sqrt\([qk].shape\[2\]\) times",
    "ds @ k, T(ds) @ k, dv": "^$",
    "(p * dp * c) @ k, T(p * dp * c) @ q, dv": "^$",
    "(dp * c) @ k, T(dp * c) @ q, dv": "^$",
    "ds @ k, T(ds) @ q, -dv": "dv has its sign flipped",
    "ds @ k, T(ds) @ q, dy": "dv equals dy",
}


@pytest.mark.slow
def test_nothing_but_the_mistake_is_said_of_any_of_them():
    inputs = drawn(2, 3, 5), drawn(5, seed=9)
    rows = [(norm_with, inputs, {"dx": dx}, allowed) for dx, allowed in NORM.items()]
    inputs = tuple(drawn(2, 4, 3, seed=seed) for seed in (1, 5, 9))
    rows += [(attention_with, inputs, {"gradients": text}, allowed) for text, allowed in ATTENTION.items()]
    named = 0
    for function, inputs, options, allowed in rows:
        for argument in diagnosed(function, *inputs, **options).arguments:
            assert argument.is_right or re.search(allowed, argument.diagnosis), options
            named += bool(argument.diagnosis)
    assert named >= 20
